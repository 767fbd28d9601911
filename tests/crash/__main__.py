"""``python -m tests.crash --points 10000``: kill processes at named points and at any moment, and look what is lost.

A failure prints the seed of its folder's life; ``--seed N --lives 1`` goes through it again. (The order of threads is
the machine's: a seed repeats the plan, which nearly always repeats the failure.)
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import random
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import nullcontext

from tests.crash.life import Failed, Tally, live
from tests.crash.objects import Make, object_engines

#: Deaths of one folder, and of one place on PostgreSQL and objects, where each takes longer.
_DEATHS, _OBJECT_DEATHS = 20, 8


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--points", type=int, default=1000, help="crash points to go through (default: 1000)")
    parser.add_argument("--lives", type=int, help="folders to go through, instead of --points")
    parser.add_argument("--seed", type=int, help="of the first folder (default: a random one)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at work (default: each core)")
    parser.add_argument("--objects", action="store_true", help="on PostgreSQL and an object store")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seeds from {first}", flush=True)
    begun = time.monotonic()
    with object_engines() if options.objects else nullcontext(None) as make:
        tally = _run(first, options.lives, options.points, options.jobs, make)
    if tally is None:
        return 1
    _report(tally, time.monotonic() - begun)
    return 0


def _run(first: int, lives: int | None, points: int, jobs: int, make: Make | None) -> Tally | None:
    """Lives until there were enough, several at once; None when one failed."""
    tally, seeds = Tally(), itertools.count(first)
    running: dict[Future[Tally], int] = {}
    # Not forked: whoever forks the servers may have no threads.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        while True:
            while len(running) < jobs and (
                tally.kills < points if lives is None else tally.lives + len(running) < lives
            ):
                seed = next(seeds)
                urls = make() if make else None
                running[pool.submit(live, seed, _OBJECT_DEATHS if urls else _DEATHS, urls)] = seed
            if not running:
                return tally
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                seed = running.pop(future)
                try:
                    tally.add(future.result())
                    if tally.lives % 50 == 0:
                        print(f"{tally.kills} deaths so far", flush=True)
                except Failed as failure:
                    print(f"seed {seed}: {failure}", file=sys.stderr)
                    return None


def _report(tally: Tally, seconds: float) -> None:
    print(f"{tally.kills} deaths in {seconds:.0f} s, {tally.power_losses} of them with a power loss: nothing lost")
    print(f"{tally.lives} folders, {tally.ended} processes ran to their end")
    for name, count in sorted(tally.points.items()):
        print(f"  {count:6}  {name}")


if __name__ == "__main__":
    sys.exit(main())
