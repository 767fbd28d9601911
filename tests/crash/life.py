"""The life of one data folder: processes that are killed one after the other, and what must be true after each.

Every process is forked from this one, which has all modules loaded and no thread of its own: so there are many deaths
in a second. What its clients know comes through a pipe, and outlives them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.clients import check, settled, work
from tests.crash.known import Event, Known
from tests.crash.points import Killer, names
from tests.support.engines import fast_folder, new_data_folder, open_engine

#: Seconds after which a process that neither died nor ended is a failure of its own.
_HUNG = 60.0
#: Files that each owner uploads after a start, if nothing stops it.
_CYCLES = 2


@dataclass
class Tally:
    """What the lives of a run amounted to."""

    lives: int = 0
    kills: int = 0
    ended: int = 0
    points: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count in another run's."""
        self.lives += other.lives
        self.kills += other.kills
        self.ended += other.ended
        self.points += other.points


class Failed(Exception):
    """A process reported a broken promise, or hung; ``str`` says what it said."""


def live(seed: int, deaths: int) -> Tally:
    """Let a folder's processes die about ``deaths`` times, by SIGKILL, then look at what is left. Raises Failed."""
    rng = random.Random(seed)
    tally = Tally(lives=1)
    with tempfile.TemporaryDirectory(prefix="crash-", dir=fast_folder()) as folder:
        data = new_data_folder(Path(folder) / "data")
        known = Known()
        for _ in range(deaths):
            plan = _Plan.draw(rng)
            one = _generation(data, known, random.Random(rng.random()), plan)
            tally.add(one)
            known.crashed()
        tally.add(_generation(data, known, random.Random(rng.random()), _Plan()))
    return tally


@dataclass
class _Plan:
    """How a process dies: at the ``nth`` pass of a point (any, without ``name``), or after so many seconds."""

    name: str | None = None
    nth: int = 0
    after: float | None = None

    @classmethod
    def draw(cls, rng: random.Random) -> _Plan:
        luck = rng.random()
        if luck < 0.5:
            return cls(rng.choice(names()), rng.choice((1, 1, 1, 2, 3)))
        if luck < 0.75:
            return cls(nth=rng.randint(1, 120))
        return cls(after=rng.uniform(0.0, 0.25))


def _generation(data: Path, known: Known, rng: random.Random, plan: _Plan) -> Tally:
    """One process, from its start to its death."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(data, known, rng, plan, writer)
    os.close(writer)
    try:
        outcome = _listen(reader, known, pid, plan.after)
    finally:
        os.close(reader)
        _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return Tally(kills=1, points=Counter({plan.name or ("time" if plan.after is not None else "any"): 1}))
    if status != 0:
        raise Failed(outcome or f"the process ended with {status}")
    return Tally(ended=1)


def _listen(reader: int, known: Known, pid: int, after: float | None) -> str:
    """Take in what the clients tell, until the process ends; kill it when its time is over. What it said last."""
    said, last, begun = b"", "", time.monotonic()
    limit = _HUNG if after is None else after
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, begun + limit - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            if after is None:
                raise Failed(f"a process hung; it said: {last}")
            limit = _HUNG
            continue
        piece = os.read(reader, 1 << 16)
        if not piece:
            return last
        said += piece
        *lines, said = said.split(b"\n")
        for line in lines:
            last = line.decode()
            event = json.loads(last)
            if event[0] != "broken":
                known.learn(tuple(event))


def _child(data: Path, known: Known, rng: random.Random, plan: _Plan, writer: int) -> None:
    def tell(event: Event) -> None:
        os.write(writer, json.dumps(event).encode() + b"\n")  # whole: below PIPE_BUF

    logging.disable(logging.WARNING)  # recovery tells of what it removes: here that is every second start
    try:
        asyncio.run(_serve(data, known, rng, plan, tell))
    except BaseException:
        sys.stderr.write(traceback.format_exc())
        tell(("broken", traceback.format_exc()[-2000:]))
        os._exit(1)
    os._exit(0)


async def _serve(data: Path, known: Known, rng: random.Random, plan: _Plan, tell: Callable[[Event], None]) -> None:
    engine = open_engine(data, failpoint=Killer(plan.name, plan.nth))
    await engine.start()
    await work(engine, known, rng, tell, _CYCLES)
    if not (plan.nth or plan.after):  # the last one: all is done, and all of it must be right
        await settled(engine)
        await check(engine, known)
        await engine.stop()


def passes(seed: int) -> Counter[str]:
    """How often each point is passed in a life without deaths."""
    killer = Killer()

    async def once() -> None:
        with tempfile.TemporaryDirectory(prefix="crash-", dir=fast_folder()) as folder:
            data = new_data_folder(Path(folder) / "data")
            engine = open_engine(data, failpoint=killer)
            await engine.start()
            await work(engine, Known(), random.Random(seed), lambda event: None, 10)
            await engine.stop()

    asyncio.run(once())
    return killer.passes
