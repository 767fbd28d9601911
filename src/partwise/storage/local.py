"""Uploads and artifacts as files of one local file system.

::

    DATA/staging/<upload id>      a file with all its room reserved; chunks are written at their final place
    DATA/artifacts/ab/cdef…       the same file, by its SHA-256: linked there when it is whole, never copied
    DATA/artifacts/ab/cdef….signature   its signature, where a client has asked for it
    DATA/installation             the id of the installation whose records describe all of it (``place.py``)
    DATA/locks/…                  empty files whose bytes are locks (``locks.py``)

Folders are 0700, files 0600 and artifacts 0400. What a name on disk is made of is an upload id or a digest, checked
before; what clients call their files never comes here.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial

from partwise.core.errors import BytesLost, NotFound, OutOfSpace, StorageFailed, WrongState
from partwise.core.ranges import ByteRange, split
from partwise.core.records import Chunk
from partwise.engine.ports import BLOCK, ArtifactFile, ChunkWriter, Lock, Origin, Purpose, RunningHash, Sink, Space
from partwise.storage.artifact_files import FOLDERS, ArtifactFiles
from partwise.storage.claims import Claims
from partwise.storage.files import (
    FailPoint,
    OpenFile,
    SystemCalls,
    existing,
    failures,
    hold_open,
    in_thread,
    no_failpoint,
    open_file,
    opened,
    plain_files,
    read_blocks,
    reading,
    sync_folder,
    syncing,
)
from partwise.storage.hashing import HashProcess, ThreadedHash, cores, one_by_one
from partwise.storage.joining import copy, placed, share
from partwise.storage.kernel import boot_id
from partwise.storage.locks import WHOLE_FILE, LockFile, name_byte
from partwise.storage.place import Place
from partwise.storage.probe import can_allocate, check_fitness

#: Bytes that one turn on a thread has the kernel copy.
_COPY_STEP = 16 << 20
_UPLOAD_ID = re.compile(r"[0-9a-f-]{1,64}", re.ASCII)


class LocalStorage:
    """The storage port on local files, safe for any number of processes on one ``data`` folder.

    ``floor``: bytes of the file system that new uploads leave free. ``patience``: seconds that a chunk waits for
    another writer of its range. ``failpoint`` and ``calls`` let tests stop or fail at single steps, and ``boot`` lets
    them restart the machine.
    """

    remote = False

    def __init__(
        self,
        data: str | os.PathLike[str],
        *,
        floor: int = 0,
        patience: float = 10.0,
        failpoint: FailPoint = no_failpoint,
        calls: SystemCalls | None = None,
        boot: str | None = None,
    ) -> None:
        self._data = os.path.abspath(os.fspath(data))
        self._staging, self._locks = (os.path.join(self._data, name) for name in ("staging", "locks"))
        self._floor = floor
        self._failpoint = failpoint
        self._calls = calls or SystemCalls()
        self._calls_replaced = calls is not None
        self._artifacts = ArtifactFiles(os.path.join(self._data, "artifacts"), self._calls, failpoint)
        self._claims = Claims(self._calls, failpoint, self._lock_file("bell"), patience)
        self._purposes = {purpose: self._lock_file(purpose.value) for purpose in Purpose}
        self._creations, self._reservations = self._lock_file("create"), self._lock_file("reserve")
        self._digests = self._lock_file("digests")
        self.hash_process = HashProcess(cores())
        self._allocates = False
        self._boot = boot
        self._place = Place(self._data, self._calls)

    # start and stop

    async def start(self, *, look_only: bool = False) -> None:
        """Make the folders, and try out what the promises rest on. StorageFailed says what is wrong with the place."""
        if look_only:
            # Of an installation that was restored without them, nobody holds locks.
            self._creations.may_make = self._digests.may_make = False
            return
        await in_thread(self._prepare)
        self._claims.start()

    async def stop(self) -> None:
        """Stop listening for preemption requests, release the write leases, and end the hash process."""
        await self._claims.stop()
        await self.hash_process.stop()

    def _prepare(self) -> None:
        with failures("prepare the data folder"):
            os.makedirs(self._data, mode=0o700, exist_ok=True)
            check_fitness(self._data)
            artifacts = os.path.join(self._data, "artifacts")
            folders = [os.path.join(artifacts, name) for name in FOLDERS]
            made = [_make_folder(folder) for folder in (self._staging, artifacts, *folders)]
            # The locks' folder comes last: where it is, the others are there for good, also after a power loss. So a
            # commit has one folder to bring to disk, and a start that finds all in place has none.
            if any(made) or not os.path.isdir(self._locks):
                for folder in (*folders, artifacts, self._staging, self._data):
                    sync_folder(self._calls, folder)
                _make_folder(self._locks)
            self._allocates = can_allocate(self._calls, self._staging, artifacts)

    async def bind(self, installation: str, *, recorded: bool) -> None:
        """See ``place.py``."""
        await in_thread(self._place.bind, installation, recorded=recorded)

    def boot(self) -> str | None:
        """The kernel's own id of it."""
        return self._boot or boot_id()

    async def is_lost(self, upload_id: str) -> bool:
        """Missing by its name and in the listing of the folder, while the folder is the right one."""
        return await in_thread(self._is_lost, self._staging_path(upload_id))

    def _is_lost(self, path: str) -> bool:
        if os.path.lexists(path):
            return False
        self._place.check()
        with failures("list files"):
            return os.path.basename(path) not in plain_files(self._staging) and not os.path.lexists(path)

    @asynccontextmanager
    async def exclude_writers(self, upload_id: str) -> AsyncIterator[None]:
        """A claim on the whole file: the last one to hold any of it, with a descriptor that can write.

        A file that is published already has had that, and nobody can open it for writing since.
        """
        async with AsyncExitStack() as stack:
            with suppress(WrongState):
                writer = await self._claims.take(upload_id, self._staging_path(upload_id), WHOLE_FILE)
                stack.callback(writer.close)
            yield

    # staging files

    async def reserve(self, upload_id: str, size: int, *, durable: bool = True) -> Lock:
        """Make the file with all its bytes allocated, under the creation lock that is returned."""
        path = self._staging_path(upload_id)
        lock = self._creations.try_hold(name_byte(upload_id))
        if lock is None:
            raise StorageFailed("An upload of this id is being made already.")
        try:
            if await in_thread(os.path.lexists, path):
                raise StorageFailed("There is a staging file of this id already.")
            try:
                async with self._reservations.held(0):
                    await in_thread(self._create, path, size)
                if durable:
                    await in_thread(self._sync_new, path)
            except BaseException:
                # Nobody else makes this file, and it was not there: what is there now came from here.
                await in_thread(self._discard, path)
                raise
        except BaseException:
            lock.release()
            raise
        return lock

    async def resize(self, upload_id: str, size: int, *, at_least: bool = False, durable: bool = True) -> None:
        """Allocate more, or cut off the end."""
        path = self._staging_path(upload_id)
        async with self._reservations.held(0):
            await in_thread(self._resize, path, size, at_least, durable and not at_least)

    def _create(self, path: str, size: int) -> None:
        with failures("create a file"), opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
            self._allocate(fd, 0, size)
            self._failpoint("reserve.allocated")

    def _resize(self, path: str, size: int, at_least: bool, durable: bool) -> None:
        with existing("upload"), failures("resize a file"), opened(path, os.O_RDWR) as fd:
            before = os.fstat(fd).st_size
            if at_least and size <= before:
                return
            if size > before:
                try:
                    self._allocate(fd, before, size - before)
                except OSError:
                    self._calls.ftruncate(fd, before)  # a part may have been allocated
                    raise
            else:
                self._calls.ftruncate(fd, size)
            if durable:  # that waits for all that was written so far
                with syncing():
                    self._calls.fsync(fd)

    def _extend(self, fd: int, end: int) -> None:
        before = os.fstat(fd).st_size  # what a crash interrupted has its room already
        if end > before:
            self._allocate(fd, before, end - before)

    def _allocate(self, fd: int, offset: int, size: int) -> None:
        """Reserve room for ``size`` more bytes of a file; the caller holds the reservations' lock. Raises OSError."""
        if size == 0:
            return
        if size > self._space().available:
            raise OutOfSpace(setting="free_space_floor")
        try:
            self._calls.fallocate(fd, offset, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            # A hole: its bytes are counted as reserved from its size and its blocks, for as long as it has the hole.
            self._calls.ftruncate(fd, offset + size)

    def _sync_new(self, path: str) -> None:
        with failures("make a file durable"):
            with opened(path, os.O_RDONLY) as fd:
                self._calls.fsync(fd)
            sync_folder(self._calls, self._staging)
            self._failpoint("reserve.synced")

    async def concatenate(self, upload_id: str, parts: Sequence[tuple[str, Sequence[Chunk]]]) -> list[Chunk]:
        """Share the blocks or have the kernel copy them: see ``joining.py``."""
        plan = placed(parts)
        async with self._held_open(upload_id, os.O_RDWR) as target:
            for part, place in plan:
                async with self._held_open(part, os.O_RDONLY) as source:
                    await self._join(source, target, place)
                self._failpoint("join.part")
        return [place for _, place in plan]

    @asynccontextmanager
    async def _held_open(self, upload_id: str, flags: int) -> AsyncIterator[OpenFile]:
        with existing("upload"), failures("open a file"):
            file = await in_thread(hold_open, self._staging_path(upload_id), flags)
        try:
            yield file
        finally:
            file.close()

    async def _join(self, source: OpenFile, target: OpenFile, place: Chunk) -> None:
        with failures("join files"):
            if await in_thread(share, self._calls, source.fd, target.fd, place):
                return
            async with self._reservations.held(0):
                await in_thread(self._extend, target.fd, place.range.end)
            done = 0
            while done < place.size:
                done = await in_thread(copy, self._calls, source.fd, target.fd, place, done)

    async def claim(self, upload_id: str, chunk: ByteRange, *, exact: bool = True) -> ChunkWriter:
        """See ``claims.py``."""
        return await self._claims.take(upload_id, self._staging_path(upload_id), chunk)

    async def try_claim(self, upload_id: str, chunk: ByteRange) -> ChunkWriter | None:
        """See ``claims.py``."""
        return self._claims.try_take(upload_id, self._staging_path(upload_id), chunk)

    def read_staged(self, upload_id: str, chunk: Chunk, span: ByteRange, sink: Sink) -> None:
        """Read from the file; from memory while the page cache has it."""
        with existing("upload"), reading(), opened(self._staging_path(upload_id), os.O_RDONLY) as fd:
            if read_blocks(self._calls, fd, span.offset, span.size, sink) < span.size:
                if os.fstat(fd).st_nlink == 0:
                    raise NotFound("upload")  # discarded meanwhile
                raise BytesLost("The storage lost bytes: a file ends before its last chunk.")

    def running_hash(self, upload_id: str, algorithms: Collection[str] = ()) -> RunningHash:
        """In a process of its own, which reads the file; here where a test's own calls are to be met."""
        if self._calls_replaced:
            return ThreadedHash(one_by_one(partial(self.read_staged, upload_id)), algorithms)
        return self.hash_process.hash(self._staging_path(upload_id), algorithms)

    async def flush(self, upload_id: str) -> None:
        """Fdatasync. After an error the kernel calls the lost pages clean: a second try would succeed for nothing."""
        await in_thread(self._flush, self._staging_path(upload_id))

    def _flush(self, path: str) -> None:
        with existing("upload"), failures("make bytes durable"), opened(path, os.O_RDONLY) as fd, syncing():
            self._calls.fdatasync(fd)

    async def discard(self, upload_id: str) -> None:
        """Unlink, and give the room back even while slow writers have the file open."""
        await in_thread(self._discard, self._staging_path(upload_id))

    def _discard(self, path: str) -> None:
        with failures("delete a file"):
            try:
                fd = open_file(path, os.O_RDWR)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return
                os.unlink(path)  # mode 0400: its bytes are an artifact's
            else:
                try:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
                    if os.fstat(fd).st_nlink == 0:
                        self._calls.ftruncate(fd, 0)
                finally:
                    os.close(fd)
            self._failpoint("discard.unlinked")

    async def try_lock(self, upload_id: str, purpose: Purpose) -> Lock | None:
        """One byte of the purpose's file of locks."""
        return self._purposes[purpose].try_hold(name_byte(upload_id))

    def list_staged(self) -> Iterator[str]:
        """Names in the staging folder; a creation is locked before its file is there, so none is seen too early."""
        for name in plain_files(self._staging):
            if _UPLOAD_ID.fullmatch(name) and not self._creations.is_held(name_byte(name)):
                yield name

    # artifacts

    def artifact_path(self, sha256: str) -> str:
        """Return the path of an artifact, for a server that sends files itself. The file may not exist."""
        return self._artifacts.path(sha256)

    def digest_lock(self, sha256: str) -> AbstractAsyncContextManager[None]:
        """One byte of the digests' file of locks."""
        return self._digests.held(name_byte(sha256))

    async def publish(self, upload_id: str, sha256: str, *, size: int) -> None:
        """Fdatasync, link, fsync of the folder, and mode 0400 last: a failed publish leaves the upload writable."""
        await self._artifacts.publish(self._staging_path(upload_id), sha256, size=size)

    async def withdraw(self, upload_id: str, sha256: str, *, recorded: bool) -> None:
        """Unlink the artifact's name and make the file writable again, or make a copy of it."""
        await self._artifacts.withdraw(self._staging_path(upload_id), sha256, recorded=recorded)

    async def link_out(self, sha256: str, path: str) -> None:
        """See ``ReleasingStorage``."""
        await self._artifacts.link_out(sha256, path)

    async def take_back(self, sha256: str, path: str) -> None:
        """See ``ReleasingStorage``."""
        await self._artifacts.take_back(sha256, path)

    async def let_go(self, sha256: str, path: str) -> None:
        """See ``ReleasingStorage``."""
        await self._artifacts.let_go(sha256, path)

    async def delete_artifact(self, sha256: str, *, damaged: bool = False) -> None:
        """Unlink, and bring the folder to disk."""
        await self._artifacts.delete(sha256)

    def read_artifact(self, sha256: str, span: ByteRange, block: int = BLOCK) -> AsyncIterator[bytes]:
        """Blocks of at most 1 MiB. The file is opened with the first, and closed with the last or with the iterator."""
        return self._artifacts.read(sha256, span, block)

    async def open_artifact(self, sha256: str, span: ByteRange) -> Sequence[Origin]:
        """Its file, which the kernel copies from, in steps."""
        file = await self._artifacts.open(sha256)
        return [Origin(part, file, file.close) for part in split(span, _COPY_STEP)]

    async def artifact_file(self, sha256: str) -> ArtifactFile | None:
        """See the port."""
        return await self._artifacts.open(sha256)

    async def store_signature(self, sha256: str, data: bytes) -> None:
        """In a file beside the artifact's. It counts for nobody, but leaves the floor of free space alone."""
        if len(data) > (await self.space()).available:
            raise OutOfSpace(setting="free_space_floor")
        await self._artifacts.store_signature(sha256, data)

    async def signature_size(self, sha256: str) -> int | None:
        """Of the file beside the artifact's."""
        return await self._artifacts.signature_size(sha256)

    def read_signature(self, sha256: str, size: int, block: int = BLOCK) -> AsyncIterator[bytes]:
        """From the file beside the artifact's."""
        return self._artifacts.read_signature(sha256, size, block)

    async def artifact_url(self, sha256: str, size: int, headers: Mapping[str, str]) -> str | None:
        """None: nobody but this process reads these bytes."""
        return None

    async def verify_artifact(self, sha256: str) -> bool:
        """Hash the file, in steps that end when the caller is cancelled."""
        return await self._artifacts.verify(sha256)

    def list_artifacts(self) -> Iterator[str]:
        """Names in the 256 folders, in order of the folders."""
        return self._artifacts.names()

    # space and paths

    async def space(self) -> Space:
        """From statvfs(2), with reservations that hold no blocks yet taken off. StorageFailed: the folder is away."""
        with failures("look at the free space"):
            return await in_thread(self._checked_space)

    def _checked_space(self) -> Space:
        self._place.check()
        return self._space()

    def _space(self) -> Space:
        stat = self._calls.statvfs(self._staging)
        free = stat.f_bavail * stat.f_frsize
        available = max(0, free - self._outstanding() - self._floor)
        return Space(total=stat.f_blocks * stat.f_frsize, free=free, available=available)

    def _outstanding(self) -> int:
        """Bytes reserved that hold no blocks yet. The files are the account: no count that a crash could falsify."""
        if self._allocates:
            return 0
        with os.scandir(self._staging) as entries:
            return sum(map(_hole, entries))

    def _staging_path(self, upload_id: str) -> str:
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise NotFound("upload")
        return os.path.join(self._staging, upload_id)

    def _lock_file(self, name: str) -> LockFile:
        return LockFile(os.path.join(self._locks, name))


def _make_folder(path: str) -> bool:
    """Make a folder unless it is there; returns whether it was made."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return False
    return True


def _hole(entry: os.DirEntry[str]) -> int:
    try:
        stat = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return max(0, stat.st_size - 512 * stat.st_blocks)
