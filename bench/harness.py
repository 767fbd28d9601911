"""One run: how large it is, where its files are, and rounds that go in turn."""

from __future__ import annotations

import os
import platform
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import servers
from bench.load import Span
from bench.report import GiB, MiB, Series
from partwise import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured. Sizes in bytes."""

    rounds: int = 5
    size: int = GiB
    chunk: int = 16 * MiB
    connections: tuple[int, ...] = (1, 4, 8)
    commits: tuple[int, ...] = (16 * MiB, 256 * MiB, GiB, 4 * GiB)
    memory_chunks: tuple[int, ...] = (MiB, 16 * MiB, 256 * MiB)
    growth_connections: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    growth_uploads: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    slow_clients: int = 2000
    small_chunks: tuple[int, ...] = (1_048_575, 64 << 10)
    workers: tuple[int, ...] = (1, 2, 4)
    delta: int = 4 * GiB
    #: Whether releases of packages are downloaded and measured.
    releases: bool = True
    artifacts: int = 1_000_000
    requests: int = 30
    idle_seconds: float = 20


#: Every row of every table, within a minute: shows that the bench runs, and says nothing about speed.
QUICK = Scale(
    rounds=1,
    size=16 * MiB,
    chunk=MiB,
    connections=(1, 2),
    commits=(MiB, 8 * MiB),
    memory_chunks=(MiB, 4 * MiB),
    growth_connections=(1, 4),
    growth_uploads=(1, 4),
    slow_clients=40,
    small_chunks=(1_048_575, 64 << 10),
    workers=(1, 2),
    delta=16 * MiB,
    releases=False,
    artifacts=200,
    requests=2,
    idle_seconds=0.5,
)


@dataclass(slots=True)
class Bench:
    """What every measurement gets."""

    scale: Scale
    folder: Path
    source: servers.Source
    say: Callable[[str], None]
    _count: int = field(default=0)

    @property
    def whole(self) -> Span:
        """The part of the source file that most measurements send."""
        return Span(0, self.scale.size)

    def partwise(self, workers: int = 1, **settings: object) -> AbstractContextManager[servers.Partwise]:
        """A running server; ``settings`` as in its PARTWISE_… variables."""
        return servers.partwise(self._new_folder("partwise"), workers, **settings)

    def embedded(self, *, bypass: bool) -> AbstractContextManager[servers.Partwise]:
        """A running host application of FastAPI, under uvicorn."""
        return servers.embedded(self._new_folder("embedded"), bypass=bypass)

    def nginx(self, buffer: str | None = None) -> AbstractContextManager[servers.Nginx]:
        """A running nginx with two workers."""
        return servers.nginx(self._new_folder("nginx"), buffer=buffer)

    def _new_folder(self, name: str) -> Path:
        self._count += 1
        return self.folder / f"{name}-{self._count}"

    def in_turn(self, runs: Mapping[str, Callable[[], float]], rounds: int | None = None) -> dict[str, Series]:
        """Run all once in each round, every second round backwards; what they return, by name."""
        found = {name: Series() for name in runs}
        for number in range(rounds or self.scale.rounds):
            order = list(runs) if number % 2 == 0 else list(reversed(list(runs)))
            for name in order:
                # What one left to be written must not slow the next.
                os.sync()
                value = runs[name]()
                found[name].append(value)
                self.say(f"  round {number + 1}  {name}: {value:.3f}")
        return found

    def upload_seconds(
        self, server: servers.Partwise, connections: int, span: Span | None = None, *, form: bool = False
    ) -> float:
        """Seconds of one whole upload; its artifact is deleted again, outside of the time."""
        uploaded = server.upload(self.source, span or self.whole, self.scale.chunk, connections, form=form)
        server.delete(uploaded.artifact)
        return uploaded.seconds


def timed(action: Callable[[], object]) -> float:
    """Seconds that ``action`` takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


@contextmanager
def prepared(scale: Scale, folder: Path, say: Callable[[str], None]) -> Iterator[Bench]:
    """A run with its source file below ``folder``, all of which is removed at the end."""
    folder.mkdir(parents=True)
    try:
        size = max(scale.size, *scale.commits)
        say(f"making a source file of {size / GiB:.2f} GiB")
        source = servers.Source(folder / "source", size)
        try:
            yield Bench(scale, folder, source, say)
        finally:
            source.close()
    finally:
        shutil.rmtree(folder)


def machine(folder: Path) -> list[tuple[str, str]]:
    """What the figures depend on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next(int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    return [
        ("processor", f"{cpu}, {os.cpu_count()} cores"),
        ("memory", f"{memory / GiB:.0f} GiB"),
        ("kernel, file system", f"Linux {platform.release()}, {_file_system(folder)}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}, {ssl.OPENSSL_VERSION}"),
        ("partwise", __version__),
        ("nginx", _nginx_version()),
    ]


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _file_system(folder: Path) -> str:
    found = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def _nginx_version() -> str:
    program = servers.find_nginx()
    if program is None:
        return "not installed: its rows are left out"
    found = subprocess.run([program, "-v"], capture_output=True, text=True, check=True)
    return found.stderr.strip().rpartition("/")[2]


def install_nginx(say: Callable[[str], None]) -> None:
    """Debian's nginx where it is missing and may be installed; otherwise its rows are left out."""
    if servers.find_nginx() is not None:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("installing nginx-light to compare with")
        subprocess.run(
            ["apt-get", "install", "-y", "--no-install-recommends", "nginx-light"],
            stdout=subprocess.DEVNULL,
            stderr=sys.stderr,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            check=False,
        )
    if servers.find_nginx() is None:
        say("nginx is not installed: its rows are left out (on Debian: apt-get install nginx-light)")
