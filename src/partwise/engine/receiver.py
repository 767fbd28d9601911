"""Take the bytes of one chunk: compare, hash and write them as they come, make room, record them at the end."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self

from partwise.core.errors import (
    BodySizeMismatch,
    BytesLost,
    ChunkDigestMismatch,
    LimitExceeded,
    NotFound,
    OutOfSpace,
    SyncFailed,
)
from partwise.core.ranges import ByteRange, split
from partwise.core.records import Chunk, Upload
from partwise.engine.context import Context
from partwise.engine.follower import InFlight
from partwise.engine.ports import BLOCK, ChunkWriter, CopyRefused, Origin
from partwise.engine.reading import TURN
from partwise.engine.uploads import chunk_limit, grow

#: Bytes that are reserved at a time for a body whose length nobody knows, in an upload of undeclared size.
STEP = 64 << 20

#: A body of which all that came is kept is recorded in segments, each as soon as it has so many bytes or took so many
#: seconds: no more than that is lost when the server is killed.
SEGMENT, SEGMENT_SECONDS = 64 << 20, 30.0


class Early(Enum):
    """Partial-body policy: what is kept of a body that ends before its range."""

    REFUSE = "refuse"  # nothing is recorded
    ACCEPT = "accept"  # a body that is over is recorded as far as it goes; nothing of one that was cut
    KEEP = "keep"  # what came is recorded: while more comes, and when the connection broke or a newer request took over


@dataclass(frozen=True, slots=True)
class Received:
    """Result of a received chunk, or of the last segment of a body: the updated upload, and whether the same bytes were
    recorded before."""

    upload: Upload
    chunk: Chunk
    unchanged: bool


class Receiver:
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
        on_progress: Callable[[int], None] | None = None,
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
        self._on_progress = on_progress
        self._comparing = same is not None and writer.overwrites
        self._hashed = hashed
        wants_digest = hashed or declared is not None or not writer.overwrites
        self._hasher = hashlib.sha256() if wants_digest else None
        #: Whether the storage copied the bytes, so that none of them came here.
        self._is_moved = False
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

    @property
    def _is_whole(self) -> bool:
        """Return whether this body is the whole file, hashed on arrival. The commit then needs no other digest."""
        if self._hasher is None or self.upload.checksums:
            return False
        return self.upload.internal or (self.span.offset == 0 and self.span.size == self.upload.size)

    async def _follow_now(self) -> None:
        self._follow()

    def _follow(self) -> None:
        """Tell the background hasher of bytes that are written now. A body that is only compared writes none."""
        if self._is_whole:
            return
        writing = self._engine.workers.follower.writing(self.upload.id, self.inflight)
        self._following.enter_context(writing)

    @property
    def digest(self) -> str | None:
        """The SHA-256 of what came, where it was computed."""
        if self._is_moved:
            return None
        return self._hasher.hexdigest() if self._hasher else self._read_back

    async def is_unchanged(self) -> bool:
        """Return whether the recorded chunk of the same range has the same bytes."""
        if self.writer.overwrites or self._same is None:
            return self._comparing
        try:
            recorded = self._same.sha256 or await self._stored_digest(self._same, self._same.range)
        except (BytesLost, NotFound):
            return False
        return recorded == self.digest

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
        """Return whether no check here needs the bytes, so that the storage may copy them itself."""
        compared = self._comparing or (self._same is not None and not self.writer.overwrites)
        return not (compared or self._hashed or self._declared or self._room is not None)

    def move(self, origin: Origin) -> None:
        """A part of an artifact, in order, in place of blocks of a body. CopyRefused: all bytes come as blocks then."""
        assert self.is_blind
        assert self.received + origin.span.size <= self.span.size, "the body knows its size"
        try:
            self.writer.copy(self.span.offset + self.received, origin)
        except CopyRefused:
            self.received, self._is_moved = 0, False
            raise
        self.received += origin.span.size
        self._is_moved = True
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
        """Return whether the stored bytes of the recorded chunk have its digest."""
        hasher = hashlib.sha256()
        try:
            for piece in split(self.span, BLOCK):
                hasher.update(self.writer.read(piece.offset, piece.size))
        except BytesLost:
            return False
        return hasher.hexdigest() == self._declared

    def _differs(self, position: int, block: memoryview) -> bool:
        """Return whether the stored bytes differ or cannot be read."""
        try:
            return self.writer.read(position, len(block)) != block
        except BytesLost:
            return True

    def _is_segment(self) -> bool:
        """Return whether the written bytes are recorded before the body ends. Not if that makes too many rows."""
        if self.received < SEGMENT and time.monotonic() - self._since < SEGMENT_SECONDS:
            return False
        return self.received > 0 and 2 * self.upload.chunk_count < chunk_limit(self._engine, self.upload)

    async def _go_on(self) -> None:
        """Record what was written, and begin behind it."""
        done = await record(self._engine, self, None)
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
        if self._on_progress is not None:
            self._on_progress(end)

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
        written = ByteRange(self.span.offset, self.received)
        self._read_back = await self._stored_digest(Chunk(offset=written.offset, size=written.size), written)

    async def _stored_digest(self, chunk: Chunk, part: ByteRange) -> str:
        """The SHA-256 of a part of what is stored of a chunk. StorageFailed, BytesLost, NotFound."""
        hasher = self._engine.storage.running_hash(self.upload.id)
        try:
            for span in split(part, TURN):
                await hasher.feed([(chunk, span)])
            return (await hasher.digests())["sha256"]
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


async def record(engine: Context, receiver: Receiver, declared: str | None) -> Received:
    """Finish what was written, and record it as a chunk; verified if its ``declared`` digest is that of the whole.

    Raises BodySizeMismatch where nothing is left to record, SyncFailed, and what ``Catalog.record_chunk`` raises.
    """
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
    if not stored.durable and not upload.internal:  # whose commit syncs it, in the same request
        engine.workers.flusher.notify(upload.id)
    gone = receiver.replaced  # ``upload`` was read before, and still counts it
    received = upload.received + chunk.size - (gone.size if gone else 0)
    count = upload.chunk_count + (0 if gone else 1)
    after = replace(upload, updated=now, seq=chunk.seq, received=received, chunk_count=count)
    return Received(after, chunk, unchanged=False)
