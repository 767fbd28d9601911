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
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.crash.clients import Lost, check, settled, work
from tests.crash.deliveries import delivered, endpoint, register
from tests.crash.known import Event, Known
from tests.crash.objects import LATER, alone, keep_house, tidy
from tests.crash.points import Killer, names
from tests.crash.power import WatchedCalls, lose_power
from tests.support.engines import new_data_folder, open_engine, open_objects
from tests.support.folders import fast_folder
from tests.support.until import until

#: Seconds after which a process that neither died nor ended is a failure of its own.
_HUNG = 60.0
#: Files that each owner uploads after a start, if nothing stops it.
_CYCLES = 2


@dataclass
class Tally:
    """What the lives of a run amounted to."""

    lives: int = 0
    kills: int = 0
    power_losses: int = 0
    ended: int = 0
    points: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count in another run's."""
        self.lives += other.lives
        self.kills += other.kills
        self.power_losses += other.power_losses
        self.ended += other.ended
        self.points += other.points


class Failed(Exception):
    """A process reported a broken promise, or hung; ``str`` says what it said."""


def live(seed: int, deaths: int, urls: dict[str, str] | None = None) -> Tally:
    """Let processes die about ``deaths`` times, by SIGKILL, then look at what is left. Raises Failed.

    They work in a folder of their own, or in the catalog and the store that ``urls`` name.
    """
    rng = random.Random(seed)
    tally = Tally(lives=1)
    with tempfile.TemporaryDirectory(prefix="crash-", dir=fast_folder()) as folder:
        place = _Place.make(Path(folder), rng, urls)
        for _ in range(deaths):
            one = _generation(place, random.Random(rng.random()), _Plan.draw(rng, objects=urls is not None))
            place.known.crashed()
            if one.kills and rng.random() < place.power_losses:
                place.lose_power(rng)
                one.power_losses += 1
            tally.add(one)
        tally.add(_generation(place, random.Random(rng.random()), _Plan()))
    return tally


@dataclass
class _Place:
    """A data folder, and what outlives the processes that work in it."""

    data: Path
    notes: Path
    #: The share of deaths that take the machine along.
    power_losses: float
    #: Whether chunks are brought to disk before they are acknowledged.
    durable: bool
    #: Where records and bytes are, if not in the folder.
    urls: dict[str, str] | None = None
    boot: int = 1
    known: Known = field(default_factory=Known)

    @classmethod
    def make(cls, folder: Path, rng: random.Random, urls: dict[str, str] | None) -> _Place:
        (folder / "notes").mkdir()
        data = folder / "data"
        if urls:  # whose machines are not the servers'
            return cls(data, folder / "notes", power_losses=0, durable=False, urls=urls)
        new_data_folder(data)
        return cls(data, folder / "notes", power_losses=rng.choice((0, 0.5)), durable=rng.random() < 0.3)

    def lose_power(self, rng: random.Random) -> None:
        lose_power(self.data, self.notes, rng)
        self.boot += 1
        if not self.durable:
            self.known.lost_power()


@dataclass
class _Plan:
    """How a process dies: at the ``nth`` pass of a point (any, without ``name``), or after so many seconds."""

    name: str | None = None
    nth: int = 0
    after: float | None = None

    @classmethod
    def draw(cls, rng: random.Random, *, objects: bool) -> _Plan:
        luck = rng.random()
        if luck < 0.5:
            return cls(rng.choice(names(objects=objects)), rng.choice((1, 1, 1, 2, 3)))
        if luck < 0.75:
            return cls(nth=rng.randint(1, 120))
        return cls(after=rng.uniform(0.0, 1.0 if objects else 0.25))


def _generation(place: _Place, rng: random.Random, plan: _Plan) -> Tally:
    """One process, from its start to its death."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(place, rng, plan, writer)
    os.close(writer)
    try:
        outcome = _listen(reader, place.known, pid, plan.after)
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


def _child(place: _Place, rng: random.Random, plan: _Plan, writer: int) -> None:
    def tell(event: Event) -> None:
        os.write(writer, json.dumps(event).encode() + b"\n")  # whole: below PIPE_BUF

    logging.disable(logging.WARNING)  # recovery tells of what it removes: here that is every second start
    try:
        asyncio.run(_serve(place, rng, plan, tell))
    except BaseException:
        sys.stderr.write(traceback.format_exc())
        tell(("broken", traceback.format_exc()[-2000:]))
        os._exit(1)
    os._exit(0)


async def _serve(place: _Place, rng: random.Random, plan: _Plan, tell: Callable[[Event], None]) -> None:
    killer = Killer(plan.name, plan.nth)
    if place.urls:
        await _serve_objects(place.urls, place.known, rng, plan, tell, killer)
        return
    calls = WatchedCalls(place.notes) if place.power_losses else None
    boot = f"boot {place.boot}"
    engine = open_engine(place.data, failpoint=killer, calls=calls, durable_chunks=place.durable, boot=boot)
    last = not (plan.nth or plan.after)
    engine.endpoints = [endpoint(place.known, rng, tell)]
    if last:  # leases of the dead are over, and what failed is due
        engine.clock = _tomorrow
    await engine.start()
    await register(engine)
    await work(engine, place.known, rng, tell, _CYCLES)
    if last:  # all is done, and all of it must be right
        await settled(engine)
        await check(engine, place.known)
        await delivered(engine, place.known)
        await engine.stop()


def _tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


async def _serve_objects(
    urls: dict[str, str], known: Known, rng: random.Random, plan: _Plan, tell: Callable[[Event], None], killer: Killer
) -> None:
    await alone(urls["catalog"])
    # The store copies objects of any size, as small as those of these lives.
    engine, storage, catalog = open_objects(urls, failpoint=killer, later=LATER, copy_least=1)
    last = not (plan.nth or plan.after)
    engine.endpoints = [endpoint(known, rng, tell)]
    if last:
        engine.clock = _tomorrow
    await engine.start()
    await settled(engine)
    await keep_house(storage)
    await register(engine)
    await work(engine, known, rng, tell, _CYCLES)
    if last:
        await settled(engine)
        if left := await tidy(storage, catalog):
            raise Lost(left)
        await check(engine, known)
        await delivered(engine, known)
        await engine.stop()


def passes(seed: int) -> Counter[str]:
    """How often each point is passed in a life without deaths."""
    killer = Killer()

    async def once() -> None:
        with tempfile.TemporaryDirectory(prefix="crash-", dir=fast_folder()) as folder:
            data = new_data_folder(Path(folder) / "data")
            known = Known()
            for durable in (False, True):
                engine = open_engine(data, failpoint=killer, durable_chunks=durable)
                engine.endpoints = [endpoint(known, random.Random(seed), lambda event: None)]
                await engine.start()
                await register(engine)
                await work(engine, known, random.Random(seed), lambda event: None, 20)
                await until(lambda: {"delivery.settled"} <= killer.passes.keys(), "an event is delivered")
                await engine.stop()

    asyncio.run(once())
    return killer.passes
