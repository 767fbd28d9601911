"""Why worker processes ended, as the log names it and the metrics count it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from partwise.server.shared_values import SharedMemory

#: Causes that are no signal's name.
EXIT, START, UNRESPONSIVE, OUT_OF_MEMORY = "exit", "start-failed", "unresponsive", "out-of-memory"

_CAUSES = [EXIT, START, UNRESPONSIVE, OUT_OF_MEMORY, *sorted(member.name for member in signal.Signals), "other"]
_READY = len(_CAUSES)

#: How many numbers ``WorkerFigures`` keeps in shared memory.
NUMBERS = len(_CAUSES) + 1


def cause_of(status: int) -> str:
    """Return why a process ended that ``waitpid`` gave this status: the name of a signal, or its exit status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"{EXIT} {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


class WorkerFigures:
    """Numbers about workers, kept where each of them can read them. Regions are those of ``SharedMemory``."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory

    def free_region(self) -> int | None:
        """Return a region that no living worker has."""
        return next((index for index in range(self._memory.regions) if not self._memory.is_alive(index)), None)

    def set_alive(self, region: int, alive: bool) -> None:
        """Note whether a living worker has the region."""
        self._memory.set_alive(region, alive)

    def set_ready(self, count: int) -> None:
        """Note how many workers serve."""
        self._memory.set_number(_READY, count)

    def count(self, cause: str, *, served: bool) -> None:
        """Count the end of a worker; ``served``: it had begun to serve."""
        name = cause.split(" ")[0]
        if name == EXIT and not served:
            name = START
        index = _CAUSES.index(name if name in _CAUSES else "other")
        self._memory.set_number(index, self._memory.number(index) + 1)

    def metrics(self) -> Iterable[Metric]:
        """Return them for Prometheus."""
        restarts = CounterMetricFamily(
            "partwise_worker_restarts", "Worker processes that ended unasked and were replaced", labels=["cause"]
        )
        for index, cause in enumerate(_CAUSES):
            count = self._memory.number(index)
            # Those that an operator alerts on are there from the start: a rate needs two values.
            if count or index < _CAUSES.index(OUT_OF_MEMORY) + 1 or cause in ("SIGKILL", "SIGSEGV", "SIGABRT"):
                restarts.add_metric([cause], count)
        yield restarts
        yield GaugeMetricFamily("partwise_workers_ready", "Worker processes that serve", self._memory.number(_READY))


class OomKills:
    """Tells whether the kernel has killed for want of memory, in this control group or else on this machine."""

    def __init__(self) -> None:
        self._file = _events_file()
        self._count = self._read()

    def have_risen(self) -> bool:
        """Return whether the count has risen since the last time."""
        before, self._count = self._count, self._read()
        return self._count > before

    def _read(self) -> int:
        try:
            lines = self._file.read_text().splitlines()
        except OSError:
            return 0
        counts = [line.split()[1] for line in lines if line.startswith("oom_kill ")]
        return int(counts[0]) if counts else 0


def _events_file() -> Path:
    """Return the file that counts kills for want of memory (cgroup v2; without it, that of the machine)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("0::"):
            file = Path("/sys/fs/cgroup") / line[3:].lstrip("/") / "memory.events"
            if file.exists():
                return file
    return Path("/proc/vmstat")
