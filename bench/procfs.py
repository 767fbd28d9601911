"""What the kernel tells about processes and folders."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    pids = [pid]
    for parent in pids:
        for listing in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                pids += [int(child) for child in listing.read_text().split()]
            except OSError:
                continue
    return pids


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time that the processes have used so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def busy_seconds() -> float:
    """Processor time that the whole machine has used so far."""
    user, nice, system, _idle, _waiting, *rest = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return (int(user) + int(nice) + int(system) + sum(map(int, rest[:2]))) / _TICKS


def written_bytes(pids: Iterable[int]) -> int:
    """Bytes that the processes caused to be written to storage (page cache included), so far."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                total += int(line.split()[1])
    return total


def read_bytes(pids: Iterable[int]) -> int:
    """Bytes that the processes got from read calls so far, of files and sockets alike."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("rchar:"):
                total += int(line.split()[1])
    return total


def reset_peak_memory(pids: Iterable[int]) -> None:
    """Let the peak of resident memory begin at what it is now."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory(pids: Iterable[int]) -> int:
    """The peak of resident memory of the largest process, in bytes."""
    return max(_status(pid, "VmHWM:") for pid in pids)


def resident_memory(pids: Iterable[int]) -> int:
    """Resident memory of all the processes, in bytes."""
    return sum(_status(pid, "VmRSS:") for pid in pids)


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def disk_bytes(folder: Path) -> int:
    """What the files below a folder take on the disk; a file with several names counts once."""
    blocks: dict[int, int] = {}
    for base, _folders, names in os.walk(folder):
        for name in names:
            try:
                facts = os.lstat(os.path.join(base, name))
            except FileNotFoundError:
                continue
            blocks[facts.st_ino] = facts.st_blocks
    return sum(blocks.values()) * 512


@dataclass
class Peak:
    """The largest value seen."""

    value: int = 0


@contextmanager
def disk_peak(folder: Path, every_seconds: float = 0.05) -> Iterator[Peak]:
    """Watch ``disk_bytes`` for the time of a ``with`` block."""
    peak = Peak(disk_bytes(folder))
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every_seconds):
            peak.value = max(peak.value, disk_bytes(folder))

    thread = threading.Thread(target=watch, name="disk-peak")
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
