"""Data folders for tests of local storage."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def make_data_folder(data: Path) -> Path:
    """Make all folders beforehand: a start that makes them itself brings each to disk, half a second in every test."""
    for name in ("staging", "locks", *(f"artifacts/{number:02x}" for number in range(256))):
        (data / name).mkdir(mode=0o700, parents=True)
    for path in (data, data / "artifacts"):
        path.chmod(0o700)
    return data


def fast_folder(room: int = 64 << 20) -> str | None:
    """Where temporary folders are in memory, if this machine has such a place with ``room`` bytes to spare.

    A sync costs nothing there, and making a file little.
    """
    place = "/dev/shm"
    return place if os.access(place, os.W_OK) and shutil.disk_usage(place).free > room else None


def service_folder(prefix: str) -> Path:
    """A new folder for the data of another program, which removes it at its end: in memory, where some GiB are free.

    Its path is short, as that of a socket has to be, and not in pytest's folder, which is its user's alone.
    """
    return Path(tempfile.mkdtemp(prefix=prefix, dir=fast_folder(4 << 30)))
