"""A power loss, simulated: of what was not synced each piece may be on the disk or not.

``watch`` gives local storage calls that note, outside of the data folder, what each sync made certain: the bytes of a
file, the names in a folder. ``lose_power`` then rebuilds the folder from what was certain and, at random, pieces of
what was not: bytes of a file, names made or removed, modes. The catalog's database stays as it was at the crash: it
is SQLite's promise (synchronous=FULL) that a committed transaction survives.
"""

from __future__ import annotations

import json
import os
import random
import stat
import threading
from pathlib import Path

from partwise.storage.files import SystemCalls

#: Bytes that are on the disk or not as one: less than any block of a test's chunk.
_SECTOR = 32


class WatchedCalls(SystemCalls):
    """Calls of which each sync is noted in the folder ``notes`` once it has happened."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        self._mutex = threading.Lock()  # of two syncs at once, the note of the older must not come last
        # Attributes, as the class has functions that take no self.
        setattr(self, "fsync", self._sync)  # noqa: B010
        setattr(self, "fdatasync", self._sync)  # noqa: B010

    def _sync(self, fd: int) -> None:
        with self._mutex:
            noted = _state(fd)
            os.fsync(fd)
            _note(self._notes, os.fstat(fd).st_ino, noted)


def _state(fd: int) -> bytes:
    """What a sync of ``fd`` makes certain: mode and bytes of a file, or names and numbers of what is in a folder."""
    found = os.fstat(fd)
    if stat.S_ISDIR(found.st_mode):
        return json.dumps(_names(Path(os.readlink(f"/proc/self/fd/{fd}")))).encode()
    with open(f"/proc/self/fd/{fd}", "rb") as file:
        return b"%o\n" % stat.S_IMODE(found.st_mode) + file.read()


def _names(folder: Path) -> dict[str, int]:
    return {entry.name: entry.inode() for entry in os.scandir(folder)}


def _note(notes: Path, inode: int, state: bytes) -> None:
    new = notes / f"{inode}.{os.getpid()}.{random.getrandbits(32)}"
    new.write_bytes(state)
    new.rename(notes / str(inode))  # whole or not at all: this process may be killed here


def _noted(notes: Path, inode: int) -> bytes | None:
    path = notes / str(inode)
    return path.read_bytes() if path.exists() else None


def _folders(data: Path) -> list[Path]:
    return [data / "staging", *sorted(path for path in (data / "artifacts").iterdir() if path.is_dir())]


def lose_power(data: Path, notes: Path, rng: random.Random) -> None:
    """Rebuild ``data`` as a disk might have it after its power went now; no process may have it open."""
    files = {entry.inode(): Path(entry.path) for folder in _folders(data) for entry in os.scandir(folder)}
    survivors: dict[int, Path] = {}
    rescued = data / "rescued"
    rescued.mkdir()
    for folder in _folders(data):
        now = _names(folder)
        certain: dict[str, int] = json.loads(_noted(notes, folder.stat().st_ino) or b"{}")
        for name in sorted(now.keys() | certain.keys()):
            inode = rng.choice((now.get(name), certain.get(name)))
            if inode is None or (inode not in files and _noted(notes, inode) is None):
                continue  # not on the disk, or a file of which no byte was
            if inode not in survivors:
                survivors[inode] = rescued / str(inode)
                _rebuild(survivors[inode], files.get(inode), _noted(notes, inode), rng)
            (rescued / f"{folder.name} {name}").hardlink_to(survivors[inode])
    _move_in(data, rescued)
    for note in notes.iterdir():
        note.unlink()
    _note_all(data, notes)


def _rebuild(path: Path, current: Path | None, noted: bytes | None, rng: random.Random) -> None:
    """A file as it may be: of each sector either what was synced, or what was written since."""
    mode, _, certain = (noted or b"600\n").partition(b"\n")
    modes, written = [int(mode, 8)], certain
    if current is not None:
        written = current.read_bytes()
        modes.append(stat.S_IMODE(current.stat().st_mode))
    size = rng.choice((len(written), len(certain)))
    data = bytearray(size)
    for offset in range(0, size, _SECTOR):
        piece = rng.choice((written, certain))[offset : min(offset + _SECTOR, size)]
        data[offset : offset + len(piece)] = piece
    path.write_bytes(data)
    path.chmod(rng.choice(modes))


def _move_in(data: Path, rescued: Path) -> None:
    for folder in _folders(data):
        for path in folder.iterdir():
            path.unlink()
        for path in rescued.glob(f"{folder.name} *"):
            path.rename(folder / path.name.partition(" ")[2])
    for path in rescued.iterdir():
        path.unlink()
    rescued.rmdir()


def _note_all(data: Path, notes: Path) -> None:
    """After a restart, what is on the disk is on the disk."""
    for folder in _folders(data):
        for path in (folder, *folder.iterdir()):
            fd = os.open(path, os.O_RDONLY)
            try:
                _note(notes, os.fstat(fd).st_ino, _state(fd))
            finally:
                os.close(fd)
