"""How speed goes with the number of connections, and of uploads at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.harness import Bench, timed
from bench.load import Span, in_threads
from bench.report import Section, Table, rate, size_text, spread
from bench.servers import Partwise, Uploaded


def run(bench: Bench) -> Section:
    rounds = min(3, bench.scale.rounds)
    size = bench.scale.size
    with bench.partwise() as server:
        connections: dict[str, Callable[[], float]] = {
            str(count): partial(bench.upload_seconds, server, count) for count in bench.scale.growth_connections
        }
        by_connections = bench.in_turn(connections, rounds)
        uploads: dict[str, Callable[[], float]] = {
            str(count): partial(at_once, bench, server, count) for count in bench.scale.growth_uploads
        }
        by_uploads = bench.in_turn(uploads, rounds)
    section = Section(
        "Growth",
        f"{size_text(size)} in total, verified, {rounds} rounds. The first table shows one upload over many "
        "connections. The second shows many uploads at once, each with its share of the bytes over one connection.",
    )
    for name, found in (("connections", by_connections), ("uploads at once", by_uploads)):
        rows = [(count, spread(series), rate(size, series.median)) for count, series in found.items()]
        section.tables.append(Table((name, "seconds", "MB/s"), rows))
    return section


def at_once(bench: Bench, server: Partwise, count: int, connections: int = 1) -> float:
    """Seconds until the last of ``count`` uploads is verified, each of its own part of the source file."""
    share = bench.scale.size // count
    spans = [Span(number * share, share) for number in range(count)]
    for span in spans:
        bench.source.sha256(span)  # known before the clock starts
    done: list[Uploaded] = []

    def work(number: int) -> None:
        done.append(server.upload(bench.source, spans[number], bench.scale.chunk, connections))

    seconds = timed(lambda: in_threads(count, work))
    for uploaded in done:
        server.delete(uploaded.artifact)
    return seconds
