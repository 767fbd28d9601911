"""What it costs to be a part of a host application."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.harness import Bench
from bench.report import Section, Table, rate, size_text, spread

_CONNECTIONS = 4
_ALONE = "partwise serve"


def run(bench: Bench) -> Section:
    with ExitStack() as stack:
        servers = {
            _ALONE: stack.enter_context(bench.partwise()),
            "inside FastAPI under uvicorn, with the socket bypass": stack.enter_context(bench.embedded(bypass=True)),
            "inside FastAPI under uvicorn": stack.enter_context(bench.embedded(bypass=False)),
        }
        found = bench.in_turn(
            {name: partial(bench.upload_seconds, server, _CONNECTIONS) for name, server in servers.items()}
        )
    size = bench.scale.size
    section = Section(
        "Inside a host application",
        f"{size_text(size)}, verified, over {_CONNECTIONS} connections, {bench.scale.rounds} rounds, "
        "to one process each.",
    )
    alone = found[_ALONE].median
    rows = [
        (name, spread(series), rate(size, series.median), f"{alone / series.median:.2f}")
        for name, series in found.items()
    ]
    section.tables.append(Table(("server", "seconds", "MB/s", f"speed of `{_ALONE}` = 1"), rows))
    return section
