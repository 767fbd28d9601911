"""Fill ranges of an upload with bytes that its owner has in artifacts already.

Each range takes the way of any chunk (``chunks.put_chunk``): lease, overlap rules, limits and record are the same. Only
the bytes come from the storage in place of a connection.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from partwise.core.errors import (
    BadContentRange,
    BytesLost,
    ChunkOverlap,
    NotFound,
    PartwiseError,
    RangeBusy,
    Superseded,
)
from partwise.core.ranges import MAX_SIZE, ByteRange
from partwise.core.records import Artifact, Principal, Upload
from partwise.engine.chunks import put_chunk
from partwise.engine.context import Context
from partwise.engine.ports import CopyRefused, Origin, Sink

log = logging.getLogger(__name__)

#: The largest range that is copied at once, in bytes: a request must end in time.
MAX_COPY = 1 << 30
#: Seconds after which a request copies no further range. Its client asks for the rest again.
COPY_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class CopyRange:
    """The bytes ``span`` of an upload are those of the artifact ``artifact_id`` from byte ``source`` on."""

    span: ByteRange
    artifact_id: str
    source: int


class CopyState(StrEnum):
    """Outcome of copying one range."""

    COPIED = "copied"  # recorded as a chunk
    MISSING = "missing"  # the owner has no such artifact (any more)
    DAMAGED = "damaged"  # the artifact's bytes cannot be read back
    REFUSED = "refused"  # the range cannot be recorded, or the artifact has no such bytes
    LATER = "later"  # the time of the request was over


@dataclass(frozen=True, slots=True)
class Copied:
    """Result of copying one range, with the reason if it was not copied."""

    span: ByteRange
    state: CopyState
    error: PartwiseError | None = None


class _SourceFailed(Exception):
    """The artifact's bytes are gone, or cannot be read back."""

    def __init__(self, error: NotFound | BytesLost) -> None:
        super().__init__(str(error))
        self.error = error


async def copy_ranges(
    engine: Context, who: Principal, upload_id: str, ranges: Sequence[CopyRange], *, seconds: float = COPY_SECONDS
) -> tuple[Upload, list[Copied]]:
    """Copy ``ranges`` in order; the upload after that, and what became of each.

    Artifacts of others look exactly like those that do not exist. Raises what ends the whole request: NotFound (of the
    upload), WrongState, Conflict, TooManyChunks, QuotaExceeded, OutOfSpace, StorageFailed. What was copied stays.
    """
    upload = await engine.owned_upload(who, upload_id)
    deadline = time.monotonic() + seconds
    results: list[Copied] = []
    for wanted in ranges:
        if results and time.monotonic() > deadline:
            results.append(Copied(wanted.span, CopyState.LATER))
            continue
        results.append(await _copy(engine, who, upload, wanted))
    return await engine.owned_upload(who, upload_id), results


async def _copy(engine: Context, who: Principal, upload: Upload, wanted: CopyRange) -> Copied:
    span = wanted.span
    try:
        artifact = await _own_artifact(engine, upload, wanted.artifact_id)
    except NotFound as error:
        return Copied(span, CopyState.MISSING, error)
    try:
        _check(wanted, artifact)
        body = _StoredBody(engine, artifact.sha256, ByteRange(wanted.source, span.size))
        await put_chunk(engine, who, upload.id, span, body)
    except _SourceFailed as failure:
        gone = isinstance(failure.error, NotFound)
        return Copied(span, CopyState.MISSING if gone else CopyState.DAMAGED, failure.error)
    except (BadContentRange, ChunkOverlap, RangeBusy, Superseded) as error:
        return Copied(span, CopyState.REFUSED, error)
    return Copied(span, CopyState.COPIED)


async def _own_artifact(engine: Context, upload: Upload, artifact_id: str) -> Artifact:
    """The artifact, if the upload's owner has it. An administrator has what is their own, too, and no more."""
    artifact = await engine.catalog.get_artifact(artifact_id)
    if artifact.owner != upload.owner:
        raise NotFound("artifact")
    return artifact


def _check(wanted: CopyRange, artifact: Artifact) -> None:
    """Raise BadContentRange unless the artifact has the bytes, and an upload can."""
    if wanted.source + wanted.span.size > artifact.size:
        raise BadContentRange(
            f"Bytes {ByteRange(wanted.source, wanted.span.size)} exceed the artifact's size of {artifact.size} bytes."
        )
    if wanted.span.end > MAX_SIZE:
        raise BadContentRange(f"Bytes {wanted.span} exceed the largest size, {MAX_SIZE} bytes.")


class _StoredBody:
    """The bytes of a part of an artifact, as the body of a request."""

    #: None was sent: the commit's digest of the whole decides.
    sha256: str | None = None

    def __init__(self, engine: Context, sha256: str, span: ByteRange) -> None:
        self._engine, self._source, self._span = engine, sha256, span

    async def move(self, put: Callable[[Origin], None], sink: Sink) -> None:
        """See ``StoredBody.move``. Raises _SourceFailed."""
        origins: Sequence[Origin] = ()
        try:
            origins = await self._engine.storage.open_artifact(self._source, self._span)
            for origin in origins:
                await self._run(partial(put, origin))
        except (NotFound, BytesLost) as error:
            raise _SourceFailed(error) from error
        except CopyRefused as refusal:
            log.info("The storage copies no range by itself: it is read and written. %s", refusal)
            moved = False
        else:
            moved = bool(origins)
        finally:
            for origin in origins:
                origin.close()
        if not moved:
            await self.drain(sink)

    async def drain(self, sink: Sink) -> None:
        """See ``Body.drain``. Raises _SourceFailed."""
        reading = self._engine.storage.read_artifact(self._source, self._span)
        # Storages read by generators. They hold a file or a connection until they are closed.
        async with aclosing(reading) as blocks:  # type: ignore[type-var]
            while (block := await _next(blocks)) is not None:
                await self._run(partial(sink, memoryview(block)))

    async def _run(self, work: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(self._engine.workers.readers, work)
        try:
            await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait({call})
            raise
        self._engine.failpoint("copy.block")


async def _next(blocks: AsyncIterator[bytes]) -> bytes | None:
    try:
        return await anext(blocks, None)
    except (NotFound, BytesLost) as error:
        raise _SourceFailed(error) from error
