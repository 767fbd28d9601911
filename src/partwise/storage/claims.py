"""Claims on byte ranges of local upload files: who may write where, and how a newer writer takes over.

A newcomer passes three locks of ``locks.py``, and whoever stands at the next one leaves when it sees the newcomer
behind it: the arrival (its holder asks the one at the knock to leave), the knock (its holder asks the one with the
claim), the claim. So the newest of any number of writers wins, in whatever process each of them is.

Writers of the same process are told at once. For those of other processes a newcomer rings the bell: one task for
each process listens for that every 50 ms, and looks for knocks at the files of its writers only while the bell rings,
so that thousands of writers cost nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from collections.abc import Iterable
from contextlib import suppress

from partwise.core.backoff import Backoff
from partwise.core.errors import BytesLost, NotFound, RangeBusy, StorageFailed, Superseded, WrongState
from partwise.core.ranges import ByteRange
from partwise.core.state import Event, UploadState
from partwise.engine.ports import Origin, Stored
from partwise.storage.files import FailPoint, OpenFile, SystemCalls, failures, in_thread, open_file, reading, syncing
from partwise.storage.joining import copy_between
from partwise.storage.locks import PAUSES, WHOLE_FILE, Area, LockFile, is_locked, try_lock, unlock

#: Seconds between two checks for preemption requests of other processes.
KNOCK_INTERVAL = 0.05


class LocalWriter:
    """A claim on a byte range of an upload's file, held by the descriptor that the range is written through.

    A descriptor must not be closed under a running write: its number could belong to another upload's file before the
    write starts. So ``close`` only marks, and the last call inside closes; until then the claim holds.
    """

    overwrites = True

    def __init__(self, claims: Claims, upload_id: str, chunk: ByteRange, fd: int) -> None:
        self.upload_id, self.chunk = upload_id, chunk
        self._claims, self._fd = claims, fd
        self._mutex = threading.Lock()
        self._inside = 0
        self._closed = False
        self._superseded = asyncio.Event()

    def read(self, offset: int, size: int) -> bytes:
        """The stored bytes ``[offset, offset + size)``, which lie within the claimed range."""
        fd = self._enter(offset, size)
        try:
            data = bytearray(size)
            view = memoryview(data)
            with reading():
                while view:
                    count = self._claims.calls.preadv(fd, [view], offset + size - len(view))
                    if count == 0:
                        if os.fstat(fd).st_nlink == 0:
                            raise NotFound("upload")  # discarded meanwhile
                        raise BytesLost("The storage lost bytes: the file ends before the chunk.")
                    view = view[count:]
            return bytes(data)
        finally:
            self._leave()

    def write(self, offset: int, block: memoryview) -> None:
        """Write ``block``, whole, at ``offset`` of the file, within the claimed range."""
        fd = self._enter(offset, len(block))
        try:
            with failures("write"):
                while block:
                    count = self._claims.calls.pwrite(fd, block, offset)
                    block, offset = block[count:], offset + count
            self._claims.failpoint("write.block")
        finally:
            self._leave()

    def copy(self, offset: int, origin: Origin) -> None:
        """Let the kernel copy a part of another file. Blocks are shared where file system and alignment allow it."""
        assert isinstance(origin.source, OpenFile), "opened by the same storage"
        fd = self._enter(offset, origin.span.size)
        try:
            copy_between(self._claims.calls, origin.source.fd, fd, origin.span, offset)
            self._claims.failpoint("write.copied")
        finally:
            self._leave()

    async def finish(self, size: int, *, durable: bool = False) -> Stored:
        """The bytes are at their place. With ``durable`` they are synced by the descriptor that they were written by.

        The kernel tells of a failed write-back once to each descriptor that was open then: another one, opened after
        someone else was told, would hear of no failure.
        """
        if durable:
            await in_thread(self._sync)
        return Stored(size)

    def _sync(self) -> None:
        fd = self._enter(self.chunk.offset, 0)
        try:
            with syncing():
                self._claims.calls.fdatasync(fd)
            self._claims.failpoint("write.synced")
        finally:
            self._leave()

    def roll(self, chunk: ByteRange) -> LocalWriter:
        """The claim covers the rest already."""
        return self

    async def superseded(self) -> None:
        """Wait until a newer writer requests preemption."""
        await self._superseded.wait()

    def close(self) -> None:
        """Give the range back, now or when the running call comes out."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            last = self._inside == 0
        self._claims.forget(self)
        if last:
            os.close(self._fd)

    def supersede(self) -> None:
        """Tell whoever waits in ``superseded``. Call on the event loop."""
        self._superseded.set()

    def hears_knock(self, span: ByteRange) -> bool | None:
        """Return whether another writer requests preemption at ``span``; None if this writer is closed."""
        with self._mutex:  # so that nobody closes the descriptor meanwhile
            return None if self._closed else is_locked(self._fd, Area.KNOCK, span)

    def _enter(self, offset: int, size: int) -> int:
        if offset < self.chunk.offset or offset + size > self.chunk.end:
            raise ValueError(f"{size} bytes at {offset} are not within the claimed bytes {self.chunk}")
        with self._mutex:
            if self._closed:
                raise Superseded
            self._inside += 1
            return self._fd

    def _leave(self) -> None:
        with self._mutex:
            self._inside -= 1
            last = self._closed and self._inside == 0
        if last:
            os.close(self._fd)


class Claims:
    """The claims of one process on one data folder. ``patience``: seconds that a newcomer waits for a range."""

    def __init__(self, calls: SystemCalls, failpoint: FailPoint, bell: LockFile, patience: float) -> None:
        self.calls, self.failpoint = calls, failpoint
        self._bell = bell
        self._patience = patience
        self._mutex = threading.Lock()  # writers may be closed on any thread
        self._writers: dict[str, set[LocalWriter]] = {}
        self._occupied = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start listening for preemption requests. Call on the event loop."""
        self._listener = asyncio.create_task(self._listen(), name="partwise-knocks")

    async def stop(self) -> None:
        """Stop listening, and close what is still held."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            with suppress(asyncio.CancelledError):
                await listener
        for writer in self._held():
            writer.close()

    async def take(self, upload_id: str, path: str, chunk: ByteRange) -> LocalWriter:
        """Claim ``chunk`` of the file at ``path``. Raises NotFound, RangeBusy, Superseded (a still newer one came),
        and WrongState when the file is published."""
        fd = self._open(path)
        try:
            with failures("lock"):
                await self._pass_locks(fd, upload_id, chunk)
                self._check_file(fd, path)
        except BaseException:
            os.close(fd)
            raise
        return self._enlist(LocalWriter(self, upload_id, chunk, fd))

    def try_take(self, upload_id: str, path: str, chunk: ByteRange) -> LocalWriter | None:
        """Claim ``chunk`` if nobody has any of it. Raises NotFound and WrongState as ``take`` does."""
        fd = self._open(path)
        try:
            with failures("lock"):
                taken = try_lock(fd, Area.CLAIM, chunk)
                self._check_file(fd, path)
        except BaseException:
            os.close(fd)
            raise
        if not taken:
            os.close(fd)
            return None
        return self._enlist(LocalWriter(self, upload_id, chunk, fd))

    @staticmethod
    def _open(path: str) -> int:
        try:
            return open_file(path, os.O_RDWR)
        except FileNotFoundError:
            raise NotFound("upload") from None
        except PermissionError:  # mode 0400
            raise WrongState(UploadState.COMMITTING, Event.WRITE) from None
        except OSError as error:
            if error.errno == errno.ELOOP:  # someone put a symbolic link in its place
                raise NotFound("upload") from None
            with failures("open the upload's file"):
                raise

    def _enlist(self, writer: LocalWriter) -> LocalWriter:
        with self._mutex:
            self._writers.setdefault(writer.upload_id, set()).add(writer)
        self._occupied.set()
        return writer

    def forget(self, writer: LocalWriter) -> None:
        """Take a closed writer off the list. Any thread may call it."""
        with self._mutex:
            writers = self._writers.get(writer.upload_id, set())
            writers.discard(writer)
            if not writers:
                self._writers.pop(writer.upload_id, None)

    async def _pass_locks(self, fd: int, upload_id: str, chunk: ByteRange) -> None:
        # Nothing here awaits while nobody is in the way: five calls of the kernel, and the range is claimed.
        deadline = asyncio.get_running_loop().time() + self._patience
        await self._wait(fd, Area.ARRIVAL, chunk, deadline)
        await self._wait(fd, Area.KNOCK, chunk, deadline)
        unlock(fd, Area.ARRIVAL, chunk)
        for writer in self._held(upload_id):
            if writer.chunk.overlaps(chunk):
                writer.supersede()
        if not try_lock(fd, Area.CLAIM, chunk):
            bell = self._bell.try_hold(random.getrandbits(60))
            try:
                await self._wait(fd, Area.CLAIM, chunk, deadline, leave_for=Area.ARRIVAL)
            finally:
                if bell is not None:  # else another newcomer rings at this very byte
                    bell.release()
        unlock(fd, Area.KNOCK, chunk)

    async def _wait(
        self, fd: int, area: Area, chunk: ByteRange, deadline: float, *, leave_for: Area | None = None
    ) -> None:
        backoff = Backoff(*PAUSES)
        while not try_lock(fd, area, chunk):
            if leave_for is not None and is_locked(fd, leave_for, chunk):
                raise Superseded
            if asyncio.get_running_loop().time() >= deadline:
                raise RangeBusy(chunk)
            await asyncio.sleep(backoff.take())

    @staticmethod
    def _check_file(fd: int, path: str) -> None:
        # While this one waited the file may have been discarded, made anew, or published.
        claimed = os.fstat(fd)
        try:
            named = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            raise NotFound("upload") from None
        if not os.path.samestat(claimed, named):
            raise NotFound("upload")
        if not claimed.st_mode & 0o200:
            raise WrongState(UploadState.COMMITTING, Event.WRITE)

    def _held(self, upload_id: str | None = None) -> list[LocalWriter]:
        with self._mutex:
            if upload_id is not None:
                return list(self._writers.get(upload_id, ()))
            return [writer for writers in self._writers.values() for writer in writers]

    async def _listen(self) -> None:
        while True:
            await self._occupied.wait()
            with self._mutex:
                uploads = [tuple(writers) for writers in self._writers.values()]
            if not uploads:
                self._occupied.clear()
                continue
            with suppress(StorageFailed):  # no descriptor left for the bell, say: the next look may have one
                if self._bell.is_held():
                    for writers in uploads:
                        _pass_knocks_on(writers)
            await asyncio.sleep(KNOCK_INTERVAL)


def _pass_knocks_on(writers: Iterable[LocalWriter]) -> None:
    """Notify the ``writers`` of one file whose range another writer requests."""
    # One look at the whole file first, by any of them: the bell may ring for another file.
    for writer in writers:
        heard = writer.hears_knock(WHOLE_FILE)
        if heard is not None:
            break
    else:
        return
    if heard:
        for writer in writers:
            if writer.hears_knock(writer.chunk):
                writer.supersede()
