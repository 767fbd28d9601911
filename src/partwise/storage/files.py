"""Helpers of local storage: opening files, system calls that can fail, their errors, and work in threads."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from functools import partial
from typing import ParamSpec, TypeVar

from partwise.core.errors import BytesLost, NotFound, OutOfSpace, StorageFailed, SyncFailed
from partwise.engine.ports import BLOCK, Sink
from partwise.storage import kernel

P = ParamSpec("P")
T = TypeVar("T")

#: A name of a step that a crash could separate from the next, given as it is reached. Tests stop there.
FailPoint = Callable[[str], None]


def no_failpoint(step: str) -> None:
    """Do nothing: what every fail point does outside tests."""


class SystemCalls:
    """The calls that move bytes, reserve room for them or make them durable: tests replace single ones to fail."""

    pwrite = staticmethod(os.pwrite)
    preadv = staticmethod(os.preadv)
    fallocate = staticmethod(kernel.fallocate)
    clone_range = staticmethod(kernel.clone_range)
    copy_file_range = staticmethod(os.copy_file_range)
    ftruncate = staticmethod(os.ftruncate)
    fsync = staticmethod(os.fsync)
    fdatasync = staticmethod(os.fdatasync)
    link = staticmethod(os.link)
    statvfs = staticmethod(os.statvfs)


#: Quotas and sizes beyond what the file system can hold are a lack of room, too.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def failures(action: str) -> Iterator[None]:
    """Turn OSError into OutOfSpace or StorageFailed. The original, with its path, stays as the cause, for the log."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OutOfSpace from error
        code = errno.errorcode.get(error.errno or 0, "unknown error")
        raise StorageFailed(f"The storage failed to {action} ({code}). Try again later.") from error


@contextmanager
def syncing() -> Iterator[None]:
    """Turn an OSError of fsync(2) or fdatasync(2) on a file of chunks into SyncFailed, whatever it says.

    The kernel calls pages clean that it failed to write, and tells of that once, also where it says ENOSPC. Around the
    call alone: a file that could not be opened says nothing about what was written before.
    """
    try:
        yield
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "unknown error")
        raise SyncFailed(
            f"The storage failed to sync data to disk ({code}). "
            "Get the upload's status and send the missing ranges again."
        ) from error


#: What a file system says of bytes that it cannot give back: a bad sector, a checksum that is wrong, or (ELOOP, ENXIO)
#: that something else stands in the file's place.
LOST = {errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA, errno.ELOOP, errno.ENXIO}


@contextmanager
def reading() -> Iterator[None]:
    """``failures`` of reading stored bytes: BytesLost where a second try would fail like the first."""
    with failures("read"):
        try:
            yield
        except OSError as error:
            if error.errno in LOST:
                raise BytesLost("Stored bytes cannot be read back.") from error
            raise


def open_file(path: str, flags: int) -> int:
    """Return a descriptor of the plain file ``path`` (with O_DIRECTORY: of the folder), which no program inherits.

    Whatever else stands there (a symbolic link, a FIFO that nobody writes to, a device) raises OSError with ELOOP, and
    nothing waits for it.
    """
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    if not flags & os.O_DIRECTORY and not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ELOOP, "Not a plain file", path)
    return fd


@contextmanager
def opened(path: str, flags: int) -> Iterator[int]:
    """``open_file`` for the time of a ``with`` block."""
    fd = open_file(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


class OpenFile:
    """A descriptor that is closed when nobody refers to it any more: an iterator may be dropped at any block."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Close it now, where it is known that nobody uses it any more. May be called again without effect."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def hold_open(path: str, flags: int) -> OpenFile:
    """``open_file`` for as long as someone refers to it."""
    return OpenFile(open_file(path, flags))


@contextmanager
def existing(what: str) -> Iterator[None]:
    """Around ``failures``: a file that is not there is no failure, ``what`` it stands for is not there."""
    try:
        yield
    except StorageFailed as error:
        if isinstance(error.__cause__, FileNotFoundError) and not isinstance(error, SyncFailed):
            raise NotFound(what) from error.__cause__
        raise


def plain_files(folder: str) -> Iterator[str]:
    """The names of plain files: what else there is came from elsewhere, and is left alone. None without the folder."""
    with failures("list files"), suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry.name


def sync_folder(calls: SystemCalls, path: str) -> None:
    """Bring the names in a folder to disk. Raises OSError."""
    with opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
        calls.fsync(fd)


class _Buffer(threading.local):
    """One block for each thread: memory grows with the threads, not with the files."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(BLOCK))


_buffer = _Buffer()


def read_blocks(calls: SystemCalls, fd: int, offset: int, size: int, sink: Sink) -> int:
    """Give the bytes ``[offset, offset + size)`` of a file to ``sink`` in blocks; returns how many there were.

    Fewer than ``size`` when the file ends before. Blocks: use a thread. Raises OSError.
    """
    done = 0
    while done < size:
        view = _buffer.view[: min(BLOCK, size - done)]
        count = calls.preadv(fd, [view], offset + done)
        if count == 0:
            break
        sink(view[:count])
        done += count
    return done


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``on_thread`` of the event loop's own threads."""
    return await on_thread(None, partial(call, *args, **kwargs))


async def on_thread(threads: Executor | None, call: Callable[[], T]) -> T:
    """Run ``call`` on one of ``threads``. Unlike ``asyncio.to_thread`` it ends after the call has, even when cancelled.

    Whoever cleans up after a cancellation may therefore close what the call used.
    """
    future = asyncio.get_running_loop().run_in_executor(threads, call)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with suppress(asyncio.CancelledError):  # asked again: the answer is the same, after the thread
                await asyncio.wait([future])
        future.exception()  # of no interest any more
        raise
