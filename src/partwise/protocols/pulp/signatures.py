"""The signature of an artifact: in its binary form for programs, as JSON for people."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from partwise.core.signature import HEAD_BYTES, MEDIA_TYPE, PIECE_BYTES, TRAILER_BYTES, Head, read_pieces
from partwise.engine.signatures import find_signature, read_signature
from partwise.http.accept import asks_for
from partwise.http.downloads import PacedResponse, begun
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.models import SignatureWaiting
from partwise.protocols.pulp.responses import JSON, json_response

#: Seconds that a request waits for a signature that is being made.
WAIT = 10.0


async def show(api: Api, request: Request) -> Response:
    """Give the signature of an artifact; it is made when it is first asked for."""
    signed = await find_signature(api.engine, api.who(request), request.path_params["artifact_id"], wait=WAIT)
    if signed.signature is None:
        waiting = SignatureWaiting(done=signed.done, size=signed.artifact.size)
        return json_response(request, waiting, 202, {"Retry-After": "1"})
    as_json = asks_for(request, JSON, rather_than=MEDIA_TYPE)
    headers = {"Cache-Control": "private, no-cache", "Vary": "Accept", "X-Content-Type-Options": "nosniff"}
    if not as_json:
        headers["Content-Length"] = str(signed.signature.size)
    kind = JSON if as_json else MEDIA_TYPE
    if request.method == "HEAD":
        return Response(b"", 200, headers, kind)
    blocks = await begun(read_signature(api.engine, signed.artifact, signed.signature))
    return PacedResponse(_as_json(blocks) if as_json else blocks, 200, headers, kind)


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
