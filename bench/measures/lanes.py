"""A verified upload and a download with curl as the client: the claim to be quoted, and what all parties pay for it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from bench.curl import CURL, PROCESSES, Pieces
from bench.harness import Bench
from bench.load import Refused
from bench.procfs import cpu_seconds
from bench.report import GiB, Section, Series, Table, at_most, rate, size_text, spread
from bench.servers import Nginx, Partwise, Server, find_nginx, sha256_of_files

_OURS = "partwise"
_HASH = "OpenSSL SHA-256 of the file alone"
_PEERS = {None: "nginx PUT (default buffers), then SHA-256", "1m": "nginx PUT (1 MiB buffers), then SHA-256"}
_TUNED = _PEERS["1m"]


@dataclass(slots=True)
class _Costs:
    """Of each round: processor seconds of the server (hash processes included), of hashing after it, and of curl."""

    server: Series = field(default_factory=Series)
    hashing: Series = field(default_factory=Series)
    client: Series = field(default_factory=Series)

    @property
    def verified(self) -> Series:
        """What storing and verifying cost together."""
        return Series(map(sum, zip(self.server, self.hashing, strict=True)))


@contextmanager
def _counted(costs: _Costs, server: Server | None) -> Iterator[None]:
    """Add what the ``with`` block costs."""
    before = _now(server)
    yield
    for series, first, last in zip((costs.server, costs.hashing, costs.client), before, _now(server), strict=True):
        series.append(last - first)


def _now(server: Server | None) -> tuple[float, float, float]:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)  # of those that have ended: curl
    used = cpu_seconds(server.pids) if server is not None else 0.0
    return used, time.process_time(), children.ru_utime + children.ru_stime


def run(bench: Bench) -> Section:
    pieces = Pieces(bench)
    size = bench.scale.size
    section = Section(
        "With plain curl as the client",
        f"{size_text(size)}, {bench.scale.rounds} rounds: {PROCESSES} curl processes, each of which sends its share "
        f"of the {size_text(bench.scale.chunk)} pieces (`-T`) over one connection. nginx has 2 workers, stores the "
        "pieces, verifies nothing and syncs nothing; 1 MiB buffers are how its users set it up for uploads. "
        "Processor seconds are those of all processes of the server, of hashing what nginx stored, and of curl.",
    )
    with ExitStack() as stack:
        server = stack.enter_context(bench.partwise())
        peers = {}
        if find_nginx():
            peers = {name: stack.enter_context(bench.nginx(buffer)) for buffer, name in _PEERS.items()}
        _uploads(bench, pieces, server, peers, section)
        _downloads(bench, pieces, server, peers.get(_TUNED), section)
    pieces.remove()
    return section


def _uploads(bench: Bench, pieces: Pieces, server: Partwise, peers: dict[str, Nginx], section: Section) -> None:
    costs = {name: _Costs() for name in (_HASH, *peers, _OURS)}
    runs: dict[str, Callable[[], float]] = {_HASH: partial(_hash, bench, pieces, costs[_HASH])}
    for name, peer in peers.items():
        runs[name] = partial(_store, bench, pieces, peer, costs[name])
    runs[_OURS] = partial(_upload, bench, pieces, server, costs[_OURS])
    found = bench.in_turn(runs)
    gib = bench.scale.size / GiB
    rows = [
        (
            name,
            spread(series),
            rate(bench.scale.size, series.median),
            *(f"{each.median / gib:.2f}" for each in (costs[name].server, costs[name].hashing, costs[name].client)),
            f"{found[_OURS].over(series):.2f}",
        )
        for name, series in found.items()
    ]
    head = ("", "seconds", "MB/s", "server CPU s/GiB", "hash after it", "curl CPU s/GiB", "partwise ÷ this")
    section.tables.append(Table(head, rows))
    if peers:
        figure = f"verified upload, {PROCESSES} curl processes, against nginx PUT (2 workers, 1 MiB buffers) + SHA-256"
        section.targets += [
            at_most(figure, found[_OURS].over(found[_TUNED]), 0.75),
            at_most(
                "processor seconds of the server for it, against the same",
                costs[_OURS].verified.over(costs[_TUNED].verified),
                1.0,
            ),
        ]


def _hash(bench: Bench, pieces: Pieces, costs: _Costs) -> float:
    started = time.monotonic()
    with _counted(costs, None):
        _expect(sha256_of_files([pieces.whole]), bench)
    return time.monotonic() - started


def _store(bench: Bench, pieces: Pieces, peer: Nginx, costs: _Costs) -> float:
    files = peer.folder / "files"
    started = time.monotonic()
    with _counted(costs, peer):
        pieces.send(pieces.to_nginx(peer))
        _expect(sha256_of_files(sorted(files.iterdir())), bench)
    seconds = time.monotonic() - started
    shutil.rmtree(files)
    files.mkdir()
    return seconds


def _upload(bench: Bench, pieces: Pieces, server: Partwise, costs: _Costs) -> float:
    sha256 = bench.source.sha256(bench.whole)
    started = time.monotonic()
    with _counted(costs, server):
        href = server.create(bench.scale.size)
        pieces.send(pieces.to_partwise(server, href))
        artifact = server.commit(href, sha256)
    seconds = time.monotonic() - started
    server.delete(artifact)
    return seconds


def _downloads(bench: Bench, pieces: Pieces, server: Partwise, peer: Nginx | None, section: Section) -> None:
    uploaded = server.upload(bench.source, bench.whole, bench.scale.chunk, PROCESSES)
    places: dict[str, tuple[Server, str]] = {_OURS: (server, f"{server.url}{uploaded.artifact}download/")}
    if peer is not None:
        os.link(pieces.whole, peer.folder / "files" / "whole")
        places["nginx (sendfile)"] = (peer, f"http://127.0.0.1:{peer.port}/whole")
    costs = {name: _Costs() for name in places}
    runs = {name: partial(_get, url, of, costs[name]) for name, (of, url) in places.items()}
    found = bench.in_turn(runs)
    gib = bench.scale.size / GiB
    rows = [
        (
            f"one curl to /dev/null from {name}",
            spread(series),
            rate(bench.scale.size, series.median),
            f"{costs[name].server.median / gib:.2f}",
            f"{costs[name].client.median / gib:.2f}",
        )
        for name, series in found.items()
    ]
    section.tables.append(Table(("", "seconds", "MB/s", "server CPU s/GiB", "curl CPU s/GiB"), rows))


def _get(url: str, server: Server, costs: _Costs) -> float:
    started = time.monotonic()
    with _counted(costs, server):
        subprocess.run([*CURL, "--fail", "--output", "/dev/null", url], check=True)
    return time.monotonic() - started


def _expect(sha256: str, bench: Bench) -> None:
    if sha256 != bench.source.sha256(bench.whole):
        raise Refused("a peer stored other bytes than were sent")
