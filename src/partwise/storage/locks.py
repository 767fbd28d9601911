"""Locks of local storage, and their rules. No other module locks anything.

All are open-file-description locks of the kernel (fcntl(2), "Open file description locks"): they exclude each other
across processes *and* within one, cost about a microsecond, and are gone as soon as their holder is, however it died.

::

    the staging file of an upload
      [0, 2^61)                 claim: its holder may write these bytes
      2^62 + [0, 2^61)          knock: its holder waits for the claim, whose holder then leaves
      2^62 + 2^61 + [0, 2^61)   arrival: its holder waits for the knock, whose holder then leaves

    locks/create, locks/follow, locks/commit, locks/flush, locks/digests
      one byte for each upload or digest: ``name_byte``
    locks/reserve
      byte 0: one reservation at a time looks at the free space and takes from it
    locks/bell
      a byte at random for each newcomer that waits for a claim: while there is none, no holder looks for a knock

Rules
- Every holder has an open file description of its own: ``open`` again, never ``dup``. The lock ends with its close.
- A forked child shares the descriptions of its parent, and with them the locks: processes are spawned, not forked.
- A lock of length 0 reaches to the end of all offsets: never ask for one.
- The areas end before the next begins: whatever lies beyond 2^61 (2 EiB, more than a local file system holds in one
  file, but clients may name it) counts as the last byte below.
- Locks of single names are not on the staging file: it is read-only once published, and gone in the end.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum

from partwise.core.backoff import Backoff
from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange
from partwise.storage.files import failures, open_file

#: What a lock on a whole staging file covers in each area.
WHOLE_FILE = ByteRange(0, 2**61)

# The C library's numbers on Linux, for Python builds whose headers did not have them.
_GETLK: int = getattr(fcntl, "F_OFD_GETLK", 36)
_SETLK: int = getattr(fcntl, "F_OFD_SETLK", 37)

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid (which must be 0), padded as in C.
_FLOCK = struct.Struct("hhqqi0q")

#: Seconds between two tries of whoever waits for a lock: the first pause, and the longest.
PAUSES = (0.001, 0.05)


class Area(IntEnum):
    """Start offsets of the three kinds of byte-range locks on a staging file."""

    CLAIM = 0
    KNOCK = 2**62
    ARRIVAL = 2**62 + 2**61


def _flock(kind: int, area: int, span: ByteRange) -> bytes:
    if span.offset < 0 or span.size < 1:
        raise ValueError(f"no lock covers {span.size} bytes at {span.offset}")
    start = min(span.offset, WHOLE_FILE.end - 1)
    return _FLOCK.pack(kind, os.SEEK_SET, area + start, min(span.end, WHOLE_FILE.end) - start, 0)


def try_lock(fd: int, area: int, span: ByteRange) -> bool:
    """Lock ``span`` (not empty) in ``area`` for the open file description of ``fd``; False when another has it."""
    try:
        fcntl.fcntl(fd, _SETLK, _flock(fcntl.F_WRLCK, area, span))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def unlock(fd: int, area: int, span: ByteRange) -> None:
    """Give back ``span`` in ``area``, whatever of it the open file description of ``fd`` had."""
    fcntl.fcntl(fd, _SETLK, _flock(fcntl.F_UNLCK, area, span))


def is_locked(fd: int, area: int, span: ByteRange) -> bool:
    """Return whether another open file description than that of ``fd`` has a byte of ``span`` in ``area``."""
    answer: bytes = fcntl.fcntl(fd, _GETLK, _flock(fcntl.F_WRLCK, area, span))
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def name_byte(name: str) -> int:
    """The byte that stands for a name in a file of locks. Names that share one only wait for each other."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest(), "big")


class Hold:
    """A lock that is held until ``release``: a descriptor whose description owns it."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def release(self) -> None:
        """Give it back. May be called again without effect."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class LockFile:
    """A file whose bytes are locks, each for a name. It stays empty, and is made when first needed."""

    def __init__(self, path: str) -> None:
        self.path = path
        #: Without, a file that is not there counts as one whose locks nobody has.
        self.may_make = True

    def _open(self) -> int | None:
        with failures("open a file of locks"):
            try:
                return open_file(self.path, os.O_RDWR)
            except FileNotFoundError:
                if not self.may_make:
                    return None
                fd = open_file(self.path, os.O_RDWR | os.O_CREAT)
            if os.geteuid() == 0:
                # An operator's command as root must not close the file to a server that runs as another user.
                folder = os.stat(os.path.dirname(self.path))
                os.fchown(fd, folder.st_uid, folder.st_gid)
            return fd

    def try_hold(self, byte: int) -> Hold | None:
        """Take the lock, or None when someone has it. Does not block. Raises StorageFailed."""
        fd = self._open()
        if fd is None:
            return Hold(None)
        try:
            with failures("lock"):
                if try_lock(fd, 0, ByteRange(byte, 1)):
                    return Hold(fd)
        except StorageFailed:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def is_held(self, byte: int | None = None) -> bool:
        """Return whether the lock, or without ``byte`` any lock, is held. Raises StorageFailed."""
        fd = self._open()
        if fd is None:
            return False
        try:
            with failures("look at a lock"):
                return is_locked(fd, 0, WHOLE_FILE if byte is None else ByteRange(byte, 1))
        finally:
            os.close(fd)

    @asynccontextmanager
    async def held(self, byte: int) -> AsyncIterator[None]:
        """Wait for the lock and hold it. Cancelling ends the wait: no thread stays behind in the kernel's queue."""
        backoff = Backoff(*PAUSES)
        while (hold := self.try_hold(byte)) is None:  # noqa: ASYNC110 (the kernel has no event to set)
            await asyncio.sleep(backoff.take())
        try:
            yield
        finally:
            hold.release()
