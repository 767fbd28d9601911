"""Calls of the operating system that not every system has, with what stands in for them."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

try:
    import msvcrt as _msvcrt

    msvcrt: Any = _msvcrt
except ImportError:  # all but Windows
    msvcrt = None

#: Windows keeps others from the bytes that are locked: so far behind its end no file has any.
_BEHIND_ALL = 1 << 62
_SEEKING = threading.Lock()


def open_file(path: Path, *names: str, mode: int = 0o666) -> int:
    """Open a file in binary mode and return the descriptor, which child processes do not inherit. Raises OSError.

    ``names`` are flags of `os.open`; one that the system does not have is left out.
    """
    flags = 0
    for name in (*names, "O_CLOEXEC", "O_NOINHERIT", "O_BINARY"):
        flags |= getattr(os, name, 0)
    return os.open(path, flags, mode)


def try_lock(fd: int) -> bool:
    """Lock an open file until it is closed; False: another process, or another descriptor, has locked it."""
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    elif msvcrt is not None:
        os.lseek(fd, _BEHIND_ALL, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(fd, 0, os.SEEK_SET)
    return True


def read_at(fd: int, view: memoryview, offset: int) -> int:
    """Read bytes of a file from ``offset`` on into ``view``; how many. Raises OSError."""
    if hasattr(os, "preadv"):
        return os.preadv(fd, [view], offset)
    if hasattr(os, "pread"):
        data = os.pread(fd, len(view), offset)
    else:
        with _SEEKING:  # the threads of a transfer share the descriptor
            os.lseek(fd, offset, os.SEEK_SET)
            data = os.read(fd, len(view))
    view[: len(data)] = data
    return len(data)


def will_need(fd: int, offset: int, size: int) -> None:
    """Let the system begin to read a part of a file, where it takes such advice."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, offset, size, os.POSIX_FADV_WILLNEED)


def remove_locked(path: Path, fd: int) -> None:
    """Remove a locked file and close its descriptor. Where an open file cannot be removed, it may stay."""
    with suppress(PermissionError):
        path.unlink(missing_ok=True)
    os.close(fd)


def user_id() -> int:
    """The number of the user who runs this; 0 where users have none."""
    return os.getuid() if hasattr(os, "getuid") else 0
