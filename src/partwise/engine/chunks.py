"""Receive one chunk: claim its range, write it once at its place, record it. The steps are told in ``ports/``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from partwise.core.errors import (
    BadContentRange,
    BodyInterrupted,
    BodySizeMismatch,
    ChunkOverlap,
    Conflict,
    NotFound,
    RangeBusy,
    StorageFailed,
    Superseded,
    WrongState,
)
from partwise.core.ranges import MAX_SIZE, ByteRange
from partwise.core.records import Chunk, Principal, Upload
from partwise.core.state import Event, UploadState, next_state
from partwise.engine.activity import kept_alive
from partwise.engine.context import Context
from partwise.engine.ports import Body, ChunkWriter, StoredBody
from partwise.engine.receiver import Early, Received, Receiver, record
from partwise.engine.uploads import get_frontier, grow, shrink

#: Seconds within which a body that is all here has ended. A newer writer is looked for only then, and is not missed.
_AT_ONCE = 0.02

__all__ = ["Early", "Received", "put_chunk", "settle"]


async def put_chunk(
    engine: Context,
    who: Principal,
    upload_id: str,
    span: ByteRange,
    body: Body,
    *,
    total: int | None = None,
    early: Early = Early.REFUSE,
    hashed: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Received:
    """Receive the bytes of ``span`` and record them, or leave the range missing and say why.

    ``total`` is the file's size as the request states it. A body that may end ``early`` never replaces recorded
    bytes, nor is it compared with them: ChunkOverlap. One that was cut raises, whatever was kept of it. Everything
    that can be refused is refused before ``body.drain`` is called. With ``hashed`` the chunk has its SHA-256, whether
    the client sent one or not. ``on_progress`` is called with the end of what is recorded of a long body that is kept
    while more of it comes.

    Raises NotFound, WrongState, BadContentRange, ChunkOverlap, RangeBusy, Superseded, BodyInterrupted,
    BodySizeMismatch, ChunkDigestMismatch, TooManyChunks, OutOfSpace, StorageFailed; where the size is not declared
    yet also UploadTooLarge and QuotaExceeded.
    """
    began = time.perf_counter()
    await engine.authorize(who, upload_id)
    writer = await _claim(engine, upload_id, span, exact=early is Early.REFUSE)
    growing = False
    try:
        # Only now: state and rows may have changed before the write lease was taken.
        upload, same = await _check(engine, upload_id, span, total)
        if same is not None and early is not Early.REFUSE:
            raise ChunkOverlap([same.range], 1)
        growing = upload.size is None
        room = await _reserve(engine, upload, span)
        receiver = Receiver(
            engine, upload, span, body.sha256, writer, same, room, early, hashed=hashed, on_progress=on_progress
        )
        with receiver, engine.workers.receptions.entered(upload_id, receiver):
            try:
                with kept_alive(engine, upload_id):
                    await _drain(body, receiver)
                if body.sha256 is not None:
                    await receiver.hash_written()
                receiver.check(body.sha256)
            except (BodyInterrupted, Superseded):
                if early is Early.KEEP and receiver.received:
                    with suppress(BodySizeMismatch):  # too little came for the storage to keep
                        await record(engine, receiver, None)
                raise
            if same is not None and await receiver.is_unchanged():
                if engine.durable_chunks and same.seq > upload.durable_seq:
                    # Whoever recorded it died before it could say that it is on disk; a power loss would take it.
                    writer.close()
                    await engine.workers.flusher.flushed(upload_id)
                return Received(upload, same, unchanged=True)
            received = await record(engine, receiver, body.sha256)
            engine.observe("chunk", time.perf_counter() - began)
            return received
    finally:
        writer.close()
        if growing:
            await asyncio.shield(shrink(engine, upload_id))


async def settle(engine: Context, who: Principal, upload_id: str) -> tuple[Upload, int]:
    """Return the upload and its contiguous offset, after preempting the writers there and waiting for their end.

    For a client that asks where to go on: what a request of its own still held, that died without the server
    noticing, is recorded then. A writer that does not leave in time is left alone. NotFound.
    """
    upload, frontier = await get_frontier(engine, who, upload_id)
    if upload.state is not UploadState.OPEN or frontier == upload.size:
        return upload, frontier
    try:
        writer = await engine.storage.claim(upload_id, ByteRange(frontier, 1))
    except (RangeBusy, Superseded, WrongState, NotFound):
        pass
    else:
        writer.close()
    return await get_frontier(engine, who, upload_id)


async def _claim(engine: Context, upload_id: str, span: ByteRange, *, exact: bool) -> ChunkWriter:
    try:
        return await engine.storage.claim(upload_id, span, exact=exact)
    except NotFound:
        # A completed upload has no staging file any more: that is a conflict, not an absence.
        upload = await engine.catalog.get_upload(upload_id)
        next_state(upload.state, Event.WRITE)
        raise StorageFailed("The upload's file is unavailable. Nothing is known to be lost. Try again later.") from None


async def _check(engine: Context, upload_id: str, span: ByteRange, total: int | None) -> tuple[Upload, Chunk | None]:
    """The upload, and the chunk of exactly the same range if there is one; refuses what cannot be recorded."""
    upload, found, count = await engine.catalog.find_chunks(upload_id, span)
    next_state(upload.state, Event.WRITE)
    if upload.parts:
        raise Conflict("Cannot store the chunk: the upload is a final upload, which consists of other uploads.")
    if upload.size is not None:
        if total is not None and total != upload.size:
            raise BadContentRange(
                f"The total of Content-Range is {total}, but the upload has {upload.size} bytes. "
                "Correct the Content-Range."
            )
        if span.end > upload.size:
            raise BadContentRange(f"Bytes {span} exceed the upload's size of {upload.size} bytes. Correct the range.")
    if count == 1 and found[0].range == span:
        return upload, found[0]
    if count:
        raise ChunkOverlap([chunk.range for chunk in found], count)
    return upload, None


async def _reserve(engine: Context, upload: Upload, span: ByteRange) -> int | None:
    """Reserve space for ``span``, or for the first step of one without an end, if the size is not declared yet.

    How far there is room now; None where the room was reserved with the size.
    """
    if upload.size is not None:
        return None
    endless = span.end >= MAX_SIZE
    end = span.offset + 1 if endless else span.end
    await grow(engine, upload, end)
    return end


async def _end_or_newer(pump: asyncio.Future[None], receiver: Receiver) -> None:
    """Wait for the end of ``pump``. Raises Superseded as soon as a newer writer has asked for the range."""
    preempted = asyncio.ensure_future(receiver.superseded())
    try:
        await asyncio.wait({pump, preempted}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        preempted.cancel()
    if not pump.done():
        raise Superseded


async def _drain(body: Body, receiver: Receiver) -> None:
    """Run the body through the receiver, and leave as soon as a newer writer asks for the range."""
    if isinstance(body, StoredBody) and receiver.is_blind:
        pump = asyncio.ensure_future(body.move(receiver.move, receiver.take))
    else:
        pump = asyncio.ensure_future(body.drain(receiver.take))
    try:
        await asyncio.wait({pump}, timeout=_AT_ONCE)
        if not pump.done():
            await _end_or_newer(pump, receiver)
        pump.result()
    finally:
        if not pump.done():
            pump.cancel()
            await asyncio.wait({pump})
            if not pump.cancelled():
                pump.exception()  # looked at: that it could not end cleanly either is no news
