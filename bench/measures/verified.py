"""How long from the first byte to a verified artifact, against the least that this can cost."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.harness import Bench, timed
from bench.load import Refused
from bench.report import Section, Series, Table, at_most, rate, size_text, spread
from bench.servers import Nginx, find_nginx, sha256_of, sha256_of_files

_HASH = "OpenSSL SHA-256 of the file alone"
_COPY = "`cp`, then SHA-256 of the copy"


def run(bench: Bench) -> Section:
    most = max(bench.scale.connections)
    with ExitStack() as stack:
        server = stack.enter_context(bench.partwise())
        runs: dict[str, Callable[[], float]] = {
            _HASH: lambda: timed(lambda: sha256_of(bench.source.fd, bench.whole)),
            _COPY: partial(_copy, bench),
        }
        if find_nginx():
            for buffer, name in ((None, "default buffers"), ("1m", "1 MiB buffers")):
                peer = stack.enter_context(bench.nginx(buffer))
                for count in bench.scale.connections:
                    runs[_nginx(name, count)] = partial(_store, bench, peer, count)
        for form in (False, True):
            for count in bench.scale.connections:
                runs[_ours(form, count)] = partial(bench.upload_seconds, server, count, form=form)
        found = bench.in_turn(runs)
    return _section(bench, found, most)


def _ours(form: bool, count: int) -> str:
    return f"partwise, {'form' if form else 'raw'} bodies, {_connections(count)}"


def _nginx(name: str, count: int) -> str:
    return f"nginx PUT ({name}), {_connections(count)}, then SHA-256"


def _connections(count: int) -> str:
    return f"{count} connection{'s' if count > 1 else ''}"


def _copy(bench: Bench) -> float:
    original, copy = bench.folder / "original", bench.folder / "copy"
    bench.source.cut(bench.whole, original)

    def work() -> None:
        subprocess.run(["cp", "--reflink=never", original, copy], check=True)
        _expect(sha256_of_files([copy]), bench)

    try:
        return timed(work)
    finally:
        copy.unlink()
        original.unlink()


def _store(bench: Bench, peer: Nginx, connections: int) -> float:
    def work() -> None:
        files = peer.store(bench.source, bench.whole, bench.scale.chunk, connections)
        _expect(sha256_of_files(files), bench)

    try:
        return timed(work)
    finally:
        _empty(peer.folder / "files")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _expect(sha256: str, bench: Bench) -> None:
    if sha256 != bench.source.sha256(bench.whole):
        raise Refused("a peer stored other bytes than were sent")


def _section(bench: Bench, found: dict[str, Series], most: int) -> Section:
    size = bench.scale.size
    section = Section(
        "From the first byte to a verified artifact",
        f"{size_text(size)} in chunks of {size_text(bench.scale.chunk)}, {bench.scale.rounds} rounds. nginx (2 "
        "workers) stores the pieces without verification, so `sha256sum` of the stored pieces runs after it. partwise "
        "syncs to disk, nginx does not.",
    )
    head = ("", "seconds", "MB/s", "× of the hash alone")
    rows = [
        (name, spread(series), rate(size, series.median), f"{series.over(found[_HASH]):.2f}")
        for name, series in found.items()
    ]
    section.tables.append(Table(head, rows))
    raw, form = found[_ours(False, most)], found[_ours(True, most)]
    peer = found.get(_nginx("default buffers", most))
    if peer:
        against = "nginx PUT (2 workers, default buffers) + SHA-256"
        figure = f"verified upload, {_connections(most)}, raw bodies, against {against}"
        section.targets.append(at_most(figure, raw.over(peer), 0.6))
    section.targets.append(at_most(f"the same against {_HASH}", raw.over(found[_HASH]), 1.5))
    section.targets.append(at_most(f"form bodies against raw ones, {_connections(most)}", form.over(raw), 1.3))
    return section
