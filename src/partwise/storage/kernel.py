"""System calls that the standard library lacks, or whose version of it is unfit."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.statfs.argtypes = [ctypes.c_char_p, ctypes.c_void_p]

#: ioctl(2) number: _IOW(0x94, 13, struct file_clone_range).
_FICLONERANGE = 0x4020940D

#: File systems that lock or sync in ways of their own, by their magic number (statfs(2)).
UNFIT_FILE_SYSTEMS = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB",
    0x65735546: "FUSE",
    0x01021997: "9P",
    0x5346414F: "AFS",
}


def fallocate(fd: int, offset: int, size: int) -> None:
    """Allocate the bytes ``[offset, offset + size)`` of a file, growing it as needed. Blocks. Raises OSError.

    EOPNOTSUPP means that the file system cannot. The C library's posix_fallocate would then write every block in
    turn, and fill the disk before it fails when asked for too much: never use it here.
    """
    while _libc.fallocate(fd, 0, offset, size) != 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


def boot_id() -> str:
    """A name for the time since this machine started, the same for all its processes and containers."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def clone_range(source: int, target: int, size: int, offset: int) -> None:
    """Have ``size`` bytes of a file at ``offset`` share the blocks of another file's first bytes. Raises OSError.

    Offset and size are multiples of the file system's block size, or the bytes end both files (FICLONERANGE).
    """
    fcntl.ioctl(target, _FICLONERANGE, struct.pack("qQQQ", source, 0, size, offset))


def unfit_file_system(path: str) -> str | None:
    """The name of the file system at ``path`` if it is one of UNFIT_FILE_SYSTEMS. Raises OSError."""
    # struct statfs begins with f_type, a long; 256 bytes are more than the rest takes on any architecture.
    buffer = (ctypes.c_long * (256 // ctypes.sizeof(ctypes.c_long)))()
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return UNFIT_FILE_SYSTEMS.get(buffer[0] & 0xFFFFFFFF)
