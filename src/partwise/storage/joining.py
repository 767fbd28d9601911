"""One file made of several, without moving their bytes through this process.

Where the file system can share blocks between files (XFS, Btrfs), a part whose place is aligned costs nothing:
FICLONERANGE. Elsewhere the kernel copies, by copy_file_range(2); in steps, so that a large file neither holds a
thread for long nor outlasts the cancelling of its caller.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from partwise.core.errors import StorageFailed
from partwise.core.records import Chunk
from partwise.storage.files import SystemCalls

#: Bytes that one turn on a worker thread copies at most.
COPY_STEP = 64 << 20

#: What FICLONERANGE says where blocks cannot be shared: not this file system, not this alignment, not these files.
_CANNOT_SHARE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.EXDEV, errno.ENOSYS, errno.EPERM}


def placed(parts: Sequence[tuple[str, Sequence[Chunk]]]) -> list[tuple[str, Chunk]]:
    """Each part that has bytes, with the one chunk that it becomes."""
    made: list[tuple[str, Chunk]] = []
    offset = 0
    for part, chunks in parts:
        size = sum(chunk.size for chunk in chunks)
        if size:
            made.append((part, Chunk(offset=offset, size=size)))
            offset += size
    return made


def share(calls: SystemCalls, source: int, target: int, place: Chunk) -> bool:
    """Have ``place`` of the file ``target`` share the blocks of the whole file ``source``. False: cannot be done."""
    try:
        calls.clone_range(source, target, place.size, place.offset)
    except OSError as error:
        if error.errno in _CANNOT_SHARE:
            return False
        raise
    return True


def copy(calls: SystemCalls, source: int, target: int, place: Chunk, done: int) -> int:
    """Copy a step of ``source`` from byte ``done`` on; how far it has come then. Blocks. Raises OSError."""
    stop = min(place.size, done + COPY_STEP)
    while done < stop:
        count = calls.copy_file_range(source, target, stop - done, done, place.offset + done)
        if count == 0:
            raise StorageFailed("The storage failed to read: a part ends before its last chunk.")
        done += count
    return done
