"""Background hasher: computes the SHA-256 up to the contiguous offset, so that it is ready after the last byte.

An upload may be created with further digests. They are computed in the same pass over the same blocks, and published
together with the SHA-256, so all of them are digests of the same bytes.

The process that holds the FOLLOW lock hashes the upload. The lock only avoids double work. Correctness rests on the
generation (``epoch``). The storage reads the bytes back (``RunningHash``), whichever process wrote them. Local files
come from the page cache, at 0.18 s per GiB. The hasher announces the next range early, so that hashing never waits.

Hashing may run ahead of the rows, over a chunk that this process is still writing, so that hashing and receiving
overlap even for one large chunk. Such a result is only *assumed*: the state of the hash is saved before the chunk,
and restored if the chunk fails. Bytes that the holder of the range's write lease has written do not change meanwhile.

Small chunks are hashed after they are recorded, in batches of all that arrived meanwhile. One pass of the hasher costs
about as much as a small chunk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager

from partwise.core.backoff import Backoff
from partwise.core.errors import BytesLost, IncompleteUpload, NotFound, PartwiseError
from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk, Upload
from partwise.core.state import UploadState
from partwise.engine.ports import BLOCK, Catalog, Lock, Piece, Purpose, RunningHash, Storage

log = logging.getLogger(__name__)

#: Bytes that the hash is fed at a time, so that uploads share the cores fairly.
SLICE = 64 << 20
#: Bytes of a chunk in flight that are waited for before it is hashed further: each step is a trip of the event loop.
STEP = 4 * BLOCK
#: A chunk of fewer bytes is hashed once it is recorded, and not before.
AHEAD = 2 * BLOCK
#: Seconds that a round is put off after one that hashed fewer bytes than STEP, unless somebody waits for the digest.
PAUSE = 0.01
#: Bytes between two reports of progress to the catalog.
REPORT = 256 << 20
#: Rows that are read at once.
ROWS = 256
#: Seconds between looks at the catalog for chunks of other processes: right after news, and at most.
POLL_FIRST, POLL_LAST = 0.005, 0.1
#: Seconds without news after which a run looks only every REST seconds unless notified, and after which it ends.
QUIET, REST, IDLE = 10.0, 30.0, 3600.0


class InFlight:
    """A chunk that this process is writing now."""

    __slots__ = ("_wake", "_wake_at", "ended", "readable", "recorded", "span", "written")

    def __init__(self, span: ByteRange, *, readable: bool = True) -> None:
        self.span = span
        #: Whether its bytes can be read before it is whole.
        self.readable = readable
        self.written = 0
        #: Whether its row is there, for just ``span``; final once ``ended``.
        self.recorded = False
        self.ended = False
        self._wake: Callable[[], None] | None = None
        self._wake_at = 0

    def advance(self, written: int) -> None:
        """From the writing thread: so many bytes from the start are in place."""
        self.written = written
        if written >= self._wake_at:
            self._notify()

    def wake_once(self, wake: Callable[[], None], at: int) -> None:
        """Call ``wake``, from any thread, once ``at`` bytes are written or the writing has ended."""
        self._wake_at, self._wake = min(at, self.span.size), wake
        if self.ended or self.written >= self._wake_at:
            self._notify()

    def record(self, span: ByteRange) -> None:
        """The row of ``span`` is there (shorter than announced, where a body may end early)."""
        self.span, self.recorded = span, True

    def end(self) -> None:
        """The writing is over, one way or the other."""
        self.ended = True
        self._notify()

    def _notify(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()


class Follower:
    """Follows every upload that this process hears of, and answers who waits for a digest."""

    def __init__(self, storage: Storage, catalog: Catalog) -> None:
        self.storage = storage
        self.catalog = catalog
        self._runs: dict[str, _Run] = {}

    @contextmanager
    def writing(self, upload_id: str, inflight: InFlight) -> Iterator[None]:
        """Tell the follower of a chunk in flight for as long as it is written and recorded."""
        offset = inflight.span.offset
        run = self._run(upload_id)
        if inflight.span.size < AHEAD:
            yield
            return
        # A chunk that comes later over the same range replaces the entry of its older twin.
        run.inflight[offset] = inflight
        run.wake()
        try:
            yield
        finally:
            inflight.end()
            if run.inflight.get(offset) is inflight:
                del run.inflight[offset]
            run.wake()

    def is_following(self) -> bool:
        """Return whether any upload is being hashed."""
        return bool(self._runs)

    def notify(self, upload_id: str) -> None:
        """There is news of the upload: a chunk was recorded, a commit waits, or it is over. Starts no following."""
        if (run := self._runs.get(upload_id)) is not None:
            run.wake()

    async def digest(self, upload_id: str) -> str:
        """Wait for the SHA-256 of the whole file in the current generation. Raises what ``hashed`` raises."""
        upload = await self.hashed(upload_id)
        assert upload.digest is not None
        return upload.digest

    async def hashed(self, upload_id: str) -> Upload:
        """Wait until the whole file is hashed in the current generation, and return the upload.

        NotFound if the upload or its file is gone. IncompleteUpload if it is open and bytes are missing.
        BytesLost when bytes of it cannot be read back. Other failures to read may pass: the file is hashed
        from its start again until they have.
        """
        backoff = Backoff(POLL_FIRST, POLL_LAST, 1.5)
        while True:
            upload = await self.catalog.get_upload(upload_id)
            if upload.digest is not None and upload.hashed == upload.size:
                return upload
            if upload.state is UploadState.OPEN and upload.received != upload.size:
                gaps = await self.catalog.find_gaps(upload_id)
                raise IncompleteUpload(gaps.first, gaps.count)
            if upload.state not in (UploadState.OPEN, UploadState.COMMITTING):
                raise NotFound("upload")  # its bytes are an artifact's, or going
            run = self._run(upload_id)
            run.wanted.set()
            run.wake()
            run.published.clear()
            try:
                async with asyncio.timeout(backoff.take()):
                    await run.published.wait()
                backoff.reset()
            except TimeoutError:
                pass
            if run.task.done() and not run.task.cancelled():
                error = run.task.exception()
                if isinstance(error, BytesLost | NotFound):
                    raise error

    async def stop(self) -> None:
        """End all runs; what they hashed is hashed again by whoever follows next."""
        runs = [run.task for run in self._runs.values()]
        for task in runs:
            task.cancel()
        if runs:
            await asyncio.wait(runs)

    def _run(self, upload_id: str) -> _Run:
        run = self._runs.get(upload_id)
        if run is None:
            run = self._runs[upload_id] = _Run(self, upload_id)
            run.task.add_done_callback(lambda task: self._ended(upload_id, task))
        return run

    def _ended(self, upload_id: str, task: asyncio.Task[None]) -> None:
        # Chunks in flight know their run no more, which only costs their running ahead.
        self._runs.pop(upload_id, None)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, NotFound):
            expected = isinstance(error, PartwiseError)
            log.warning("background hasher of %s ended: %s", upload_id, error, exc_info=None if expected else error)


class _Run:
    """The following of one upload by this process."""

    def __init__(self, follower: Follower, upload_id: str) -> None:
        self.inflight: dict[int, InFlight] = {}
        self.published = asyncio.Event()
        #: Set once somebody has waited for the digest: it is soon over then.
        self.wanted = asyncio.Event()
        self._follower = follower
        self._id = upload_id
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._lock: Lock | None = None
        #: Of no generation: it is begun with the first that the upload is found to have.
        self._restart(-1)
        self.task = asyncio.create_task(self._follow(), name=f"follow {upload_id}")

    def wake(self) -> None:
        """There may be more to hash."""
        self._news.set()

    def _wake_threadsafe(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def _restart(self, epoch: int) -> None:
        self._epoch = epoch
        #: How far the hash has been fed, and the offset of the last row that it went into (rows before it are behind).
        self._position = 0
        self._row = 0
        self._reported = 0
        #: Chunks in flight that the hash has gone into; it was marked before each.
        self._assumed: list[InFlight] = []

    def _new_hash(self, algorithms: Collection[str] = ()) -> RunningHash:
        return self._follower.storage.running_hash(self._id, algorithms)

    async def _follow(self) -> None:
        self._lock = await self._follower.storage.try_lock(self._id, Purpose.FOLLOW)
        if self._lock is None:
            return  # another process follows
        with ExitStack() as stack:
            stack.callback(self._release)
            self._hash = self._new_hash()
            stack.callback(lambda: self._hash.close())
            backoff, quiet = Backoff(POLL_FIRST, POLL_LAST, 1.5), 0.0
            while quiet < IDLE:
                if quiet >= QUIET:
                    self._release()  # it holds a descriptor, and nobody may come for an hour
                elif self._lock is None:
                    self._lock = await self._follower.storage.try_lock(self._id, Purpose.FOLLOW)
                    if self._lock is None:
                        return  # another process has taken over since
                self._news.clear()
                before = self._epoch, self._position
                upload = await self._follower.catalog.get_upload(self._id)
                if upload.state not in (UploadState.OPEN, UploadState.COMMITTING):
                    return
                await self._advance(upload)
                if (self._epoch, self._position) != before:
                    backoff.reset()
                    quiet = 0.0
                    await self._pause(before)
                    continue
                timeout = backoff.take() if quiet < QUIET else REST
                if await self._wait(timeout):
                    backoff.reset()
                    quiet = 0.0
                    await self._pause(before)
                else:
                    quiet += timeout

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    async def _pause(self, before: tuple[int, int]) -> None:
        """Wait for more bytes, if a pass that began at ``before`` (epoch, position) found few."""
        if before[0] == self._epoch and self._position - before[1] < STEP:
            await self._wait(PAUSE, self.wanted)

    async def _wait(self, timeout: float, event: asyncio.Event | None = None) -> bool:
        """Return whether there was news, or the ``event``, within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await (event or self._news).wait()
        except TimeoutError:
            return False
        return True

    async def _advance(self, upload: Upload) -> None:
        """Hash what can be hashed now, and publish what is certain."""
        if upload.epoch != self._epoch:
            self._hash.close()
            self._hash = self._new_hash(upload.checksums)
            self._restart(upload.epoch)
        self._settle()
        await self._hash_recorded()
        await self._run_ahead()
        self._settle()
        await self._publish(upload)

    def _settle(self) -> None:
        """Confirm what was assumed and is recorded; go back to before the first that failed."""
        while self._assumed and self._assumed[0].ended:
            first = self._assumed[0]
            if not first.recorded:
                self._hash.rewind()
                self._position = first.span.offset
                self._assumed.clear()
                return
            # What of it is not hashed yet is hashed from its row, as of any recorded chunk.
            self._row = first.span.offset
            self._hash.forget()
            self._assumed.pop(0)

    async def _hash_recorded(self) -> None:
        """Along the rows, from where the hash stands; at most a slice."""
        if self._assumed:
            return
        rows = await self._follower.catalog.list_chunks(self._id, start=self._row, limit=ROWS)
        pieces: list[Piece] = []
        end, stop = self._position, self._position + SLICE
        for row in rows:
            if row.offset > end or end == stop:
                break
            if row.range.end > end:
                span = ByteRange(end, min(row.range.end, stop) - end)
                pieces.append((row, span))
                end = span.end
        if pieces:
            await self._feed(pieces)
            self._row = pieces[-1][0].offset

    async def _run_ahead(self) -> None:
        """Into the chunks in flight that begin where the hash stands, for as long as they are written."""
        while (inflight := self._next_inflight()) is not None:
            if not self._assumed or self._assumed[-1] is not inflight:
                self._hash.mark()
                self._assumed.append(inflight)
            start = inflight.span.offset
            available = start + inflight.written - self._position
            if available > 0:
                chunk = Chunk(offset=start, size=inflight.span.size)
                await self._feed([(chunk, ByteRange(self._position, min(available, SLICE)))])
            else:
                self._news.clear()
                inflight.wake_once(self._wake_threadsafe, self._position - start + STEP)
                await self._wait(REST)

    def _next_inflight(self) -> InFlight | None:
        """The chunk in flight that the hash can go on into, if there is one."""
        if self._assumed:
            last = self._assumed[-1]
            if self._assumed[0].ended or last.ended:
                return None  # to be settled first
            if self._position < last.span.end:
                return last
        candidate = self.inflight.get(self._position)
        return candidate if candidate is not None and candidate.readable and not candidate.ended else None

    async def _feed(self, pieces: list[Piece]) -> None:
        await self._hash.feed(pieces)
        self._position = pieces[-1][1].end

    async def _publish(self, upload: Upload) -> None:
        """Store how many bytes are hashed for certain. The catalog ignores an older generation."""
        if self._assumed:
            return
        whole = self._position == upload.size
        if whole and upload.digest is not None:
            self.published.set()
            return
        digests = await self._hash.digests() if whole else {}
        hashed = self._position - self._hash.pending
        if not whole and hashed - self._reported < REPORT:
            return
        others = digests if upload.checksums else None
        publish = self._follower.catalog.publish_digest
        if await publish(self._id, self._epoch, hashed, digests.get("sha256"), others):
            self._reported = hashed
            if whole:
                self.published.set()
