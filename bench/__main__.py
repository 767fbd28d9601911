"""``python -m bench``: run measurements, show what they find, and write the page."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.harness import QUICK, Bench, Scale, install_nginx, machine, prepared
from bench.measures import (
    browser,
    catalog,
    client,
    commit,
    delta,
    dialects,
    embedded,
    footprint,
    growth,
    lanes,
    slow,
    small,
    verified,
    workers,
)
from bench.procfs import busy_seconds
from bench.report import Section, page

_ROOT = Path(__file__).resolve().parent.parent

MEASURES: dict[str, Callable[[Bench], Section]] = {
    "lanes": lanes.run,
    "verified": verified.run,
    "commit": commit.run,
    "footprint": footprint.run,
    "growth": growth.run,
    "slow": slow.run,
    "small": small.run,
    "client": client.run,
    "delta": delta.run,
    "dialects": dialects.run,
    "browser": browser.run,
    "workers": workers.run,
    "embedded": embedded.run,
    "catalog": catalog.run,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure partwise beside its peers.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, not how fast")
    parser.add_argument("--only", action="append", choices=MEASURES, help="this measurement alone; may be repeated")
    parser.add_argument("--delta-mib", type=int, help="size of the changed image of the delta measurement, in MiB")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison")
    parser.add_argument(
        "--output", type=Path, help="the page to write; a full run writes docs/performance.md, others none"
    )
    parser.add_argument("--folder", type=Path, default=_ROOT / "build", help="where data is put (default: build/)")
    return parser.parse_args()


def main() -> int:
    """Run; the exit status."""
    arguments = _arguments()
    scale = QUICK if arguments.quick else Scale()
    if arguments.rounds:
        scale = replace(scale, rounds=arguments.rounds)
    if arguments.delta_mib:
        scale = replace(scale, delta=arguments.delta_mib << 20)
    names = arguments.only or list(MEASURES)
    output = arguments.output
    if output is None and not arguments.quick and not arguments.only:
        output = _ROOT / "docs" / "performance.md"
    # Thousands of connections, here and in the servers, which inherit the limit.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    install_nginx(_say)
    started, busy = time.monotonic(), busy_seconds()
    folder = arguments.folder / f"bench-{os.getpid()}"
    with prepared(scale, folder, _say) as bench:
        facts = machine(folder)
        sections = []
        for name in names:
            _say(name)
            sections.append(MEASURES[name](bench))
    minutes = (time.monotonic() - started) / 60
    # Its servers have ended and count among its children; the kernel's own threads count among the others.
    others = busy_seconds() - busy - sum(os.times()[:4])
    share = others / (time.monotonic() - started) / (os.cpu_count() or 1)
    facts.append(("taken by others", f"{share:.0%} of the processors, kernel threads included"))
    text = page(datetime.now(UTC).strftime("%Y-%m-%d"), minutes, facts, sections)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
        _say(f"wrote {output}")
    else:
        print(text)
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
