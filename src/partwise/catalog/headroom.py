"""Room that is kept beside SQLite's file for when the disk is full: who deletes makes room, and needs some to say so.

A file of a few MiB, which means nothing. When a transaction that leads to room being given back finds none itself,
the file is emptied, and the transaction run again. The room is taken back as soon as there is some.
"""

from __future__ import annotations

import os

#: Enough for some hundred pages of the write-ahead log, and for SQLite's files of an ordinary start.
SIZE = 2 << 20


class Headroom:
    """The file at ``path``. Its methods block, and never fail: without it all is as it would be anyway."""

    def __init__(self, path: str) -> None:
        self._path = path

    def keep(self) -> bool:
        """Allocate the file's space. Return whether it succeeded."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            if os.geteuid() == 0:
                # What an operator's command makes as root must not be closed to a server that runs as another user.
                folder = os.stat(os.path.dirname(self._path))
                os.fchown(fd, folder.st_uid, folder.st_gid)
            if os.fstat(fd).st_size < SIZE:
                os.posix_fallocate(fd, 0, SIZE)
        except OSError:
            os.ftruncate(fd, 0)  # a part may have been allocated
            return False
        finally:
            os.close(fd)
        return True

    def give(self) -> bool:
        """Give the room back; whether there was any."""
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            size = os.fstat(fd).st_size
            os.ftruncate(fd, 0)
        except OSError:
            return False
        finally:
            os.close(fd)
        return size > 0
