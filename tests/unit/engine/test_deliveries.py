"""Deliveries over three days of a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from partwise.catalog import SqlCatalog, open_catalog
from partwise.core.records import Principal
from partwise.engine import deliveries
from partwise.engine.deliveries import Courier, Endpoint, Receipt
from partwise.engine.engine import Engine
from partwise.engine.ports import Delivery
from partwise.engine.uploads import create_upload, delete_upload
from partwise.testing.memory import MemoryStorage
from tests.support.records import new_records
from tests.unit.engine.conftest import Clock

ALICE = Principal("alice")
ACCEPTED = Receipt(accepted=True, status=200)
FAILED = Receipt(accepted=False, status=500, error="The receiver answered 500.")


@pytest.fixture
async def engine(tmp_path: Path, clock: Clock) -> AsyncIterator[Engine]:
    url = new_records(tmp_path / "catalog.db")
    engine = Engine(MemoryStorage(), open_catalog(url), clock=clock)
    await engine.open()
    yield engine
    await engine.stop()


class Receiver:
    """Answers as it is told, and counts what came."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.answer: Callable[[Delivery], Receipt] = lambda _delivery: ACCEPTED
        self.tries: list[tuple[str, timedelta]] = []
        self.outcomes: Counter[str] = Counter()
        self._clock, self._began = clock, clock()
        endpoint = Endpoint(name="app", send=self.send)
        self.courier = Courier(endpoint, engine.catalog, clock, self._note, engine.failpoint)

    async def send(self, delivery: Delivery) -> Receipt:
        self.tries.append((json.loads(delivery.body)["data"]["upload"], self._clock() - self._began))
        return self.answer(delivery)

    def _note(self, endpoint: str, outcome: str) -> None:
        assert endpoint == "app"
        self.outcomes[outcome] += 1

    async def work(self) -> None:
        """Do what is due now."""
        while await self.courier.step():
            pass


@pytest.fixture
async def receiver(engine: Engine, clock: Clock) -> Receiver:
    made = Receiver(engine, clock)
    await made.work()
    return made


async def happen(engine: Engine) -> str:
    """An event; the id of its upload."""
    upload = await create_upload(engine, ALICE, size=1)
    await delete_upload(engine, ALICE, upload.id)
    return upload.id


def catalog(engine: Engine) -> SqlCatalog:
    assert isinstance(engine.catalog, SqlCatalog)
    return engine.catalog


async def test_a_receiver_that_is_down_for_three_days_gets_all(
    engine: Engine, clock: Clock, receiver: Receiver
) -> None:
    receiver.answer = lambda _delivery: FAILED
    uploads = [await happen(engine)]
    for _ in range(3 * 24):
        await receiver.work()
        clock.move(hours=1)
    uploads.append(await happen(engine))
    receiver.answer = lambda _delivery: ACCEPTED
    for _ in range(30):
        await receiver.work()
        clock.move(hours=1)
    assert {name for name, _ in receiver.tries} == set(uploads)
    assert receiver.outcomes["accepted"] == 2
    assert receiver.outcomes["dead"] == 0
    assert await catalog(engine).list_deliveries() == []


async def test_the_waits_grow_and_then_it_is_dead_until_a_replay(
    engine: Engine, clock: Clock, receiver: Receiver
) -> None:
    receiver.answer = lambda _delivery: FAILED
    upload = await happen(engine)
    await receiver.work()
    for tries in range(1, 10):
        [waiting] = await catalog(engine).list_deliveries()
        quarter = (waiting.due - clock()) / 4
        for pause in (quarter, quarter, quarter, quarter - timedelta(seconds=1)):
            clock.now += pause
            await receiver.work()
            assert len(receiver.tries) == tries, "nothing is tried before its time"
        clock.now = waiting.due
        await receiver.work()
    for _ in range(2 * 24):
        clock.move(hours=1)
        await receiver.work()
    assert len(receiver.tries) == 10
    at = [when for _, when in receiver.tries]
    for wait, (before, after) in zip(deliveries.WAITS, pairwise(at), strict=True):
        assert wait <= after - before <= wait * 1.1
    assert timedelta(hours=75) < at[-1] < timedelta(hours=84)
    [dead] = await catalog(engine).list_deliveries(dead=True)
    assert (dead.status, dead.error, dead.attempts) == (500, "The receiver answered 500.", 10)
    assert receiver.outcomes == {"failed": 9, "dead": 1}

    receiver.answer = lambda _delivery: ACCEPTED
    await receiver.work()
    assert len(receiver.tries) == 10, "the dead are not tried"
    await catalog(engine).replay_deliveries("app", clock())
    await receiver.work()
    assert receiver.tries[-1][0] == upload
    assert await catalog(engine).list_deliveries() == []


async def test_retry_after_prolongs_a_wait_and_shortens_none(engine: Engine, clock: Clock, receiver: Receiver) -> None:
    waits = iter([timedelta(hours=3), timedelta(seconds=1), timedelta(days=400), timedelta(days=-1)])
    receiver.answer = lambda _delivery: Receipt(accepted=False, status=503, retry_after=next(waits))
    await happen(engine)
    due = []
    for _ in range(4):
        await receiver.work()
        [delivery] = await catalog(engine).list_deliveries()
        due.append(delivery.due - clock())
        clock.now = delivery.due
    assert due[0] == timedelta(hours=3)
    assert timedelta(minutes=5) <= due[1] <= timedelta(minutes=6)
    assert due[2] == timedelta(hours=24), "nobody stops an event for ever"
    assert due[3] >= timedelta(hours=2)


async def test_gone_pauses_until_a_replay(engine: Engine, clock: Clock, receiver: Receiver) -> None:
    receiver.answer = lambda _delivery: Receipt(accepted=False, status=410, gone=True)
    first = await happen(engine)
    await receiver.work()
    second = await happen(engine)
    clock.move(days=2)
    await receiver.work()
    assert [name for name, _ in receiver.tries] == [first]
    assert (await catalog(engine).count_deliveries())["app"].paused
    receiver.answer = lambda _delivery: ACCEPTED
    await catalog(engine).replay_deliveries(None, clock())
    await receiver.work()
    assert {name for name, _ in receiver.tries[1:]} == {first, second}
    assert receiver.outcomes == {"paused": 1, "accepted": 2}


async def test_one_that_fails_does_not_stop_those_behind_it(engine: Engine, receiver: Receiver) -> None:
    bad = await happen(engine)
    good = [await happen(engine) for _ in range(10)]
    receiver.answer = lambda delivery: FAILED if bad in delivery.body else ACCEPTED
    await receiver.work()
    assert sorted(name for name, _ in receiver.tries) == sorted([bad, *good])
    assert receiver.outcomes == {"failed": 1, "accepted": 10}


async def _hang(_delivery: Delivery) -> Receipt:
    await asyncio.Event().wait()
    raise AssertionError


async def _raise(_delivery: Delivery) -> Receipt:
    raise OSError("no route to it")


@pytest.mark.parametrize(
    "send, said",
    [
        (_hang, "The endpoint did not respond within 0.01 seconds."),
        (_raise, "The function failed with OSError: no route to it"),
    ],
)
async def test_a_try_that_hangs_or_raises_is_one_that_failed(
    engine: Engine,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    send: Callable[[Delivery], Awaitable[Receipt]],
    said: str,
) -> None:
    monkeypatch.setattr(deliveries, "TRY_SECONDS", 0.01)
    endpoint = Endpoint(name="app", send=send)
    courier = Courier(endpoint, engine.catalog, clock, engine.attempted, engine.failpoint)
    await courier.step()
    await happen(engine)
    await courier.step()
    [delivery] = await catalog(engine).list_deliveries()
    assert (delivery.attempts, delivery.error) == (1, said)


async def test_what_a_worker_died_with_is_sent_again(engine: Engine, clock: Clock, receiver: Receiver) -> None:
    upload = await happen(engine)
    await catalog(engine).fan_out("app", (), clock())
    lease = timedelta(seconds=deliveries.LEASE_SECONDS)
    assert len(await catalog(engine).lease_deliveries("app", clock(), clock() + lease, 4)) == 1
    await receiver.work()
    assert receiver.tries == []
    clock.move(seconds=deliveries.LEASE_SECONDS)
    await receiver.work()
    assert [name for name, _ in receiver.tries] == [upload]
