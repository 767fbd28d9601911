"""Files and bytes in memory that are uploaded: identity, bytes, and the SHA-256 made while they are sent."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from partwise.client import files
from partwise.client.errors import Cancelled, ClientError, FileChanged
from partwise.core.ranges import ByteRange

#: Bytes read at once: larger and smaller blocks were slower.
BLOCK = 1024 * 1024
#: How far the digest may run ahead of the chunks being sent. It stays close, so that a region is read from disk once
#: and used twice while it is in the page cache, even of a file larger than the memory.
HASH_AHEAD_BYTES = 64 * BLOCK


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of a file's content, determined without reading it."""

    size: int
    mtime_ns: int
    inode: int


class Unreadable(ClientError):
    """The disk could not read the file."""


class Source:
    """Bytes to send, read at any offset. Threads may share it."""

    @property
    def name(self) -> str:
        """The file's name for the server and for messages; empty if it has none."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Bytes."""
        raise NotImplementedError

    def blocks(self, span: ByteRange) -> Iterator[memoryview]:
        """The bytes of ``span`` in blocks; each is valid until the next is asked for."""
        raise NotImplementedError

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read bytes from ``offset`` on into ``view``, which is not empty; how many. Raises FileChanged at the end."""
        raise NotImplementedError

    def check_unchanged(self) -> None:
        """Raise FileChanged if the bytes are no longer what they were."""
        return

    def will_need(self, span: ByteRange) -> None:
        """``span`` is read next."""
        return

    def done(self, span: ByteRange) -> None:
        """The server has ``span``, which lies within a part that was taken up for sending."""
        return

    def sha256(self, span: ByteRange) -> str:
        """The SHA-256 of the bytes of ``span``, in hex."""
        digest = hashlib.sha256()
        for block in self.blocks(span):
            digest.update(block)
        return digest.hexdigest()


class Memory(Source):
    """Bytes in memory."""

    def __init__(self, data: memoryview, name: str = "") -> None:
        """``data`` has the format ``B`` and one dimension."""
        self._data, self._name = data, name

    @property
    def name(self) -> str:
        """Return the given path."""
        return self._name

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self._data)

    def blocks(self, span: ByteRange) -> Iterator[memoryview]:
        """The bytes of ``span``, which are not copied."""
        for offset in range(span.offset, span.end, BLOCK):
            yield self._data[offset : min(offset + BLOCK, span.end)]

    def read_into(self, view: memoryview, offset: int) -> int:
        """Copy bytes from ``offset`` on into ``view``; how many."""
        found = self._data[offset : offset + len(view)]
        view[: len(found)] = found
        return len(found)


class LocalFile(Source):
    """An open file. The descriptor serves positioned reads only, so that threads may share it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open ``path``. Raises OSError, also when it is no regular file."""
        self.path = Path(path).absolute()
        # A FIFO without a writer would make a blocking open wait forever.
        self.fd = files.open_file(self.path, "O_RDONLY", "O_NONBLOCK")
        if not stat.S_ISREG(os.fstat(self.fd).st_mode):
            os.close(self.fd)
            raise OSError(errno.EINVAL, "not a regular file, so its size is unknown", str(self.path))
        self.identity = self._identity()
        if self.size == 0 and self._has_bytes():
            os.close(self.fd)
            raise OSError(errno.EINVAL, "says that it is empty, and has bytes; copy it first", str(self.path))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    @property
    def size(self) -> int:
        """Bytes, as they were when it was opened."""
        return self.identity.size

    def _has_bytes(self) -> bool:
        """Return whether a file of size 0 has bytes, as files in /proc and /sys do."""
        try:
            return files.read_at(self.fd, memoryview(bytearray(1)), 0) > 0
        except OSError:
            return False

    def _identity(self) -> Identity:
        now = os.fstat(self.fd)
        return Identity(now.st_size, now.st_mtime_ns, now.st_ino)

    def check_unchanged(self) -> None:
        """Raise FileChanged if size or modification time are no longer what they were."""
        if self._identity() != self.identity:
            raise FileChanged(f"{self.path.name} changed during the upload. Run the upload again.")

    def will_need(self, span: ByteRange) -> None:
        """Let the kernel begin to read ``span``: several chunks at once defeat its own guess of what comes next."""
        files.will_need(self.fd, span.offset, span.size)

    def blocks(self, span: ByteRange, buffer: bytearray | None = None) -> Iterator[memoryview]:
        """The bytes of ``span`` in blocks, all in one buffer: each is valid until the next is asked for."""
        view = memoryview(buffer if buffer is not None else bytearray(min(BLOCK, span.size)))
        offset = span.offset
        while offset < span.end:
            count = self.read_into(view[: min(len(view), span.end - offset)], offset)
            yield view[:count]
            offset += count

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read bytes from ``offset`` on into ``view``, which is not empty; how many. Raises FileChanged at the end."""
        try:
            count = files.read_at(self.fd, view, offset)
        except OSError as error:
            raise self.unreadable(error) from error
        if count == 0:
            raise FileChanged(f"{self.path.name} became shorter during the upload. Run the upload again.")
        return count

    def unreadable(self, error: OSError) -> Unreadable:
        """The error to raise when the disk, not the network, failed."""
        return Unreadable(f"Cannot read {self.path}: {error.strerror}.")

    def __enter__(self) -> LocalFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A connection that still hangs in a cancelled transfer must find no descriptor here, rather than one that
        # the system has given to another file since.
        fd, self.fd = self.fd, -1
        os.close(fd)


class FileHasher:
    """Makes the SHA-256 of a whole file in a thread of its own, not far ahead of the chunks being sent."""

    def __init__(self, file: Source) -> None:
        self.hashed = 0
        self._file = file
        self._stopped = False
        self._limit = HASH_AHEAD_BYTES
        self._moved = threading.Condition()
        self._digest: str | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="partwise-hash", daemon=True)
        self._thread.start()

    def sending_reached(self, offset: int) -> None:
        """Chunks up to ``offset`` have been taken up for sending."""
        with self._moved:
            if offset + HASH_AHEAD_BYTES > self._limit:
                self._limit = offset + HASH_AHEAD_BYTES
                self._moved.notify()

    def wait(self, timeout: float) -> str | None:
        """The digest in hex; None if it is not there after ``timeout`` seconds. Raises what the thread raised."""
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        return self._digest

    def stop(self) -> None:
        """End the thread, before the file is closed."""
        with self._moved:
            self._stopped = True
            self._moved.notify()
        self._thread.join()

    def _run(self) -> None:
        digest = hashlib.sha256()
        try:
            for block in self._file.blocks(ByteRange(0, self._file.size)):
                digest.update(block)
                self.hashed += len(block)
                if self.hashed >= self._limit:
                    with self._moved:
                        self._moved.wait_for(lambda: self.hashed < self._limit or self._stopped)
                if self._stopped:
                    raise Cancelled("Stopped.")
            self._digest = digest.hexdigest()
        except BaseException as error:
            self._error = error
