"""Uploads and artifacts in the memory of one process: the storage port for fast tests, with the same behaviour."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from partwise.core.errors import BytesLost, NotFound, OutOfSpace, RangeBusy, StorageFailed, Superseded, WrongState
from partwise.core.ranges import MAX_SIZE, ByteRange, split
from partwise.core.records import Chunk
from partwise.core.state import Event, UploadState
from partwise.engine.ports import BLOCK, ChunkWriter, Lock, Origin, Purpose, RunningHash, Sink, Space, Stored
from partwise.storage.hashing import ThreadedHash, one_by_one
from partwise.storage.joining import placed

_PAUSE = 0.001


@dataclass(eq=False)
class MemoryFile:
    """The bytes of an upload, and of the artifact it may become: one object under two names, as with hard links."""

    data: bytearray
    published: bool = False
    writers: list[MemoryWriter] = field(default_factory=list)
    waiting: list[_Newcomer] = field(default_factory=list)


@dataclass(eq=False)
class _Newcomer:
    chunk: ByteRange
    superseded: bool = False


class MemoryWriter:
    """A claim on a byte range of a file in memory."""

    overwrites = True

    def __init__(self, file: MemoryFile, chunk: ByteRange) -> None:
        self.chunk = chunk
        self._file = file
        self._mutex = threading.Lock()
        self._closed = False
        self._superseded = asyncio.Event()

    def read(self, offset: int, size: int) -> bytes:
        """The stored bytes ``[offset, offset + size)``, which lie within the claimed range."""
        with self._mutex:
            self._check(offset, size)
            data = bytes(self._file.data[offset : offset + size])
        if len(data) < size:
            raise BytesLost("The storage lost bytes: the file ends before the chunk.")
        return data

    def write(self, offset: int, block: memoryview) -> None:
        """Copy ``block`` to ``offset`` of the file, within the claimed range."""
        with self._mutex:
            self._check(offset, len(block))
            data = self._file.data
            if offset > len(data):
                data.extend(bytes(offset - len(data)))
            data[offset : offset + len(block)] = block

    def copy(self, offset: int, origin: Origin) -> None:
        """Never asked for: ``open_artifact`` opens nothing here."""
        raise NotImplementedError

    async def finish(self, size: int, *, durable: bool = False) -> Stored:
        """Nothing to do: the bytes are at their place."""
        return Stored(size)

    def roll(self, chunk: ByteRange) -> MemoryWriter:
        """The claim covers the rest already."""
        return self

    async def superseded(self) -> None:
        """Wait until a newer writer asks for the range."""
        await self._superseded.wait()

    def supersede(self) -> None:
        """Tell whoever waits in ``superseded``."""
        self._superseded.set()

    def close(self) -> None:
        """Give the range back, after the running call."""
        with self._mutex:
            if not self._closed:
                self._closed = True
                self._file.writers.remove(self)

    def _check(self, offset: int, size: int) -> None:
        if offset < self.chunk.offset or offset + size > self.chunk.end:
            raise ValueError(f"{size} bytes at {offset} are not within the claimed bytes {self.chunk}")
        if self._closed:
            raise Superseded


class MemoryLock:
    """An entry in a set, until released."""

    def __init__(self, held: set[str], key: str) -> None:
        self._held, self._key = held, key
        held.add(key)

    def release(self) -> None:
        """Give it back. May be called again without effect."""
        self._held.discard(self._key)
        self._held = set()


class MemoryStorage:
    """The storage port in memory. ``capacity`` and ``floor`` in bytes, ``patience`` in seconds, as for local files."""

    remote = False

    def __init__(self, *, capacity: int = 1 << 30, floor: int = 0, patience: float = 10.0) -> None:
        self._capacity, self._floor, self._patience = capacity, floor, patience
        self.staged: dict[str, MemoryFile] = {}
        self.artifacts: dict[str, MemoryFile] = {}
        self.signatures: dict[str, bytes] = {}
        self._held: set[str] = set()
        self._digests: dict[str, asyncio.Lock] = {}

    async def start(self, *, look_only: bool = False) -> None:
        """Nothing to prepare."""

    async def stop(self) -> None:
        """Close what is still claimed."""
        for file in self.staged.values():
            for writer in list(file.writers):
                writer.close()

    async def bind(self, installation: str, *, recorded: bool) -> None:
        """Nothing that could be another's."""

    def boot(self) -> str | None:
        """None: nothing here outlives the process."""
        return None

    async def is_lost(self, upload_id: str) -> bool:
        """Return whether the file is missing."""
        return upload_id not in self.staged

    @asynccontextmanager
    async def exclude_writers(self, upload_id: str) -> AsyncIterator[None]:
        """A claim on the whole file, unless it is published."""
        with ExitStack() as stack:
            with suppress(WrongState):
                writer = await self.claim(upload_id, ByteRange(0, MAX_SIZE))
                stack.callback(writer.close)
            yield

    async def withdraw(self, upload_id: str, sha256: str, *, recorded: bool) -> None:
        """Take the second name away, or make a copy."""
        file = self._file(upload_id)
        if self.artifacts.get(sha256) is not file:
            file.published = False
        elif recorded:
            self.staged[upload_id] = MemoryFile(bytearray(file.data))
        else:
            file.published = False
            del self.artifacts[sha256]

    async def reserve(self, upload_id: str, size: int, *, durable: bool = True) -> Lock:
        """Make the file with all its bytes."""
        if upload_id in self.staged:
            raise StorageFailed("There is a staging file of this id already.")
        self._make_room(size)
        self.staged[upload_id] = MemoryFile(bytearray(size))
        return MemoryLock(self._held, f"create {upload_id}")

    async def resize(self, upload_id: str, size: int, *, at_least: bool = False, durable: bool = True) -> None:
        """Add zeros, or cut off the end."""
        data = self._file(upload_id).data
        if size > len(data):
            self._make_room(size - len(data))
            data.extend(bytes(size - len(data)))
        elif not at_least:
            del data[size:]

    async def claim(self, upload_id: str, chunk: ByteRange, *, exact: bool = True) -> ChunkWriter:
        """Take the range; of several that wait for it the newest gets it."""
        if chunk.size < 1:
            raise ValueError(f"no claim covers {chunk.size} bytes")
        file = self._file(upload_id)
        await self._wait(file, chunk)
        if self._file(upload_id) is not file:
            raise NotFound("upload")
        if file.published:
            raise WrongState(UploadState.COMMITTING, Event.WRITE)
        writer = MemoryWriter(file, chunk)
        file.writers.append(writer)
        return writer

    async def try_claim(self, upload_id: str, chunk: ByteRange) -> ChunkWriter | None:
        """Take the range if nobody has any of it."""
        file = self._file(upload_id)
        if file.published:
            raise WrongState(UploadState.COMMITTING, Event.WRITE)
        if any(writer.chunk.overlaps(chunk) for writer in file.writers):
            return None
        writer = MemoryWriter(file, chunk)
        file.writers.append(writer)
        return writer

    async def _wait(self, file: MemoryFile, chunk: ByteRange) -> None:
        for older in file.waiting:
            older.superseded = older.superseded or older.chunk.overlaps(chunk)
        me = _Newcomer(chunk)
        file.waiting.append(me)
        deadline = asyncio.get_running_loop().time() + self._patience
        try:
            while holders := [writer for writer in list(file.writers) if writer.chunk.overlaps(chunk)]:
                for writer in holders:
                    writer.supersede()
                if asyncio.get_running_loop().time() >= deadline:
                    raise RangeBusy(chunk)
                await asyncio.sleep(_PAUSE)
                if me.superseded:
                    raise Superseded
        finally:
            file.waiting.remove(me)

    async def concatenate(self, upload_id: str, parts: Sequence[tuple[str, Sequence[Chunk]]]) -> list[Chunk]:
        """Copy the bytes."""
        plan = placed(parts)
        await self.resize(upload_id, sum(place.size for _, place in plan))
        data = self._file(upload_id).data
        for part, place in plan:
            data[place.offset : place.range.end] = self._file(part).data[: place.size]
        return [place for _, place in plan]

    def read_staged(self, upload_id: str, chunk: Chunk, span: ByteRange, sink: Sink) -> None:
        """Copies of the bytes, in blocks."""
        data = self._file(upload_id).data
        for piece in split(span, BLOCK):
            block = bytes(data[piece.offset : piece.end])
            if len(block) < piece.size:
                raise BytesLost("The storage lost bytes: a file ends before its last chunk.")
            sink(memoryview(block))

    def running_hash(self, upload_id: str, algorithms: Collection[str] = ()) -> RunningHash:
        """On a thread."""
        return ThreadedHash(one_by_one(partial(self.read_staged, upload_id)), algorithms)

    async def flush(self, upload_id: str) -> None:
        """There is no more stable storage here than memory."""
        self._file(upload_id)

    async def try_lock(self, upload_id: str, purpose: Purpose) -> Lock | None:
        """An entry in the set of locks."""
        key = f"{purpose.value} {upload_id}"
        return None if key in self._held else MemoryLock(self._held, key)

    def digest_lock(self, sha256: str) -> AbstractAsyncContextManager[None]:
        """A lock of the event loop."""
        return self._digests.setdefault(sha256, asyncio.Lock())

    async def publish(self, upload_id: str, sha256: str, *, size: int) -> None:
        """Give the file its second name."""
        file = self._file(upload_id)
        if len(file.data) < size:
            raise BytesLost("The storage lost bytes: a file is shorter than its upload.")
        del file.data[size:]
        file.published = True
        self.artifacts[sha256] = file

    async def discard(self, upload_id: str) -> None:
        """Forget the upload's name."""
        self.staged.pop(upload_id, None)

    async def delete_artifact(self, sha256: str, *, damaged: bool = False) -> None:
        """Forget the artifact's name."""
        self.artifacts.pop(sha256, None)
        self.signatures.pop(sha256, None)

    async def read_artifact(self, sha256: str, span: ByteRange, block: int = BLOCK) -> AsyncIterator[bytes]:
        """Copies of the bytes, in blocks."""
        file = self.artifacts.get(sha256)
        if file is None:
            raise NotFound("artifact")
        for piece in split(span, block):
            data = bytes(file.data[piece.offset : piece.end])
            if len(data) < piece.size:
                raise BytesLost("The storage lost bytes: an artifact is shorter than its record says.")
            yield data

    async def open_artifact(self, sha256: str, span: ByteRange) -> Sequence[Origin]:
        """Nothing: bytes are read."""
        return []

    async def artifact_file(self, sha256: str) -> None:
        """None: there is no file."""

    async def store_signature(self, sha256: str, data: bytes) -> None:
        """Keep it."""
        self.signatures[sha256] = data

    async def signature_size(self, sha256: str) -> int | None:
        """Return the size of the kept bytes."""
        return len(self.signatures[sha256]) if sha256 in self.signatures else None

    async def read_signature(self, sha256: str, size: int, block: int = BLOCK) -> AsyncIterator[bytes]:
        """Yield the kept bytes, in blocks."""
        data = self.signatures.get(sha256)
        if data is None:
            raise NotFound("signature")
        for piece in split(ByteRange(0, size), block):
            yield data[piece.offset : piece.end]

    async def artifact_url(self, sha256: str, size: int, headers: Mapping[str, str]) -> str | None:
        """None: nobody but this process reads these bytes."""
        return None

    async def verify_artifact(self, sha256: str) -> bool:
        """Hash the bytes."""
        file = self.artifacts.get(sha256)
        return file is not None and hashlib.sha256(file.data).hexdigest() == sha256

    def list_staged(self) -> Iterator[str]:
        """Uploads that no creation in progress holds."""
        yield from [upload_id for upload_id in self.staged if f"create {upload_id}" not in self._held]

    def list_artifacts(self) -> Iterator[str]:
        """The artifacts' digests."""
        yield from list(self.artifacts)

    async def space(self) -> Space:
        """Return the free capacity."""
        files = {id(file): file for file in (*self.staged.values(), *self.artifacts.values())}
        free = max(0, self._capacity - sum(len(file.data) for file in files.values()))
        return Space(total=self._capacity, free=free, available=max(0, free - self._floor))

    def _make_room(self, size: int) -> None:
        files = {id(file): file for file in (*self.staged.values(), *self.artifacts.values())}
        if size > self._capacity - self._floor - sum(len(file.data) for file in files.values()):
            raise OutOfSpace

    def _file(self, upload_id: str) -> MemoryFile:
        try:
            return self.staged[upload_id]
        except KeyError:
            raise NotFound("upload") from None
