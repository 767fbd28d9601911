"""Another version of a file that is there already: delta transfers against whole ones, rsync and zsync."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.harness import Bench
from bench.line import Line
from bench.load import Refused
from bench.releases import RELEASES, Releases, fetch
from bench.report import GiB, MiB, Section, Series, Table, at_most, size_text, spread
from bench.servers import Partwise, find_nginx, nginx, rsync

#: A line of 100 Mbit/s, in bytes each second.
_SLOW = 12.5e6
_NAME = "disk.img"
_WHOLE, _DELTA, _RSYNC = "`partwise upload --no-delta`", "`partwise upload`", "rsync, daemon"
_DOWN, _ZSYNC = "`partwise download --base`", "zsync, nginx"
#: A larger file is not sent whole over the slow line: its row is computed.
_MOST_WHOLE = 256 * MiB
#: zsync takes minutes for a larger file.
_MOST_ZSYNC = GiB


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
        f"{_SLOW * 8 / 1e6:.0f} Mbit/s each way, by a proxy that counts the bytes of both ways. One table is without "
        "it. A file is sent once in each way, since the bytes are the same each time. The time of the upload includes "
        "the signature of the first version. A whole upload that would take minutes is computed from its bytes alone. "
        "rsync sends to a daemon on the same machine, which compares with the file that is there. zsync receives from "
        "nginx; its list of blocks is made before.",
    )
    base = bench.folder / "base"
    _random(base, max(scale.delta, scale.size))
    changed = _case(bench, "changed", base, scale.delta, _overwritten)
    found = _table(bench, section, "2 % overwritten in runs of 1 MiB", changed, whole=True)
    figure = "upload of an image with 2 % changed, time against the whole"
    section.targets += [
        at_most(figure, found.seconds[_DELTA].over(found.seconds[_WHOLE]), 0.08),
        at_most("the same, bytes against the whole", found.passed[_DELTA].over(found.passed[_WHOLE]), 0.06),
    ]
    _remove(changed)
    inserted = _case(bench, "inserted", base, scale.size, _inserted)
    sent = _table(bench, section, "1 MiB inserted at the front", inserted, whole=False).passed[_DELTA].median
    section.targets.append(
        at_most("1 MiB inserted at the front, bytes against the size", sent / inserted.size * 100, 0.5, "%")
    )
    _random(inserted.new, scale.size)
    _different(bench, section, replace(inserted, size=scale.size))
    for releases in RELEASES if scale.releases else ():
        _releases(bench, section, releases)
    return section


def _case(bench: Bench, name: str, base: Path, size: int, change: Callable[[Path, Path], None]) -> _Case:
    """The first ``size`` bytes of ``base``, and a version that ``change`` makes of them."""
    old, new = (folder / _NAME for folder in _folders(bench, name))
    if size == base.stat().st_size:
        old.hardlink_to(base)
    else:
        with base.open("rb") as source, old.open("wb") as target:
            os.sendfile(target.fileno(), source.fileno(), 0, size)
    change(old, new)
    return _Case(old, new, new.stat().st_size)


def _folders(bench: Bench, name: str) -> list[Path]:
    folders = [bench.folder / f"{name}-{version}" for version in ("old", "new")]
    for folder in folders:
        folder.mkdir()
    return folders


def _remove(case: _Case) -> None:
    for path in (case.old, case.new):
        path.unlink()


def _releases(bench: Bench, section: Section, releases: Releases) -> None:
    old, new = (folder / _NAME for folder in _folders(bench, releases.package))
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


def _overwritten(old: Path, new: Path) -> None:
    """Overwrite 2 % of a file, in runs of 1 MiB or, in a small file, one fiftieth of it."""
    shutil.copyfile(old, new)
    size = new.stat().st_size
    run = min(MiB, size // 50)
    place = random.Random(20)
    with new.open("r+b") as file:
        for _ in range(size // 50 // run):
            file.seek(place.randrange(size - run))
            file.write(os.urandom(run))


def _inserted(old: Path, new: Path) -> None:
    """Insert 1 MiB at the front, or one fiftieth of a small file."""
    with new.open("wb") as file, old.open("rb") as rest:
        file.write(os.urandom(min(MiB, old.stat().st_size // 50)))
        shutil.copyfileobj(rest, file, 16 * MiB)


def _table(bench: Bench, section: Section, title: str, case: _Case, *, whole: bool) -> _Found:
    """Run all ways over the slow line."""
    passed: dict[str, Series] = {}
    with bench.partwise() as server, Line(server.port, _SLOW) as line, _peers(bench, case) as peers:
        sha256 = _upload(server, server.url, case.old)["sha256"]

        def counted(name: str, lane: Line, work: Callable[[], float]) -> float:
            before = lane.passed
            seconds = work()
            passed.setdefault(name, Series()).append(lane.passed - before)
            return seconds

        url = f"http://127.0.0.1:{line.port}"
        ways: dict[str, Callable[[], float]] = {
            _DELTA: partial(counted, _DELTA, line, partial(_upload_new, server, url, case)),
            _DOWN: partial(counted, _DOWN, line, partial(_download_old, bench, url, case, sha256)),
        }
        if whole and case.size <= _MOST_WHOLE:
            full = partial(_upload_new, server, url, case, "--no-delta")
            ways = {_WHOLE: partial(counted, _WHOLE, line, full)} | ways
        ways |= {name: partial(counted, name, lane, work) for name, (lane, work) in peers.items()}
        seconds = bench.in_turn(ways, 1)
    rows = [
        (name, spread(series), f"{passed[name].median / 1e6:,.3f}", f"{passed[name].median / case.size:.2%}")
        for name, series in seconds.items()
    ]
    if whole and _WHOLE not in ways:
        seconds[_WHOLE], passed[_WHOLE] = Series([case.size / _SLOW]), Series([case.size])
        rows.insert(0, (f"{_WHOLE}, computed", spread(seconds[_WHOLE]), f"{case.size / 1e6:,.3f}", "100.00%"))
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
        found = bench.in_turn(ways, min(3, bench.scale.rounds))
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


def _download_old(bench: Bench, url: str, case: _Case, sha256: str) -> float:
    """The version that the server has, where the other one is at hand."""
    target = bench.folder / "downloaded"
    try:
        started = time.monotonic()
        _partwise("download", sha256, "--server", url, "-o", target, "--base", case.new)
        return time.monotonic() - started
    finally:
        target.unlink(missing_ok=True)


@contextmanager
def _peers(bench: Bench, case: _Case) -> Iterator[dict[str, tuple[Line, Callable[[], float]]]]:
    """The other programs that are installed: the slow line of each, and what runs it."""
    found: dict[str, tuple[Line, Callable[[], float]]] = {}
    with ExitStack() as stack:
        folder = bench.folder / f"peers-{case.old.parent.name}"
        if shutil.which("rsync") is None:
            bench.say("rsync is not installed: its rows are left out (on Debian: apt-get install rsync)")
        else:
            daemon = stack.enter_context(rsync(folder / "rsync"))
            line = stack.enter_context(Line(daemon.port, _SLOW))
            found[_RSYNC] = line, partial(_send_by_rsync, line, daemon.folder / "files", case)
        if case.old.stat().st_size > _MOST_ZSYNC:
            bench.say(f"zsync is left out for files above {size_text(_MOST_ZSYNC)}: it takes minutes")
        elif shutil.which("zsync") is None or find_nginx() is None:
            bench.say("zsync or nginx is not installed: its rows are left out (on Debian: apt-get install zsync nginx)")
        else:
            web = stack.enter_context(nginx(folder / "nginx"))
            line = stack.enter_context(Line(web.port, _SLOW))
            found[_ZSYNC] = line, partial(_receive_by_zsync, line, web.folder / "files", case)
        try:
            yield found
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _send_by_rsync(line: Line, folder: Path, case: _Case) -> float:
    """Seconds to make the daemon's file, which is the old version, the new one."""
    shutil.copyfile(case.old, folder / _NAME)
    os.sync()
    started = time.monotonic()
    # Files of one size, made within a second, look the same to it: --ignore-times has it look at their bytes.
    command = ["rsync", "--ignore-times", "--no-whole-file", str(case.new)]
    subprocess.run([*command, f"rsync://127.0.0.1:{line.port}/files/{_NAME}"], check=True)
    return time.monotonic() - started


def _receive_by_zsync(line: Line, folder: Path, case: _Case) -> float:
    """Seconds to receive the old version, which nginx has, where the new one is at hand."""
    (folder / _NAME).hardlink_to(case.old)
    # -Z: the file is not looked into for compressed parts.
    command = ["zsyncmake", "-Z", "-u", _NAME, "-o", str(folder / "list.zsync"), str(case.old)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    os.sync()
    started = time.monotonic()
    target = folder.parent / "received"
    command = ["zsync", "-s", "-i", str(case.new), "-o", str(target), f"http://127.0.0.1:{line.port}/list.zsync"]
    subprocess.run(command, check=True, cwd=folder.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    if target.stat().st_size != case.old.stat().st_size:
        raise Refused("zsync received another file")
    return seconds
