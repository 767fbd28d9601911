"""Check at start that the file system has the properties that local storage relies on."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from contextlib import suppress

from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange
from partwise.engine.ports import BLOCK
from partwise.storage.files import SystemCalls, open_file
from partwise.storage.kernel import unfit_file_system
from partwise.storage.locks import Area, try_lock

_ADVICE = "Choose a data folder on a local disk (ext4, XFS, Btrfs and others)."


_PREFIX = ".probe-"
_OLD_SECONDS = 60.0


def check_fitness(data: str) -> None:
    """Refuse file systems over a network or in user space. Raises StorageFailed, OSError."""
    unfit = unfit_file_system(data)
    if unfit is not None:
        raise StorageFailed(f"The data folder is on {unfit}, whose locks and syncs cannot be relied on. {_ADVICE}")


def can_allocate(calls: SystemCalls, staging: str, artifacts: str) -> bool:
    """Try hard links from ``staging`` to ``artifacts``, locks, and allocation: returns whether that one works.

    The other two must: StorageFailed says which does not. Raises OSError.
    """
    for folder in (staging, artifacts):
        _remove_old_probes(folder)
    fd, path = tempfile.mkstemp(prefix=_PREFIX, dir=staging)
    link = os.path.join(artifacts, os.path.basename(path))
    try:
        _check_links(calls, path, link)
        _check_locks(fd, path)
        try:
            calls.fallocate(fd, 0, BLOCK)
        except OSError as error:
            # A full disk is no reason not to start: what is there can be read, and committed.
            return error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS)
        return True
    finally:
        os.close(fd)
        for name in (path, link):
            with suppress(FileNotFoundError):
                os.unlink(name)


def _remove_old_probes(folder: str) -> None:
    """Remove the probe files of killed starts. Other processes may be using theirs."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_PREFIX):
                with suppress(FileNotFoundError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_SECONDS:
                        os.unlink(entry.path)


def _check_links(calls: SystemCalls, path: str, link: str) -> None:
    try:
        calls.link(path, link, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise StorageFailed("The folders staging and artifacts must be on one file system.") from error
        raise StorageFailed(f"The data folder's file system has no hard links. {_ADVICE}") from error


def _check_locks(fd: int, path: str) -> None:
    byte = ByteRange(0, 1)
    other = open_file(path, os.O_RDWR)
    try:
        works = try_lock(fd, Area.CLAIM, byte) and not try_lock(other, Area.CLAIM, byte)
    except OSError:
        works = False
    finally:
        os.close(other)
    if not works:
        raise StorageFailed(f"The data folder's file system has no open-file-description locks. {_ADVICE}")
