"""Another version of a file that is there already: delta transfers against whole ones and against rsync."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.harness import Bench
from bench.line import Line
from bench.releases import RELEASES, Releases, fetch
from bench.report import MiB, Section, Series, Table, at_most, size_text, spread
from bench.servers import Partwise, rsync

#: A line of 100 Mbit/s, in bytes each second.
_SLOW = 12.5e6
_NAME = "disk.img"
_WHOLE, _DELTA, _RSYNC = "`partwise upload --no-delta`", "`partwise upload`", "rsync, daemon"
_DOWN_WHOLE, _DOWN = "`partwise download`", "`partwise download --base`"


@dataclass(frozen=True, slots=True)
class _Case:
    """Two versions of a file, in folders of their own."""

    old: Path
    new: Path
    size: int


@dataclass(frozen=True, slots=True)
class _Found:
    """Seconds, and bytes that passed the line, of each way."""

    seconds: dict[str, Series]
    passed: dict[str, Series]


def run(bench: Bench) -> Section:
    scale = bench.scale
    section = Section(
        "What changed of a file",
        "A file of random bytes and another version of it, of which the server has the first. The line has "
        f"{_SLOW * 8 / 1e6:.0f} Mbit/s each way, by a proxy that counts the bytes of both ways; the last table is "
        "without it. The signature of the first version is made in the first round, and stored for the others. rsync "
        "sends to a daemon on the same machine, which compares with the file that is there.",
    )
    changed = _case(bench, "changed", scale.delta, _overwritten)
    found = _table(bench, section, "2 % overwritten in runs of 1 MiB", changed, whole=True)
    figure = "upload of an image with 2 % changed, time against the whole"
    section.targets += [
        at_most(figure, found.seconds[_DELTA].over(found.seconds[_WHOLE]), 0.08),
        at_most("the same, bytes against the whole", found.passed[_DELTA].over(found.passed[_WHOLE]), 0.06),
    ]
    inserted = _case(bench, "inserted", scale.size, _inserted)
    sent = _table(bench, section, "1 MiB inserted at the front", inserted, whole=False).passed[_DELTA].median
    section.targets.append(
        at_most("1 MiB inserted at the front, bytes against the size", sent / inserted.size * 100, 0.5, "%")
    )
    for releases in RELEASES if scale.releases else ():
        _releases(bench, section, releases)
    _different(bench, section, _case(bench, "different", scale.size, lambda path: _random(path, scale.size)))
    return section


def _case(bench: Bench, name: str, size: int, change: Callable[[Path], None]) -> _Case:
    folders = [bench.folder / f"{name}-{version}" for version in ("old", "new")]
    old, new = (folder / _NAME for folder in folders)
    for folder in folders:
        folder.mkdir()
    _random(old, size)
    shutil.copyfile(old, new)
    change(new)
    return _Case(old, new, new.stat().st_size)


def _releases(bench: Bench, section: Section, releases: Releases) -> None:
    folders = [bench.folder / f"{releases.package}-{version}" for version in ("old", "new")]
    old, new = (folder / _NAME for folder in folders)
    for folder in folders:
        folder.mkdir()
    if not fetch(releases, old, new, bench.say):
        return
    case = _Case(old, new, new.stat().st_size)
    passed = _table(bench, section, releases.title, case, whole=False).passed
    if _RSYNC in passed:
        figure = f"{releases.title}, bytes of an upload against rsync"
        section.targets.append(at_most(figure, passed[_DELTA].over(passed[_RSYNC]), 1.15))


def _random(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for offset in range(0, size, 16 * MiB):
            file.write(os.urandom(min(16 * MiB, size - offset)))


def _overwritten(path: Path) -> None:
    """Overwrite 2 % of a file, in runs of 1 MiB or, in a small file, one fiftieth of it."""
    size = path.stat().st_size
    run = min(MiB, size // 50)
    place = random.Random(20)
    with path.open("r+b") as file:
        for _ in range(size // 50 // run):
            file.seek(place.randrange(size - run))
            file.write(os.urandom(run))


def _inserted(path: Path) -> None:
    """Insert 1 MiB at the front, or one fiftieth of a small file."""
    moved = path.with_suffix(".moved")
    path.rename(moved)
    with path.open("wb") as file, moved.open("rb") as rest:
        file.write(os.urandom(min(MiB, moved.stat().st_size // 50)))
        shutil.copyfileobj(rest, file, 16 * MiB)
    moved.unlink()


def _table(bench: Bench, section: Section, title: str, case: _Case, *, whole: bool) -> _Found:
    """Run all ways over the slow line."""
    passed: dict[str, Series] = {}
    with bench.partwise() as server, Line(server.port, _SLOW) as line, _rsync(bench) as daemon:
        _upload(server, server.url, case.old)

        def counted(name: str, lane: Line, work: Callable[[], float]) -> float:
            before = lane.passed
            seconds = work()
            passed.setdefault(name, Series()).append(lane.passed - before)
            return seconds

        url = f"http://127.0.0.1:{line.port}"
        ways: dict[str, Callable[[], float]] = {
            _DELTA: partial(counted, _DELTA, line, partial(_upload_new, server, url, case)),
            _DOWN: partial(counted, _DOWN, line, partial(_download_old, bench, server, url, case)),
        }
        if whole:
            full = partial(_upload_new, server, url, case, "--no-delta")
            ways = {_WHOLE: partial(counted, _WHOLE, line, full)} | ways
        if daemon is not None:
            ways[_RSYNC] = partial(counted, _RSYNC, daemon[0], partial(_send_by_rsync, *daemon, case))
        seconds = bench.in_turn(ways, 1 if whole else min(3, bench.scale.rounds))
    rows = [
        (name, spread(series), f"{passed[name].median / 1e6:,.1f}", f"{passed[name].median / case.size:.2%}")
        for name, series in seconds.items()
    ]
    head = (f"{size_text(case.old.stat().st_size)}, {title}", "seconds", "MB over the line", "of its size")
    section.tables.append(Table(head, rows))
    return _Found(seconds, passed)


def _different(bench: Bench, section: Section, case: _Case) -> None:
    with bench.partwise() as server:
        _upload(server, server.url, case.old)
        ways = {
            _WHOLE: partial(_upload_new, server, server.url, case, "--no-delta"),
            _DELTA: partial(_upload_new, server, server.url, case),
        }
        found = bench.in_turn(ways)
    rows = [(name, spread(series), f"{series.over(found[_WHOLE]):.2f}") for name, series in found.items()]
    section.tables.append(Table((f"{size_text(case.size)}, no common byte, fast line", "seconds", "÷ the first"), rows))
    section.targets.append(
        at_most("no common byte, fast line, against an upload without delta", found[_DELTA].over(found[_WHOLE]), 1.05)
    )


def _partwise(*arguments: str | Path) -> dict[str, str]:
    command = [sys.executable, "-m", "partwise.cli", *map(str, arguments), "--json", "--quiet"]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def _upload(server: Partwise, url: str, file: Path, *options: str) -> dict[str, str]:
    return _partwise("upload", file, "--server", url, "--no-resume", *options)


def _upload_new(server: Partwise, url: str, case: _Case, *options: str) -> float:
    started = time.monotonic()
    answer = _upload(server, url, case.new, *options)
    seconds = time.monotonic() - started
    server.delete(answer["artifact"])
    return seconds


def _download_old(bench: Bench, server: Partwise, url: str, case: _Case) -> float:
    """The version that the server has, where the other one is at hand."""
    target = bench.folder / "downloaded"
    sha256 = subprocess.run(["sha256sum", case.old], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    try:
        started = time.monotonic()
        _partwise("download", sha256, "--server", url, "-o", target, "--base", case.new)
        return time.monotonic() - started
    finally:
        target.unlink(missing_ok=True)


@contextmanager
def _rsync(bench: Bench) -> Iterator[tuple[Line, Path] | None]:
    """An rsync daemon behind a slow line, and the folder that it serves; None where rsync is not installed."""
    if shutil.which("rsync") is None:
        bench.say("rsync is not installed: its rows are left out (on Debian: apt-get install rsync)")
        yield None
        return
    with rsync(bench.folder / "rsync") as server, Line(server.port, _SLOW) as line:
        yield line, server.folder / "files"


def _send_by_rsync(line: Line, folder: Path, case: _Case) -> float:
    """Seconds to make the daemon's file, which is the old version, the new one."""
    shutil.copyfile(case.old, folder / _NAME)
    os.sync()
    started = time.monotonic()
    # Files of one size, made within a second, look the same to it: --ignore-times has it look at their bytes.
    command = ["rsync", "--ignore-times", "--no-whole-file", str(case.new)]
    subprocess.run([*command, f"rsync://127.0.0.1:{line.port}/files/{_NAME}"], check=True)
    return time.monotonic() - started
