"""Downloads: whole or one range (RFC 9110, section 14), with conditions (section 13), never run by a browser."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from partwise.core.content_range import format_content_range
from partwise.core.digests import format_digest_field
from partwise.core.media_types import is_media_type
from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact
from partwise.engine.artifacts import READ_BLOCK, artifact_url, open_artifact, read_artifact
from partwise.engine.audit import record_artifact
from partwise.engine.engine import Engine
from partwise.http.intake import ABORT
from partwise.http.problems import PRECONDITION_FAILED, RANGE_NOT_SATISFIABLE, Refusal
from partwise.http.sending import FILE, READ_SECONDS, SENDS_FILES, FilePart

T = TypeVar("T")

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.ASCII | re.IGNORECASE)


async def give(engine: Engine, request: Request, artifact: Artifact) -> Response:
    """The bytes of ``artifact``, or as many as ``request`` asks for."""
    headers = _headers(artifact)
    etag = headers["ETag"]
    match = request.headers.get("if-match")
    if match is not None and not _names(match, etag, weak=False):
        raise Refusal(
            PRECONDITION_FAILED, "If-Match names another artifact. Get the artifact again, then repeat the request."
        )
    none_match = request.headers.get("if-none-match")
    if none_match is not None and _names(none_match, etag, weak=True):
        return Response(status_code=304, headers={"ETag": etag, "Cache-Control": headers["Cache-Control"]})
    if request.method == "GET" and (url := await artifact_url(engine, artifact, headers)) is not None:
        record_artifact("artifact.downloaded", artifact, to=url.partition("?")[0])
        return RedirectResponse(url, 307, {"Cache-Control": "no-store"})
    span, status = ByteRange(0, artifact.size), 200
    if request.method == "GET" and request.headers.get("if-range", etag) == etag:
        wanted = _requested(request.headers.get("range"), artifact.size)
        if wanted is not None:
            span, status = wanted, 206
            headers["Content-Range"] = format_content_range(span, artifact.size)
    headers["Content-Length"] = str(span.size)
    if request.method == "GET" and not span.size:
        record_artifact("artifact.downloaded", artifact)
    if request.method == "HEAD" or not span.size:
        return Response(b"", status, headers)
    rest = await _rest(engine, request, artifact, span)
    first = span if rest is None else ByteRange(span.offset, READ_BLOCK)
    try:
        pieces = await begun(read_artifact(engine, artifact, first))
    except BaseException:
        if rest is not None:
            rest.file.close()
        raise
    response = PacedResponse(pieces, status, headers, rest=rest)
    record_artifact("artifact.downloaded", artifact, range=None if status == 200 else str(span))
    return response


async def _rest(engine: Engine, request: Request, artifact: Artifact, span: ByteRange) -> FilePart | None:
    """Return the part after the first block if the server can send it as a file, or None if all is sent in blocks."""
    if span.size <= READ_BLOCK or SENDS_FILES not in request.scope.get("extensions", {}):
        return None
    file = await open_artifact(engine, artifact)
    if file is None:
        return None
    return FilePart(file, ByteRange(span.offset + READ_BLOCK, span.size - READ_BLOCK), engine.workers.senders)


async def begun(items: AsyncIterator[T]) -> AsyncIterator[T]:
    """``items``, the first one made already: what stands in its way is an error, not an answer that breaks off."""
    try:
        first = [await anext(items)]
    except StopAsyncIteration:
        return items
    return _from(first, items)


async def _from(first: list[T], rest: AsyncIterator[T]) -> AsyncIterator[T]:
    yield first.pop()  # kept in no variable, as long as a slow reader takes
    async for item in rest:
        yield item
        del item


class PacedResponse(StreamingResponse):
    """A body whose reader has to take each piece within ``READ_SECONDS``; else its connection is cut.

    A reader that stops would hold a piece in memory, and a descriptor, for as long as it likes. ``rest`` comes behind
    the pieces; whoever sends it has the same patience.
    """

    def __init__(self, *args: Any, rest: FilePart | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the body, or cut the connection."""

        async def paced(message: Message) -> None:
            if self._rest is not None and message["type"] == "http.response.body" and not message.get("more_body"):
                await send({"type": FILE, "part": self._rest})
            async with asyncio.timeout(READ_SECONDS):
                await send(message)

        try:
            await super().__call__(scope, receive, paced)
        except TimeoutError:
            abort = scope.get("extensions", {}).get(ABORT)
            if abort is None:
                raise
            abort()
        finally:
            if self._rest is not None:
                self._rest.file.close()


def _requested(field: str | None, size: int) -> ByteRange | None:
    """The one range that is asked for; None when there is none, or one that a server may ignore (many, malformed).

    Raises Refusal (416) when no byte of the artifact is in it.
    """
    match = _RANGE.fullmatch(field) if field else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        count = min(int(match[2]), size)
        span = ByteRange(size - count, count)
    else:
        first = int(match[1])
        last = min(int(match[2]), size - 1) if match[2] else size - 1
        if match[2] and int(match[2]) < first:
            return None
        span = ByteRange(first, max(0, last - first + 1))
    if not span.size:
        raise Refusal(
            RANGE_NOT_SATISFIABLE,
            f"The Range is outside the artifact, which has {size} bytes. Correct the Range.",
            {"Content-Range": f"bytes */{size}"},
        )
    return span


def _names(field: str, etag: str, *, weak: bool) -> bool:
    """Return whether a list of entity tags contains this one, by weak or strong comparison (RFC 9110, 8.8.3.2)."""
    tags = {tag.strip() for tag in field.split(",")}
    return "*" in tags or etag in tags or (weak and f"W/{etag}" in tags)


def _headers(artifact: Artifact) -> dict[str, str]:
    return {
        # Rows of earlier versions may hold types that no header field can.
        "Content-Type": _type_of(artifact),
        "ETag": f'"{artifact.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": content_disposition(artifact.filename or artifact.sha256),
        "Repr-Digest": format_digest_field(artifact.sha256),
        # What was uploaded is nobody's word but the uploader's: a browser saves it, and never shows or runs it.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


def _type_of(artifact: Artifact) -> str:
    known = artifact.media_type
    return known if known and is_media_type(known) else "application/octet-stream"


def content_disposition(filename: str) -> str:
    """``attachment`` with the last component of ``filename``, for old readers in ASCII (RFC 6266, RFC 8187)."""
    name = re.split(r"[/\\]", filename)[-1]
    name = "".join(character if character.isprintable() else "_" for character in name).strip(". ") or "file"
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    field = f'attachment; filename="{plain}"'
    return field if plain == name else f"{field}; filename*=UTF-8''{quote(name, safe='')}"
