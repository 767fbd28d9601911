"""Uploads and artifacts as immutable objects of an object store, for any number of servers.

::

    PREFIX/chunks/<upload id>/<random>      the bytes of one chunk, never written again
    PREFIX/artifacts/<sha256>/<random>      an artifact of many small chunks, made one object behind the scenes
    PREFIX/signatures/<sha256>              the signature of an artifact, where a client has asked for it

Which objects an artifact consists of is in the catalog (``engine.ports.ObjectRecords``), which is the only arbiter:
stores differ too much in what they do atomically. So publishing, discarding and deleting are the catalog's
transactions, and there is nothing to do for them here. ``housekeeping.py`` deletes what nothing needs any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ParamSpec, TypeVar

from partwise.core.errors import BytesLost, NotFound, RangeBusy, StorageFailed
from partwise.core.ranges import MAX_SIZE, ByteRange
from partwise.core.records import Chunk, Segment
from partwise.engine.ports import (
    BLOCK,
    ArtifactFile,
    ChunkWriter,
    Lock,
    ObjectRecords,
    Origin,
    Piece,
    Purpose,
    RunningHash,
    Sink,
    Space,
)
from partwise.storage.files import no_failpoint, on_thread
from partwise.storage.hashing import ThreadedHash, cores
from partwise.storage.objects.housekeeping import SIGNATURES, Housekeeping
from partwise.storage.objects.origins import LEAST_PART, find_origins
from partwise.storage.objects.place import Place
from partwise.storage.objects.store import ObjectStore, within
from partwise.storage.objects.writer import ObjectWriter

P = ParamSpec("P")
T = TypeVar("T")

#: Threads that wait for the store.
THREADS = 32
#: Seconds that a newcomer waits for a writer to leave.
PATIENCE = 10.0
#: Segments that a download looks up at once.
SEGMENTS = 100

_LOST = "The object store has lost an object."


class ObjectStorage:
    """The storage port on an object store. ``records`` is the catalog; ``redirect``: how long presigned URLs last.

    ``grace``: how long an object that nothing needs is kept for those who still read it. ``margin``: how old an
    object must be that no record knows, to be taken for abandoned. ``pause``: seconds between rounds of housekeeping.
    ``copy_least``: see ``origins.LEAST_PART``.
    """

    remote = True

    def __init__(
        self,
        store: ObjectStore,
        records: ObjectRecords,
        *,
        redirect: timedelta | None = None,
        grace: timedelta = timedelta(hours=1),
        margin: timedelta = timedelta(days=1),
        pause: float = 5.0,
        copy_least: int = LEAST_PART,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        failpoint: Callable[[str], None] = no_failpoint,
    ) -> None:
        self._records, self._redirect = records, redirect
        self.store = store
        self.place = Place(store)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        self._hash_threads = ThreadPoolExecutor(cores(), thread_name_prefix="hash")
        self.house = Housekeeping(
            self.place,
            records,
            self._run,
            grace=grace,
            margin=margin,
            clock=clock,
            failpoint=failpoint,
            # A redirect needs one object for the whole artifact, however large its chunks were.
            merge_below=MAX_SIZE if redirect else None,
        )
        self._pause, self._clock, self._copy_least = pause, clock, copy_least
        #: Writers of bodies that may end early, by upload.
        self._partial: dict[str, set[ObjectWriter]] = {}
        self._rounds: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self, *, look_only: bool = False) -> None:
        """Check that the store is reachable, and start its maintenance loop."""
        await self._run(self.store.check)
        self._loop = asyncio.get_running_loop()
        if look_only:
            return
        self._rounds = asyncio.create_task(self.house.run(self._pause), name="object storage housekeeping")

    async def stop(self) -> None:
        """Stop keeping house, and close connections."""
        self.house.stop()
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait({self._rounds})
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._hash_threads.shutdown)
        self.store.close()

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking call on a thread of the store's; cancelled, it waits for the call to end."""
        return await on_thread(self._threads, partial(call, *args, **kwargs))

    async def bind(self, installation: str, *, recorded: bool) -> None:
        """See ``housekeeping.py``."""
        await self._run(self.place.bind, installation, recorded=recorded)

    def boot(self) -> str | None:
        """None: the store has what it acknowledged, whatever happens to this machine."""
        return None

    async def is_lost(self, upload_id: str) -> bool:
        """Never: an upload has nothing here but the objects of its chunks."""
        return False

    @asynccontextmanager
    async def exclude_writers(self, upload_id: str) -> AsyncIterator[None]:
        """Do nothing: objects that a writer does not record in time are collected as garbage."""
        yield

    async def withdraw(self, upload_id: str, sha256: str, *, recorded: bool) -> None:
        """Do nothing: publishing is part of the transaction that records the artifact."""

    # uploads

    async def reserve(self, upload_id: str, size: int, *, durable: bool = True) -> Lock:
        """Do nothing: the capacity of an object store is not known in advance."""
        return _NothingHeld()

    async def resize(self, upload_id: str, size: int, *, at_least: bool = False, durable: bool = True) -> None:
        """Do nothing: no space is reserved."""

    async def claim(self, upload_id: str, chunk: ByteRange, *, exact: bool = True) -> ChunkWriter:
        """An object of its own: no writer stands in another's way.

        But what came of a body that may end early is kept, so that who asks where to go on is told an offset that
        stays: such a writer is asked to leave, if it is in this process. One elsewhere finds in the end that the
        range is taken, or the newcomer does.
        """
        await self._ask_to_leave(upload_id, chunk)
        return self._writer(upload_id, chunk, exact=exact)

    def _writer(self, upload_id: str, chunk: ByteRange, *, exact: bool) -> ObjectWriter:
        writer = ObjectWriter(
            self.place,
            f"chunks/{upload_id}/{uuid.uuid4().hex}",
            chunk,
            exact=exact,
            run=self._run,
            executor=self._threads,
            follow_on=partial(self._writer, upload_id, exact=exact),
        )
        if not exact:
            self._partial.setdefault(upload_id, set()).add(writer)
            writer.closed.add_done_callback(lambda _: self._left(upload_id, writer))
        return writer

    async def try_claim(self, upload_id: str, chunk: ByteRange) -> ChunkWriter | None:
        """None while a body that may end early comes in for some of it, in this process."""
        return None if self._rivals(upload_id, chunk) else self._writer(upload_id, chunk, exact=True)

    def _rivals(self, upload_id: str, chunk: ByteRange) -> list[ObjectWriter]:
        writers = self._partial.get(upload_id, ())
        return [one for one in writers if not one.closed.done() and one.span.overlaps(chunk)]

    async def _ask_to_leave(self, upload_id: str, chunk: ByteRange) -> None:
        deadline = time.monotonic() + PATIENCE
        while rivals := self._rivals(upload_id, chunk):
            for writer in rivals:
                writer.knock()
            _, staying = await asyncio.wait([one.closed for one in rivals], timeout=deadline - time.monotonic())
            if staying:
                raise RangeBusy(chunk)

    def _left(self, upload_id: str, writer: ObjectWriter) -> None:
        self._partial[upload_id].discard(writer)
        if not self._partial[upload_id]:
            del self._partial[upload_id]

    async def concatenate(self, upload_id: str, parts: Sequence[tuple[str, Sequence[Chunk]]]) -> list[Chunk]:
        """Copy each chunk's object within the store. What a crash leaves without a record is found as abandoned."""
        made: list[Chunk] = []
        offset = 0
        for _, chunks in parts:
            for chunk in chunks:
                assert chunk.ref is not None, "every chunk here is an object"
                key = f"chunks/{upload_id}/{uuid.uuid4().hex}"
                await self._run(self.place.copy_object, key, chunk.ref, chunk.size)
                made.append(replace(chunk, offset=offset, ref=key))
                offset += chunk.size
        return made

    def read_staged(self, upload_id: str, chunk: Chunk, span: ByteRange, sink: Sink) -> None:
        """Read the chunk's object."""
        self._read_pieces([(chunk, span)], sink)

    def _read_pieces(self, pieces: Sequence[Piece], sink: Sink) -> None:
        if any(chunk.ref is None for chunk, _ in pieces):
            raise NotFound("upload")
        spans = [(str(chunk.ref), ByteRange(span.offset - chunk.offset, span.size)) for chunk, span in pieces]
        try:
            for block in self.place.read(spans):
                sink(memoryview(block))
        except NotFound as error:
            raise BytesLost(_LOST) from error

    def running_hash(self, upload_id: str, algorithms: Collection[str] = ()) -> RunningHash:
        """On threads, which read the objects back."""
        return ThreadedHash(self._read_pieces, algorithms, self._hash_threads)

    async def flush(self, upload_id: str) -> None:
        """Objects are durable when the store has answered."""

    async def try_lock(self, upload_id: str, purpose: Purpose) -> Lock | None:
        """A name in the catalog."""
        return await self._records.try_name(f"{purpose.value} {upload_id}")

    async def discard(self, upload_id: str) -> None:
        """The catalog makes the upload's objects garbage when it forgets the upload."""

    def list_staged(self) -> Iterator[str]:
        """None: an upload has nothing in the store but what its chunks name."""
        return iter(())

    # artifacts

    @asynccontextmanager
    async def digest_lock(self, sha256: str) -> AsyncIterator[None]:
        """Do nothing: the catalog's transactions protect what the lock would."""
        yield

    async def publish(self, upload_id: str, sha256: str, *, size: int) -> None:
        """The catalog makes the chunks' objects the artifact's segments when it completes the commit."""

    async def delete_artifact(self, sha256: str, *, damaged: bool = False) -> None:
        """The catalog makes the artifact's objects garbage when it forgets the artifact; ``damaged`` ones here."""
        # The artifact's record is gone: what is left of its signature is found as abandoned.
        with suppress(StorageFailed):
            await self._run(self.store.delete, SIGNATURES + sha256)
        if damaged:
            await self._records.drop_segments(sha256, self._clock())

    async def read_artifact(self, sha256: str, span: ByteRange, block: int = BLOCK) -> AsyncIterator[bytes]:
        """Segment after segment, each by one ranged request."""
        position, missed = span.offset, ""
        while position < span.end:
            segments = await self._records.list_segments(sha256, start=position, limit=SEGMENTS)
            if not segments or not segments[0].offset <= position < segments[0].range.end:
                raise NotFound("artifact")
            blocks = self.place.read(within(segments, ByteRange(position, span.end - position)))
            try:
                while data := await self._run(next, blocks, b""):
                    yield data
                    position += len(data)
            except NotFound as error:
                # To a slow reader its list may have become too old: the objects were merged, and deleted an hour after.
                lost = next(segment.ref for segment in segments if segment.range.end > position)
                if lost == missed:
                    raise BytesLost(_LOST) from error
                missed = lost
            finally:
                blocks.close()

    async def verify_artifact(self, sha256: str) -> bool:
        """Read it all, and hash it. A store that is away raises StorageFailed: that says nothing about the artifact.

        Bytes that have another digest are read once more, before anybody believes that the store damaged them.
        """
        return await self._has_digest(sha256) or await self._has_digest(sha256)

    async def _has_digest(self, sha256: str) -> bool:
        hasher, position = hashlib.sha256(), 0
        try:
            while segments := await self._records.list_segments(sha256, start=position):
                end = segments[-1].range.end
                if end <= position:
                    break
                async for block in self.read_artifact(sha256, ByteRange(position, end - position)):
                    await asyncio.to_thread(hasher.update, block)
                position = end
        except (NotFound, BytesLost):
            return False
        return hasher.hexdigest() == sha256

    async def open_artifact(self, sha256: str, span: ByteRange) -> Sequence[Origin]:
        """Segments, whose objects stay for the time of grace even if the artifact is deleted or merged meanwhile."""
        segments: list[Segment] = []
        while not segments or segments[-1].range.end < span.end:
            start = segments[-1].range.end if segments else span.offset
            page = await self._records.list_segments(sha256, start=start)
            if not page or page[-1].range.end <= start:
                raise NotFound("artifact")
            segments += page
        return find_origins(segments, span, least=self._copy_least)

    async def artifact_file(self, sha256: str) -> ArtifactFile | None:
        """None: the bytes are in objects."""
        return None

    async def store_signature(self, sha256: str, data: bytes) -> None:
        """As an object of its own. Whose artifact was deleted meanwhile, housekeeping finds it as abandoned."""
        await self._run(self.place.put_object, SIGNATURES + sha256, data)

    async def signature_size(self, sha256: str) -> int | None:
        """Of its object."""
        try:
            # Not confirmed: it may be made at this moment, and one that is made again is the same.
            return await self._run(self.store.size, SIGNATURES + sha256)
        except NotFound:
            return None

    async def read_signature(self, sha256: str, size: int, block: int = BLOCK) -> AsyncIterator[bytes]:
        """From its object."""
        blocks = self.place.read([(SIGNATURES + sha256, ByteRange(0, size))])
        try:
            while data := await self._run(next, blocks, b""):
                yield data
        finally:
            blocks.close()

    async def artifact_url(self, sha256: str, size: int, headers: Mapping[str, str]) -> str | None:
        """A presigned URL of the whole artifact, which answers with ``headers``; None: not to be had, read it here."""
        if self._redirect is None:
            return None
        segments = await self._records.list_segments(sha256, limit=2)
        if len(segments) != 1 or segments[0].size != size:
            return None
        seconds = int(self._redirect.total_seconds())
        return await self._run(self.store.presign, segments[0].ref, seconds, headers)

    def list_artifacts(self) -> Iterator[str]:
        """Return the artifacts in the catalog. Their list of segments describes their objects."""
        assert self._loop is not None
        after = ""
        while True:
            page = asyncio.run_coroutine_threadsafe(self._records.all_artifacts(after), self._loop).result()
            if not page:
                return
            yield from (sha256 for sha256, _ in page)
            after = page[-1][0]

    async def space(self) -> Space:
        """As much as anyone may ask for, if the store answers: it does not tell how much it has."""
        await self._run(self.store.check)
        return Space(total=MAX_SIZE, free=MAX_SIZE, available=MAX_SIZE)


class _NothingHeld:
    """A lock on nothing."""

    def release(self) -> None:
        """Do nothing: no space was reserved."""
