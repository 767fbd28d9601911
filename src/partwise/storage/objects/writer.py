"""One chunk on its way into the object store: one object, sent as its bytes come, or in parts where it is large."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import IO, ParamSpec, Protocol, TypeVar

from partwise.core.errors import BytesLost, NotFound, StorageFailed, Superseded
from partwise.core.ranges import ByteRange
from partwise.core.records import Segment
from partwise.engine.ports import BLOCK, CopyRefused, Origin, Stored
from partwise.storage.objects.place import Place
from partwise.storage.objects.store import MAX_PARTS, Put, within

P = ParamSpec("P")
T = TypeVar("T")

#: Chunks up to this size, in bytes, are sent as they are; larger ones in parts of at least PART_SIZE.
WHOLE_SIZE, PART_SIZE = 64 << 20, 16 << 20

#: The largest object of a store, in bytes: a span may be as good as endless where nobody knows how much will come.
MAX_OBJECT = 5 << 40


class RunInThread(Protocol):
    """Runs a blocking call on a worker thread, to its end."""

    async def __call__(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of the call."""


def part_size(size: int) -> int:
    """Bytes of each part but the last, so that the store's largest number of parts is enough: whole MiB."""
    return max(PART_SIZE, -(-size // MAX_PARTS // BLOCK) * BLOCK)


def _temporary_file() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise StorageFailed(
            "The server has no writable folder for temporary files (TMPDIR), which bodies of unknown length need."
        ) from error


class ObjectWriter:
    """Writes the bytes of a range in order, into the object ``key`` (see ``engine.ports.ChunkWriter``).

    Each request to the store says beforehand how many bytes it brings. Where that is not known (not ``exact``), the
    bytes are gathered in a file without a name until they are a part. Of a body that is cut, the whole parts are kept.
    """

    overwrites = False

    def __init__(
        self,
        place: Place,
        key: str,
        span: ByteRange,
        *,
        exact: bool,
        run: RunInThread,
        executor: Executor,
        follow_on: Callable[[ByteRange], ObjectWriter],
    ) -> None:
        self._place, self._store, self._key, self.span = place, place.store, key, span
        #: Done once ``close`` was called.
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._knocked = asyncio.Event()
        self._run, self._executor = run, executor
        self._follow_on = follow_on
        self._parts = not exact or span.size > WHOLE_SIZE
        self._part_size = part_size(min(span.size, MAX_OBJECT)) if self._parts else span.size
        self._gathered: IO[bytes] | None = None if exact else _temporary_file()
        self._put: Put | None = None
        self._upload: str | None = None
        self._etags: list[str] = []
        #: Whether the object is there already, made of other objects.
        self._is_copied = False
        #: Bytes taken, and how many of them are in the part that is being filled.
        self._taken = self._filled = 0
        self._mutex = threading.Lock()
        self._closed = False

    def read(self, offset: int, size: int) -> bytes:
        """Objects are not compared byte by byte."""
        raise NotImplementedError

    def write(self, offset: int, block: memoryview) -> None:
        """Send or gather the next bytes."""
        try:
            with self._mutex:
                if self._closed:
                    raise Superseded
                assert offset == self.span.offset + self._taken, "bytes come in order"
                self._write(block)
        finally:
            if self._closed:
                self.close()

    def _write(self, block: memoryview) -> None:
        while len(block):
            piece = block[: self._part_size - self._filled]
            if self._gathered is not None:
                self._gathered.write(piece)
            else:
                if self._put is None:
                    self._put = self._begin(min(self._part_size, self.span.size - self._taken))
                self._put.write(piece)
            block = block[len(piece) :]
            self._taken += len(piece)
            self._filled += len(piece)
            if self._parts and self._filled == self._part_size:
                self._end_part()

    def _begin(self, size: int) -> Put:
        if not self._parts:
            return self._store.put(self._key, size)
        if self._upload is None:
            self._upload = self._store.begin(self._key)
        return self._store.put(self._key, size, upload=self._upload, part=len(self._etags) + 1)

    def _end_part(self) -> None:
        if self._gathered is not None:
            self._put = self._begin(self._filled)
            _send(self._gathered, self._put)
        assert self._put is not None
        self._etags.append(self._put.finish())
        self._put, self._filled = None, 0

    def copy(self, offset: int, origin: Origin) -> None:
        """Make the next part of bytes that other objects have, and the object with the last one."""
        try:
            with self._mutex:
                if self._closed:
                    raise Superseded
                assert offset == self.span.offset + self._taken, "bytes come in order"
                self._copy(origin)
        finally:
            if self._closed:
                self.close()

    def _copy(self, origin: Origin) -> None:
        assert self._gathered is None, "a copy has a size"
        try:
            if self._upload is None:
                self._upload = self._store.begin(self._key)
            self._etags.append(self._copy_part(self._upload, len(self._etags) + 1, origin))
            self._taken += origin.span.size
            if self._taken == self.span.size:
                self._store.complete(self._key, self._upload, self._etags)
                self._upload, self._is_copied = None, True
        except StorageFailed as error:
            # Stores differ in what they copy, and in the sizes of parts that they take.
            self._forget_parts()
            self._etags, self._taken = [], 0
            raise CopyRefused(str(error)) from error
        except NotFound as error:
            raise BytesLost("The object store has lost an object.") from error

    def _copy_part(self, upload: str, number: int, origin: Origin) -> str:
        """Make a part within the store, or of bytes that are read here; its tag."""
        source, span = origin.source, origin.span
        if isinstance(source, Segment):
            inside = ByteRange(span.offset - source.offset, span.size)
            return self._place.copy(self._key, upload, number, source.ref, inside)
        assert isinstance(source, tuple), "opened by the same storage"
        put = self._store.put(self._key, span.size, upload=upload, part=number)
        try:
            for block in self._place.read(within(source, span)):
                put.write(memoryview(block))
            return put.finish()
        except BaseException:
            put.abort()
            raise

    async def finish(self, size: int, *, durable: bool = False) -> Stored:
        """Wait until the store has the object."""
        return await self._run(self._finish, size)

    def _finish(self, size: int) -> Stored:
        try:
            with self._mutex:
                if self._closed:
                    raise Superseded
                return self._complete(size)
        finally:
            if self._closed:
                self.close()

    def _complete(self, size: int) -> Stored:
        assert size == self._taken, "as many bytes as were written"
        if self._is_copied:
            return Stored(size, self._key, durable=True)
        if self._gathered is not None and not self._etags:
            self._parts = False  # small enough to be one object after all
            if size:
                self._put = self._store.put(self._key, size)
                _send(self._gathered, self._put)
        elif self._filled and (self._gathered is not None or self._taken == self.span.size) and self._parts:
            self._end_part()
        if not self._parts:
            if self._put is None or (self._gathered is None and size < self.span.size):
                return Stored(0)
            self._put.finish()
            self._put = None
            return Stored(size, self._key, durable=True)
        if not self._etags:
            return Stored(0)
        assert self._upload is not None
        self._store.complete(self._key, self._upload, self._etags)
        self._upload = None
        return Stored(size - self._filled, self._key, durable=True)

    def knock(self) -> None:
        """Ask it to leave."""
        self._knocked.set()

    def roll(self, chunk: ByteRange) -> ObjectWriter:
        """A new object. Nothing waits in between, so a newcomer finds either this writer or the next one."""
        rest = self._follow_on(chunk)
        if self._knocked.is_set():
            rest.knock()
        self.close()
        return rest

    async def superseded(self) -> None:
        """Returns when someone has knocked."""
        await self._knocked.wait()

    def close(self) -> None:
        """Cut what is under way; a thread that is at it does that itself when it comes out."""
        if not self._closed:  # the first time is on the event loop
            self.closed.set_result(None)
        self._closed = True
        if not self._mutex.acquire(blocking=False):
            return
        try:
            if self._put is not None:
                self._put.abort()
                self._put = None
            if self._gathered is not None:
                self._gathered.close()
                self._gathered = None
            self._forget_parts()
        finally:
            self._mutex.release()

    def _forget_parts(self) -> None:
        """Give up an object in parts. Nobody waits for it; should it fail, housekeeping finds what is left."""
        if self._upload is not None:
            upload, self._upload = self._upload, None
            self._executor.submit(self._store.abort, self._key, upload)


def _send(source: IO[bytes], put: Put) -> None:
    """Send all that was gathered, and empty the file."""
    source.seek(0)
    while block := source.read(BLOCK):
        put.write(memoryview(block))
    source.seek(0)
    source.truncate()
