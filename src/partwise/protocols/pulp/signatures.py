"""The signature of an artifact: in its binary form for programs, as JSON for people."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from partwise.core import outline
from partwise.core.errors import BadRequest, Conflict
from partwise.core.signature import HEAD_BYTES, MEDIA_TYPE, PIECE_BYTES, TRAILER_BYTES, Head, read_pieces
from partwise.engine.signatures import find_signature, outline_of, read_signature
from partwise.http.accept import asks_for
from partwise.http.downloads import PacedResponse, begun
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.models import SignatureWaiting
from partwise.protocols.pulp.requests import flag
from partwise.protocols.pulp.responses import JSON, json_response

#: Seconds that a request waits for a signature that is being made.
WAIT = 10.0


_HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Accept", "X-Content-Type-Options": "nosniff"}
_RANGES = re.compile(r"\d{1,9}-\d{1,9}(,\d{1,9}-\d{1,9}){0,255}", re.ASCII)


async def show(api: Api, request: Request) -> Response:
    """Give the signature of an artifact; it is made when it is first asked for."""
    signed = await find_signature(api.engine, api.who(request), request.path_params["artifact_id"], wait=WAIT)
    if signed.signature is None:
        waiting = SignatureWaiting(done=signed.done, size=signed.artifact.size)
        return json_response(request, waiting, 202, {"Retry-After": "1"})
    data = signed.signature.data
    if (ranges := request.query_params.get("pieces")) is not None:
        if data is None:
            raise Conflict("The signature is too large to be given in parts. Fetch all of it, without 'pieces'.")
        return Response(_some_pieces(data, ranges), 200, _HEADERS, "application/octet-stream")
    if data is not None and flag(request, "outline"):
        return Response(await outline_of(api.engine, data), 200, _HEADERS, outline.MEDIA_TYPE)
    as_json = asks_for(request, JSON, rather_than=MEDIA_TYPE)
    headers = dict(_HEADERS)
    if not as_json:
        headers["Content-Length"] = str(signed.signature.size)
    kind = JSON if as_json else MEDIA_TYPE
    if request.method == "HEAD":
        return Response(b"", 200, headers, kind)
    blocks = await begun(read_signature(api.engine, signed.artifact, signed.signature))
    return PacedResponse(_as_json(blocks) if as_json else blocks, 200, headers, kind)


def _some_pieces(signature: bytes, ranges: str) -> bytes:
    """Return the pieces of ``ranges`` ("0-9,20-29"), as the signature has them. Raises BadRequest."""
    if not _RANGES.fullmatch(ranges):
        raise BadRequest("'pieces' is no list of ranges. Send up to 256, such as 0-9,20-29.", field="pieces")
    table = memoryview(signature)[HEAD_BYTES:-TRAILER_BYTES]
    parts, least = [], 0
    for text in ranges.split(","):
        first, last = map(int, text.split("-"))
        if not least <= first <= last < len(table) // PIECE_BYTES:
            raise BadRequest(
                f"'pieces' must be in order, without overlap, and within the {len(table) // PIECE_BYTES} pieces of the "
                f"signature; {text} is not.",
                field="pieces",
            )
        parts.append(table[first * PIECE_BYTES : (last + 1) * PIECE_BYTES])
        least = last + 1
    return b"".join(parts)


async def _as_json(blocks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The same as JSON, written as it is read: it may be three times as long."""
    head, left, separator = None, b"", ""
    async for block in blocks:
        left += block
        if head is None:
            if len(left) < HEAD_BYTES:
                continue
            head = Head.read(left)
            left = left[HEAD_BYTES:]
            members = {"version": 1, "average": head.average, "size": head.size, "sha256": head.sha256}
            yield json.dumps(members)[:-1] + ', "pieces": ['
        count = max(0, len(left) - TRAILER_BYTES) // PIECE_BYTES
        if count:
            pieces = read_pieces(left[: count * PIECE_BYTES])
            left = left[count * PIECE_BYTES :]
            yield separator + ", ".join(json.dumps({"size": size, "sha256": sha256.hex()}) for size, sha256 in pieces)
            separator = ", "
    yield "]}"
