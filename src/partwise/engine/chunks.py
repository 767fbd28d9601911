"""Receive one chunk: claim its range, write it once at its place, record it. The steps are told in ``ports/``."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self

from partwise.core.errors import (
    BadContentRange,
    BodyInterrupted,
    BodySizeMismatch,
    BytesLost,
    ChunkDigestMismatch,
    ChunkOverlap,
    Conflict,
    LimitExceeded,
    NotFound,
    OutOfSpace,
    RangeBusy,
    StorageFailed,
    Superseded,
    SyncFailed,
    WrongState,
)
from partwise.core.ranges import MAX_SIZE, ByteRange, split
from partwise.core.records import Chunk, Principal, Upload
from partwise.core.state import Event, UploadState, next_state
from partwise.engine.activity import kept_alive
from partwise.engine.context import Context
from partwise.engine.follower import InFlight
from partwise.engine.ports import BLOCK, Body, ChunkWriter, StoredBody
from partwise.engine.reading import TURN
from partwise.engine.uploads import chunk_limit, get_frontier, grow, shrink

#: Bytes that are reserved at a time for a body whose length nobody knows, in an upload of undeclared size.
STEP = 64 << 20

#: A body of which all that came is kept is recorded in segments, each as soon as it has so many bytes or took so many
#: seconds: no more than that is lost when the server is killed.
SEGMENT, SEGMENT_SECONDS = 64 << 20, 30.0


class Early(Enum):
    """What becomes of a body that ends before its range does."""

    REFUSE = "refuse"  # nothing is recorded
    ACCEPT = "accept"  # a body that is over is recorded as far as it goes; nothing of one that was cut
    KEEP = "keep"  # what came is recorded: while more comes, and when the connection broke or a newer request took over


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a chunk (the last one of a body that was recorded in segments): the upload after it, and whether
    the same bytes were there already."""

    upload: Upload
    chunk: Chunk
    unchanged: bool


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
) -> Received:
    """Receive the bytes of ``span`` and record them, or leave the range missing and say why.

    ``total`` is the file's size as the request states it. A body that may end ``early`` never replaces recorded
    bytes, nor is it compared with them: ChunkOverlap. One that was cut raises, whatever was kept of it. Everything
    that can be refused is refused before ``body.drain`` is called. With ``hashed`` the chunk has its SHA-256, whether
    the client sent one or not.

    Raises NotFound, WrongState, BadContentRange, ChunkOverlap, RangeBusy, Superseded, BodyInterrupted,
    BodySizeMismatch, ChunkDigestMismatch, TooManyChunks, OutOfSpace, StorageFailed; where the size is not declared
    yet also UploadTooLarge and QuotaExceeded.
    """
    began = time.perf_counter()
    await engine.authorize(who, upload_id)
    writer = await _claim(engine, upload_id, span, exact=early is Early.REFUSE)
    growing = False
    try:
        # Only now: state and rows as they were before the claim prove nothing.
        upload, same = await _check(engine, upload_id, span, total)
        if same is not None and early is not Early.REFUSE:
            raise ChunkOverlap([same.range], 1)
        growing = upload.size is None
        room = await _reserve(engine, upload, span)
        receiver = _Receiver(engine, upload, span, body.sha256, writer, same, room, early, hashed=hashed)
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
                        await _record(engine, receiver, None)
                raise
            if same is not None and receiver.unchanged:
                if engine.durable_chunks and same.seq > upload.durable_seq:
                    # Whoever recorded it died before it could say that it is on disk; a power loss would take it.
                    writer.close()
                    await engine.workers.flusher.flushed(upload_id)
                return Received(upload, same, unchanged=True)
            received = await _record(engine, receiver, body.sha256)
            engine.observe("chunk", time.perf_counter() - began)
            return received
    finally:
        writer.close()
        if growing:
            await asyncio.shield(shrink(engine, upload_id))


async def settle(engine: Context, who: Principal, upload_id: str) -> tuple[Upload, int]:
    """The upload and its frontier, after whoever writes there has been asked to leave and has left.

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
        raise StorageFailed("The upload's file cannot be found now; try again later.") from None


async def _check(engine: Context, upload_id: str, span: ByteRange, total: int | None) -> tuple[Upload, Chunk | None]:
    """The upload, and the chunk of exactly the same range if there is one; refuses what cannot be recorded."""
    upload, found, count = await engine.catalog.find_chunks(upload_id, span)
    next_state(upload.state, Event.WRITE)
    if upload.parts:
        raise Conflict("This upload is made of other uploads; it takes no bytes of its own.")
    if upload.size is not None:
        if total is not None and total != upload.size:
            raise BadContentRange(f"Content-Range says {total} bytes in all, but the upload has {upload.size}.")
        if span.end > upload.size:
            raise BadContentRange(f"Bytes {span} go beyond the upload's size, {upload.size} bytes.")
    if count == 1 and found[0].range == span:
        return upload, found[0]
    if count:
        raise ChunkOverlap([chunk.range for chunk in found], count)
    return upload, None


async def _reserve(engine: Context, upload: Upload, span: ByteRange) -> int | None:
    """Where the size is not declared yet, make room for ``span``, or for the first step of one without an end.

    How far there is room now; None where the room was reserved with the size.
    """
    if upload.size is not None:
        return None
    endless = span.end >= MAX_SIZE
    end = span.offset + 1 if endless else span.end
    await grow(engine, upload, end)
    return end


async def _drain(body: Body, receiver: _Receiver) -> None:
    """Run the body through the receiver, and leave as soon as a newer writer asks for the range."""
    if isinstance(body, StoredBody) and receiver.is_blind:
        pump = asyncio.ensure_future(body.move(receiver.move, receiver.take))
    else:
        pump = asyncio.ensure_future(body.drain(receiver.take))
    preempted = asyncio.ensure_future(receiver.superseded())
    try:
        await asyncio.wait({pump, preempted}, return_when=asyncio.FIRST_COMPLETED)
        if not pump.done():
            raise Superseded
        pump.result()
    finally:
        preempted.cancel()
        if not pump.done():
            pump.cancel()
            await asyncio.wait({pump})
            if not pump.cancelled():
                pump.exception()  # looked at: that it could not end cleanly either is no news


async def _record(engine: Context, receiver: _Receiver, declared: str | None) -> Received:
    upload = receiver.upload
    try:
        stored = await receiver.writer.finish(receiver.received, durable=engine.durable_chunks)
    except SyncFailed:
        receiver.writer.close()
        await engine.workers.flusher.distrust(upload.id)
        raise
    engine.failpoint("chunk.written")
    if not stored.size:
        raise BodySizeMismatch(receiver.span.size, receiver.received)
    whole = stored.size == receiver.received
    chunk = Chunk(
        offset=receiver.span.offset,
        size=stored.size,
        sha256=receiver.digest if whole else None,
        verified=declared is not None and whole,
        ref=stored.ref,
    )
    now = engine.clock()
    chunk = await engine.catalog.record_chunk(
        upload.id,
        chunk,
        now=now,
        max_chunks=chunk_limit(engine, receiver.upload),
        replace=not receiver.writer.overwrites,
    )
    receiver.inflight.record(chunk.range)
    engine.failpoint("chunk.recorded")
    if engine.durable_chunks:
        await engine.catalog.mark_durable(upload.id, chunk.seq)
    engine.workers.follower.notify(upload.id)
    if not stored.durable:
        engine.workers.flusher.notify(upload.id)
    gone = receiver.replaced  # ``upload`` was read before, and still counts it
    received = upload.received + chunk.size - (gone.size if gone else 0)
    count = upload.chunk_count + (0 if gone else 1)
    after = replace(upload, updated=now, seq=chunk.seq, received=received, chunk_count=count)
    return Received(after, chunk, unchanged=False)


class _Receiver:
    """The sink of one body: runs on worker threads, one block at a time. A context: the follower hears of it inside."""

    def __init__(
        self,
        engine: Context,
        upload: Upload,
        span: ByteRange,
        declared: str | None,
        writer: ChunkWriter,
        same: Chunk | None,
        room: int | None,
        early: Early,
        *,
        hashed: bool,
    ) -> None:
        self.upload = upload
        #: What is not recorded yet, and how many bytes of it are written.
        self.span = span
        self.received = 0
        self.writer = writer
        self._engine = engine
        self._room = room
        self._same = same
        self._early = early
        self._declared = declared
        self._comparing = same is not None and writer.overwrites
        hashed = hashed or declared is not None or not writer.overwrites
        self._hasher = hashlib.sha256() if hashed else None
        #: The digest that was made of what is stored.
        self._read_back: str | None = None
        self._loop = asyncio.get_running_loop()
        self._following = ExitStack()
        #: Set when the client's connection, the upload or the range is another's now.
        self._preempted = asyncio.Event()
        #: Set when ``writer`` has been replaced.
        self._rolled = asyncio.Event()
        self._begin()

    def preempt(self) -> None:
        """End the reception: the upload is being deleted. Call on the event loop."""
        self._preempted.set()

    async def superseded(self) -> None:
        """Wait until somebody else asks for the range, or for the whole upload."""
        while True:
            writer = self.writer
            self._rolled.clear()
            waits = [
                asyncio.ensure_future(wait)
                for wait in (writer.superseded(), self._preempted.wait(), self._rolled.wait())
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if waits[0].done() or waits[1].done():
                    return
            finally:
                for wait in waits:
                    wait.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._following.close()
        self.writer.close()

    def _begin(self) -> None:
        self._since = time.monotonic()
        self.inflight = InFlight(self.span, readable=self.writer.overwrites)
        if not self._comparing:
            self._follow()

    async def _follow_now(self) -> None:
        self._follow()

    def _follow(self) -> None:
        """Tell the background hasher of bytes that are written now. A body that is only compared writes none."""
        writing = self._engine.workers.follower.writing(self.upload.id, self.inflight)
        self._following.enter_context(writing)

    @property
    def digest(self) -> str | None:
        """The SHA-256 of what came, where it was computed."""
        return self._hasher.hexdigest() if self._hasher else self._read_back

    @property
    def unchanged(self) -> bool:
        """Whether the recorded chunk of the same range has the same bytes."""
        if self.writer.overwrites:
            return self._comparing
        return self._same is not None and self._same.sha256 == self.digest

    @property
    def replaced(self) -> Chunk | None:
        """The chunk of the same range that was recorded before."""
        return self._same

    def take(self, block: memoryview) -> None:
        """One block of the body, in order."""
        if self._early is Early.KEEP and self._is_segment():
            self._await(self._go_on)
        position = self.span.offset + self.received
        if self.received + len(block) > self.span.size:
            raise BodySizeMismatch(self.span.size)
        if self._hasher:
            self._hasher.update(block)
        if self._comparing and self._differs(position, block):
            self._replace()
        if self._room is not None and position + len(block) > self._room:
            self._extend(position + len(block))
        if not self._comparing:
            self.writer.write(position, block)
        self.received += len(block)
        if not self._comparing:
            self.inflight.advance(self.received)

    @property
    def is_blind(self) -> bool:
        """Whether nothing here looks at the bytes: then the storage may copy them by itself."""
        return self.writer.overwrites and not self._comparing and self._hasher is None and self._room is None

    def move(self, source: object, part: ByteRange) -> None:
        """A part of an opened artifact, in order, in place of blocks of a body."""
        assert self.is_blind
        assert self.received + part.size <= self.span.size, "the body knows its size"
        self.writer.copy(self.span.offset + self.received, source, part)
        self.received += part.size
        self.inflight.advance(self.received)

    def _replace(self) -> None:
        """The body is another than the recorded chunk: invalidate that, and write from here on.

        Where the client declares the digest that is recorded, one of the two was damaged. If the stored bytes still
        have the digest, it was the body on its way: nothing changes, and the client sends it again.
        """
        assert self._same is not None
        if self._declared is not None and self._declared == self._same.sha256 and self._is_stored_right():
            raise ChunkDigestMismatch(self._declared)
        self._await(self._engine.catalog.unrecord_chunk, self.upload.id, self.span.offset)
        self._engine.failpoint("chunk.unrecorded")
        self._comparing = False
        self._await(self._follow_now)

    def _is_stored_right(self) -> bool:
        """Whether the stored bytes of the recorded chunk have its digest."""
        hasher = hashlib.sha256()
        try:
            for piece in split(self.span, BLOCK):
                hasher.update(self.writer.read(piece.offset, piece.size))
        except BytesLost:
            return False
        return hasher.hexdigest() == self._declared

    def _differs(self, position: int, block: memoryview) -> bool:
        """Whether other bytes are stored there, or none that can be read."""
        try:
            return self.writer.read(position, len(block)) != block
        except BytesLost:
            return True

    def _is_segment(self) -> bool:
        """Whether what was written is to be recorded before more is: not where many more rows would be too many."""
        if self.received < SEGMENT and time.monotonic() - self._since < SEGMENT_SECONDS:
            return False
        return self.received > 0 and 2 * self.upload.chunk_count < chunk_limit(self._engine, self.upload)

    async def _go_on(self) -> None:
        """Record what was written, and begin behind it."""
        done = await _record(self._engine, self, None)
        self.upload = done.upload
        end = done.chunk.range.end
        assert end == self.span.offset + self.received, "a body that goes on cannot be asked for bytes again"
        self.span, self.received = ByteRange(end, self.span.end - end), 0
        self.writer = self.writer.roll(self.span)
        self._rolled.set()
        if self._hasher is not None:
            self._hasher = hashlib.sha256()
        self._following.close()
        self._begin()

    def check(self, declared: str | None) -> None:
        """After the last byte: the size, and the digest if the client sent one."""
        if self.received != self.span.size and (self._early is Early.REFUSE or not self.received):
            raise BodySizeMismatch(self.span.size, self.received)
        if declared is not None and self.digest != declared:
            raise ChunkDigestMismatch(declared, str(self.digest))

    async def hash_written(self) -> None:
        """Hash what is stored, where it was not hashed as it came.

        In a form the digest comes after the bytes, if it comes at all: hashing every form just in case would cost more
        than all else that is done with it.
        """
        if self._hasher is not None or not self.received:
            return
        hasher = self._engine.storage.running_hash(self.upload.id)
        try:
            written = ByteRange(self.span.offset, self.received)
            chunk = Chunk(offset=written.offset, size=written.size)
            for span in split(written, TURN):
                await hasher.feed([(chunk, span)])
            self._read_back = await hasher.digest()
        finally:
            hasher.close()

    def _extend(self, end: int) -> None:
        """Room for the bytes up to ``end``, and for some to come if that is allowed."""
        for goal in (end + STEP, end):
            try:
                self._await(grow, self._engine, self.upload, goal)
                self._room = goal
                return
            except (LimitExceeded, OutOfSpace):
                if goal == end:
                    raise

    def _await(self, function: Callable[..., object], *arguments: object) -> None:
        """Run a transaction on the event loop, and hold this thread until it has ended."""
        coroutine = function(*arguments)
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()  # type: ignore[arg-type]
