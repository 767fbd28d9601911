"""One file made of several, or of parts of another, without moving their bytes through this process.

Where the file system can share blocks between files (XFS, Btrfs), a part whose place is aligned costs nothing:
FICLONERANGE. Elsewhere the kernel copies, by copy_file_range(2); in steps, so that a large file neither holds a
thread for long nor outlasts the cancelling of its caller.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from partwise.core.errors import BytesLost, StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk
from partwise.storage.files import LOST, SystemCalls, failures, read_blocks, reading

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


#: The blocks that XFS and Btrfs share between files, in bytes, unless they were made with others.
_SHARED_BLOCK = 4 << 10

#: What copy_file_range(2) says where it cannot copy between these files, but reading and writing may do.
_CANNOT_COPY = {errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EPERM, *LOST}


def copy_between(calls: SystemCalls, source: int, target: int, span: ByteRange, offset: int) -> None:
    """Copy ``span`` of one file to ``offset`` of another, whole. Blocks.

    Raises BytesLost when the source cannot be read, OutOfSpace and StorageFailed as a write does.
    """
    if not _fits(span, offset):
        # Nothing can be shared, and copy_file_range(2) moves each page in two pieces: that takes 2.5 times as long.
        _copy_blocks(calls, source, target, span, offset)
        return
    for part in _aligned(span, offset):
        done = 0
        while done < part.size:
            start, place = part.offset + done, offset + part.offset - span.offset + done
            try:
                count = calls.copy_file_range(source, target, part.size - done, start, place)
            except OSError as error:
                if error.errno not in _CANNOT_COPY:
                    with failures("copy"):
                        raise
                _copy_blocks(calls, source, target, ByteRange(start, part.size - done), place)
                break
            if count == 0:
                raise BytesLost("The storage lost bytes: an artifact is shorter than its record says.")
            done += count


def _fits(span: ByteRange, offset: int) -> bool:
    """Return whether the bytes have the same alignment in both files."""
    return (span.offset - offset) % _SHARED_BLOCK == 0


def _aligned(span: ByteRange, offset: int) -> Iterator[ByteRange]:
    """Cut ``span`` so that what can share blocks with ``offset`` of another file is a part of its own."""
    head = -span.offset % _SHARED_BLOCK
    middle = (span.size - head) // _SHARED_BLOCK * _SHARED_BLOCK
    if middle <= 0:
        yield span
        return
    for start, size in ((0, head), (head, middle), (head + middle, span.size - head - middle)):
        if size:
            yield ByteRange(span.offset + start, size)


def _copy_blocks(calls: SystemCalls, source: int, target: int, span: ByteRange, offset: int) -> None:
    """The same through this process. What cannot be read and what cannot be written are told apart here."""
    position = offset

    def write(block: memoryview) -> None:
        nonlocal position
        with failures("write"):
            while block:
                count = calls.pwrite(target, block, position)
                block, position = block[count:], position + count

    with reading():
        if read_blocks(calls, source, span.offset, span.size, write) < span.size:
            raise BytesLost("The storage lost bytes: an artifact is shorter than its record says.")
