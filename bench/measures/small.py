"""What small chunks cost: a request and a record each."""

from __future__ import annotations

from bench.harness import Bench
from bench.load import Span, split
from bench.procfs import cpu_seconds
from bench.report import MiB, Section, Series, Table, rate, size_text, spread
from bench.servers import Partwise

_CONNECTIONS = 8


def run(bench: Bench) -> Section:
    rounds = min(3, bench.scale.rounds)
    section = Section(
        "Small chunks",
        f"Verified uploads over {_CONNECTIONS} connections, {rounds} rounds. 1,048,575 bytes is what Katello sends.",
    )
    rows = []
    with bench.partwise() as server:
        for chunk in bench.scale.small_chunks:
            # A quarter of the bytes where there would be tens of thousands of requests.
            span = bench.whole if chunk > MiB // 2 else Span(0, bench.scale.size // 4)
            seconds, processor = Series(), Series()
            for _ in range(rounds):
                elapsed, used = _upload(bench, server, span, chunk)
                seconds.append(elapsed)
                processor.append(used)
                bench.say(f"  {size_text(chunk)}: {elapsed:.2f} s, {used:.2f} processor seconds")
            count = len(split(span.size, chunk))
            cost = processor.median / count * 1e3
            figures = f"{count / seconds.median:,.0f}", rate(span.size, seconds.median), f"{cost:.2f}"
            rows.append((size_text(chunk), f"{count:,}", spread(seconds), *figures))
    head = ("chunk", "chunks", "seconds", "chunks/s", "MB/s", "server processor ms/chunk")
    section.tables.append(Table(head, rows))
    return section


def _upload(bench: Bench, server: Partwise, span: Span, chunk: int) -> tuple[float, float]:
    pids = server.pids
    before = cpu_seconds(pids)
    uploaded = server.upload(bench.source, span, chunk, _CONNECTIONS)
    used = cpu_seconds(pids) - before
    server.delete(uploaded.artifact)
    return uploaded.seconds, used
