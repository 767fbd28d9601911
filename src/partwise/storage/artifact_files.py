"""The artifacts' files of local storage: published by a link, read, verified, deleted; their signatures beside them.

What is published must be whole and on disk before it has its name, and nobody's to write from then on. So the order
is: bytes, link, folder, and the mode last; each step may be repeated after a crash, and is undone when one fails.
Callers hold the lock of the digest (``LocalStorage.digest_lock``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from partwise.core.digests import is_sha256
from partwise.core.errors import BytesLost, NotFound, SyncFailed
from partwise.core.ranges import ByteRange, split
from partwise.engine.ports import BLOCK
from partwise.storage import releasing
from partwise.storage.files import (
    FailPoint,
    OpenFile,
    SystemCalls,
    existing,
    failures,
    hold_open,
    in_thread,
    open_file,
    opened,
    plain_files,
    read_blocks,
    reading,
    sync_folder,
    syncing,
)

#: Folders for the first two digits of a digest.
FOLDERS = tuple(f"{number:02x}" for number in range(256))

#: What the name of an artifact's signature ends with.
SIGNATURE = ".signature"

#: Bytes that one turn on a worker thread hashes at most, so that verifying a large file can be cancelled.
_HASH_STEP = 64 * BLOCK


class ArtifactFiles:
    """The files below ``folder``, each named by its SHA-256."""

    def __init__(self, folder: str, calls: SystemCalls, failpoint: FailPoint) -> None:
        self._folder = folder
        self._calls, self._failpoint = calls, failpoint

    def path(self, sha256: str) -> str:
        """Return the path of an artifact, whether it exists or not. ValueError if the digest is not valid."""
        if not is_sha256(sha256):
            raise ValueError("not a SHA-256 in lower-case hexadecimal")
        return os.path.join(self._folder, sha256[:2], sha256[2:])

    async def publish(self, staged: str, sha256: str, *, size: int) -> None:
        """Fdatasync, link, fsync of the folder, and mode 0400 last: a failed publish leaves the upload writable.

        Whatever stands under the name gives way: these bytes were hashed just now, those may have been damaged since.
        """
        await in_thread(self._publish, staged, self.path(sha256), size)

    async def withdraw(self, staged: str, sha256: str, *, recorded: bool) -> None:
        """Give the upload a file of its own again; see ``Storage.withdraw``."""
        await in_thread(self._withdraw, staged, self.path(sha256), recorded)

    def _withdraw(self, staged: str, target: str, recorded: bool) -> None:
        with existing("upload"), failures("take a publication back"), opened(staged, os.O_RDONLY) as fd:
            with suppress(FileNotFoundError):
                if recorded and os.path.samestat(os.fstat(fd), os.lstat(target)):
                    self._copy(fd, staged)
                    return
            self._take_back(fd, target)

    def _copy(self, source: int, path: str) -> None:
        """Put a copy of a file in the place of ``path``, which is a name of that file."""
        new, size, done = path + ".new", os.fstat(source).st_size, 0
        with opened(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
            while done < size:
                done += self._calls.copy_file_range(source, fd, size - done, done, done)
            self._calls.fsync(fd)
        os.rename(new, path)

    def _publish(self, source: str, target: str, size: int) -> None:
        with existing("upload"), failures("open a file"):
            fd = open_file(source, os.O_RDONLY)
        try:
            # What is missing from here on is not the upload, but a folder of the artifacts: nothing is known then.
            with failures("publish a file"):
                self._publish_open(fd, source, target, size)
        finally:
            os.close(fd)

    def _publish_open(self, fd: int, source: str, target: str, size: int) -> None:
        # The digest is of these bytes, which were read before: what was done to the file since shows in its size.
        surplus = os.fstat(fd).st_size - size
        if surplus < 0:
            raise BytesLost("The storage lost bytes: a file is shorter than its upload.")
        if surplus:  # a crash left the room that the upload turned out not to need
            os.fchmod(fd, 0o600)
            with opened(source, os.O_RDWR) as writable:
                self._calls.ftruncate(writable, size)
        try:
            with syncing():
                self._calls.fdatasync(fd)
            self._failpoint("publish.synced")
            self._link(source, target)
            self._failpoint("publish.linked")
            sync_folder(self._calls, os.path.dirname(target))
            self._failpoint("publish.folder_synced")
            os.fchmod(fd, 0o400)
        except (OSError, SyncFailed):
            self._take_back(fd, target)
            raise

    @staticmethod
    def _take_back(fd: int, target: str) -> None:
        """Undo what this publish, or one before a crash, did: the upload, which goes on, must not write an artifact."""
        os.fchmod(fd, 0o600)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.lstat(target)):
                os.unlink(target)

    def _link(self, source: str, target: str) -> None:
        try:
            self._calls.link(source, target, follow_symlinks=False)
        except FileExistsError:
            if os.path.samestat(os.lstat(source), os.lstat(target)):
                return
            # Readers see the old one or the new one, never none. A link or a device in its place gives way, too.
            new = target + ".new"
            with suppress(FileNotFoundError):
                os.unlink(new)
            self._calls.link(source, new, follow_symlinks=False)
            os.rename(new, target)

    async def link_out(self, sha256: str, path: str) -> None:
        """See ``ReleasingStorage``."""
        await in_thread(releasing.link_out, self._calls, self.path(sha256), path)

    async def take_back(self, sha256: str, path: str) -> None:
        """See ``ReleasingStorage``."""
        await in_thread(releasing.take_back, self.path(sha256), path)

    async def let_go(self, sha256: str, path: str) -> None:
        """See ``ReleasingStorage``. Its signature goes before it."""
        await in_thread(self._let_go, self.path(sha256), path)

    def _let_go(self, source: str, path: str) -> None:
        with failures("delete a file"):
            if not os.path.lexists(source) or releasing.is_same(source, path):
                self._delete_signature(source + SIGNATURE)
        releasing.let_go(self._calls, source, path)

    async def delete(self, sha256: str) -> None:
        """Unlink, and bring the folder to disk."""
        await in_thread(self._delete, self.path(sha256))

    def _delete(self, path: str) -> None:
        with failures("delete a file"):
            self._delete_signature(path + SIGNATURE)
            with suppress(FileNotFoundError):
                os.unlink(path)
            self._failpoint("delete.unlinked")
            sync_folder(self._calls, os.path.dirname(path))

    def _delete_signature(self, path: str) -> None:
        """Before its artifact, also on the disk: nobody would look for it afterwards."""
        found = False
        for name in (path + ".new", path):
            with suppress(FileNotFoundError):
                os.unlink(name)
                found = True
        if found:
            sync_folder(self._calls, os.path.dirname(path))

    def read(self, sha256: str, span: ByteRange, block: int = BLOCK) -> AsyncIterator[bytes]:
        """Blocks of at most ``block`` bytes.

        The file is opened with the first, and closed with the last or with the iterator.
        """
        return self._read(self.path(sha256), "artifact", span, block)

    @staticmethod
    async def _read(path: str, what: str, span: ByteRange, block: int) -> AsyncIterator[bytes]:
        file = await _open(path, what)
        try:
            for piece in split(span, block):
                with reading():
                    data = await in_thread(os.pread, file.fd, piece.size, piece.offset)
                if len(data) < piece.size:
                    raise BytesLost("The storage lost bytes: an artifact is shorter than its record says.")
                yield data
        finally:
            file.close()

    async def open(self, sha256: str) -> OpenFile:
        """The file, open for reading for as long as someone refers to it."""
        return await _open(self.path(sha256), "artifact")

    async def store_signature(self, sha256: str, data: bytes) -> None:
        """Write it under another name, bring it to disk, and give it its name."""
        await in_thread(self._store_signature, self.path(sha256) + SIGNATURE, data)

    def _store_signature(self, path: str, data: bytes) -> None:
        new, left = path + ".new", memoryview(data)
        with failures("store a signature"):
            try:
                with opened(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
                    while left:
                        left = left[self._calls.pwrite(fd, left, len(data) - len(left)) :]
                    self._calls.fsync(fd)
                self._failpoint("signature.written")
                os.rename(new, path)
            except OSError:
                with suppress(FileNotFoundError):
                    os.unlink(new)
                raise

    async def signature_size(self, sha256: str) -> int | None:
        """By its name; None where none is stored."""
        with failures("look at a signature"):
            try:
                return (await in_thread(os.lstat, self.path(sha256) + SIGNATURE)).st_size
            except FileNotFoundError:
                return None

    def read_signature(self, sha256: str, size: int, block: int) -> AsyncIterator[bytes]:
        """As ``read``."""
        return self._read(self.path(sha256) + SIGNATURE, "signature", ByteRange(0, size), block)

    async def verify(self, sha256: str) -> bool:
        """Hash the file, in steps that end when the caller is cancelled."""
        hasher, offset = hashlib.sha256(), 0
        try:
            file = await self.open(sha256)
        except NotFound:
            return False
        while True:
            try:
                with reading():
                    count = await in_thread(read_blocks, self._calls, file.fd, offset, _HASH_STEP, hasher.update)
            except BytesLost:
                return False
            offset += count
            if count < _HASH_STEP:
                return hasher.hexdigest() == sha256

    def names(self) -> Iterator[str]:
        """Names in the 256 folders, in order of the folders."""
        for folder in FOLDERS:
            for name in plain_files(os.path.join(self._folder, folder)):
                if is_sha256(folder + name):
                    yield folder + name


async def _open(path: str, what: str) -> OpenFile:
    with existing(what), reading():
        return await in_thread(hold_open, path, os.O_RDONLY)
