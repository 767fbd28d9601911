"""How long a commit takes after the last byte, by the file's size and the order in which the chunks came."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.harness import Bench
from bench.load import Span
from bench.report import Section, Table, at_most, milliseconds, size_text
from bench.servers import Partwise

_CONNECTIONS = 4
_PACE = 400e6
_PACED = "in order at 400 MB/s"
_FULL = "in order at full speed"
_BACKWARDS = "last chunk first"


def run(bench: Bench) -> Section:
    rounds = min(3, bench.scale.rounds)
    rows = []
    with bench.partwise() as server:
        for size in bench.scale.commits:
            runs: dict[str, Callable[[], float]] = {
                _PACED: partial(_seconds, bench, server, size, pace=_PACE),
                _FULL: partial(_seconds, bench, server, size),
                _BACKWARDS: partial(_seconds, bench, server, size, backwards=True),
            }
            found = bench.in_turn(runs, rounds)
            rows.append((size, found))
    section = Section(
        "Commit after the last byte",
        "Milliseconds from the response to the last chunk to the response to the commit, "
        f"{rounds} rounds over {_CONNECTIONS} connections. "
        "If chunks arrive in order, the background hasher keeps up. At full speed the commit waits until the hasher "
        "has caught up. If the first byte arrives last, the whole file remains to be hashed.",
    )
    head = ("size", *rows[0][1])
    section.tables.append(
        Table(head, [(size_text(size), *(milliseconds(series) for series in found.values())) for size, found in rows])
    )
    size, found = rows[-1]
    figure = f"commit of {size_text(size)} after the last byte, {_PACED}"
    section.targets.append(at_most(figure, found[_PACED].median * 1e3, 20, "ms"))
    return section


def _seconds(bench: Bench, server: Partwise, size: int, *, pace: float | None = None, backwards: bool = False) -> float:
    uploaded = server.upload(
        bench.source, Span(0, size), bench.scale.chunk, _CONNECTIONS, pace=pace, backwards=backwards
    )
    server.delete(uploaded.artifact)
    return uploaded.commit_seconds
