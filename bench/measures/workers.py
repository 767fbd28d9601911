"""What more server processes bring."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from bench.harness import Bench
from bench.measures.growth import at_once
from bench.report import Section, Table, rate, size_text, spread

_CONNECTIONS, _UPLOADS = 8, 4


def run(bench: Bench) -> Section:
    rounds = min(3, bench.scale.rounds)
    with ExitStack() as stack:
        one: dict[str, Callable[[], float]] = {}
        many: dict[str, Callable[[], float]] = {}
        for count in bench.scale.workers:
            server = stack.enter_context(bench.partwise(count))
            one[str(count)] = partial(bench.upload_seconds, server, _CONNECTIONS)
            many[str(count)] = partial(at_once, bench, server, _UPLOADS, _CONNECTIONS // _UPLOADS)
        of_one = bench.in_turn(one, rounds)
        of_many = bench.in_turn(many, rounds)
    size = bench.scale.size
    section = Section(
        "Server processes",
        f"{size_text(size)}, verified, over {_CONNECTIONS} connections, {rounds} rounds, as one upload and as "
        f"{_UPLOADS} uploads at once.",
    )
    rows = [
        (
            count,
            *(cell for found in (of_one, of_many) for cell in (spread(found[count]), rate(size, found[count].median))),
        )
        for count in one
    ]
    head = ("`--workers`", "one upload: seconds", "MB/s", f"{_UPLOADS} uploads: seconds", "MB/s")
    section.tables.append(Table(head, rows))
    return section
