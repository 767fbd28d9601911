from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from partwise.catalog import SqlCatalog, deliveries
from partwise.core.events import EventType
from partwise.engine.ports import Catalog, DeliveryCount
from tests.contract.catalog import processes
from tests.contract.catalog.support import NOW, committed, later
from tests.contract.catalog.test_events import add

ALL: tuple[str, ...] = ()


async def sent(catalog: SqlCatalog, *names: str, types: tuple[str, ...] = ALL) -> int:
    """Events with these names, fanned out to the endpoint ``app``, which existed before."""
    await catalog.fan_out("app", types, NOW)
    await add(catalog, *names)
    assert await catalog.has_deliveries("app", NOW)
    return await catalog.fan_out("app", types, NOW)


async def test_a_new_endpoint_begins_with_what_happens_from_now_on(catalog: SqlCatalog) -> None:
    await add(catalog, "before")
    assert await catalog.has_deliveries("app", NOW), "it is to be recorded"
    assert await sent(catalog, "1", "2") == 2
    assert await catalog.fan_out("app", ALL, NOW) == 0
    made = await catalog.list_deliveries()
    found = {(delivery.event_id, delivery.attempts, delivery.dead) for delivery in made}
    assert found == {("evt_1", 0, False), ("evt_2", 0, False)}
    body = json.loads(made[0].body)
    assert body.keys() == {"id", "type", "timestamp", "data"}
    assert body["id"] == made[0].event_id


async def test_an_endpoint_gets_its_types_alone(catalog: SqlCatalog) -> None:
    completed = (EventType.UPLOAD_COMPLETED.value,)
    assert await sent(catalog, "1", types=completed) == 0
    assert not await catalog.has_deliveries("app", NOW)
    await committed(catalog)
    await catalog.has_deliveries("app", NOW)
    assert await catalog.fan_out("app", completed, NOW) == 1


async def test_what_is_leased_nobody_else_gets_until_the_lease_ends(catalog: SqlCatalog) -> None:
    await sent(catalog, "1", "2", "3")
    first = await catalog.lease_deliveries("app", NOW, later(30), 2)
    second = await catalog.lease_deliveries("app", later(29), later(60), 5)
    assert (len(first), len(second)) == (2, 1)
    assert not await catalog.has_deliveries("app", later(29))
    again = await catalog.lease_deliveries("app", later(30), later(90), 5)
    assert {delivery.id for delivery in again} == {delivery.id for delivery in first}
    # The first holder comes back too late.
    assert not await catalog.settle_delivery(first[0], accepted=True)
    assert not await catalog.settle_delivery(first[0], accepted=False, due=NOW)
    assert await catalog.settle_delivery(again[0], accepted=True)
    assert len(await catalog.list_deliveries("app")) == 2


async def test_failures_are_due_later_and_then_dead(catalog: SqlCatalog) -> None:
    await sent(catalog, "1")
    [delivery] = await catalog.lease_deliveries("app", NOW, later(30), 5)
    assert await catalog.settle_delivery(delivery, accepted=False, due=later(5), status=500, error="It failed.")
    assert await catalog.lease_deliveries("app", later(4), later(30), 5) == []
    [delivery] = await catalog.lease_deliveries("app", later(5), later(30), 5)
    assert (delivery.attempts, delivery.status, delivery.error) == (1, 500, "It failed.")
    assert await catalog.settle_delivery(delivery, accepted=False)
    assert await catalog.lease_deliveries("app", later(99), later(130), 5) == []
    [dead] = await catalog.list_deliveries(dead=True)
    assert (dead.attempts, dead.dead) == (2, True)
    assert await catalog.list_deliveries(dead=False) == []
    assert await catalog.count_deliveries() == {"app": DeliveryCount(dead=1)}

    assert await catalog.replay_deliveries("other", later(100)) == 0
    assert await catalog.replay_deliveries("app", later(100)) == 1
    [delivery] = await catalog.lease_deliveries("app", later(100), later(130), 5)
    assert (delivery.id, delivery.attempts) == (dead.id, 0)


async def test_a_pause_lasts_until_a_replay_and_loses_nothing(catalog: SqlCatalog) -> None:
    await sent(catalog, "1")
    await catalog.pause_endpoint("app")
    assert await catalog.lease_deliveries("app", NOW, later(30), 5) == []
    assert not await catalog.has_deliveries("app", NOW)
    assert await sent(catalog, "2") == 1
    assert await catalog.count_deliveries() == {"app": DeliveryCount(pending=2, paused=True)}
    assert await catalog.replay_deliveries(None, NOW) == 0
    assert len(await catalog.lease_deliveries("app", NOW, later(30), 5)) == 2


async def test_old_deliveries_are_forgotten(catalog: SqlCatalog) -> None:
    await sent(catalog, "1")
    assert await catalog.prune_deliveries(NOW) == 0
    assert await catalog.prune_deliveries(NOW + timedelta(microseconds=1)) == 1


async def test_each_endpoint_has_its_own(catalog: SqlCatalog) -> None:
    await catalog.fan_out("other", ALL, NOW)
    await sent(catalog, "1", "2")
    assert await catalog.fan_out("other", ALL, NOW) == 2
    assert len(await catalog.lease_deliveries("other", NOW, later(1), 9)) == 2
    assert len(await catalog.lease_deliveries("app", NOW, later(1), 9)) == 2


@pytest.mark.timeout(120)
async def test_several_processes_send_each_event_once(catalog: Catalog, url: str) -> None:
    assert isinstance(catalog, SqlCatalog)
    await sent(catalog, *map(str, range(60)))
    await add(catalog, *map(str, range(60, 120)))
    await catalog.has_deliveries("app", NOW)
    counted = await asyncio.to_thread(processes.run, processes.deliver, url)
    total = sum(counted, start=type(counted[0])())
    assert set(total.values()) == {1}
    assert len(total) == 120
    assert await catalog.list_deliveries() == []


async def test_many_are_replayed_and_forgotten_a_part_at_a_time(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else writes meanwhile."""
    await sent(catalog, *(str(number) for number in range(5)))
    monkeypatch.setattr(deliveries, "_BATCH", 2)
    for delivery in await catalog.lease_deliveries("app", NOW, later(30), 5):
        assert await catalog.settle_delivery(delivery, accepted=False)
    assert [await catalog.replay_deliveries(None, later(1)) for _ in range(4)] == [2, 2, 1, 0]
    assert await catalog.count_deliveries() == {"app": DeliveryCount(pending=5)}
    after = NOW + timedelta(microseconds=1)
    assert [await catalog.prune_deliveries(after) for _ in range(4)] == [2, 2, 1, 0]


async def test_what_is_due_too_late_is_due_now(catalog: SqlCatalog) -> None:
    """A clock that was ahead noted when it is due."""
    await sent(catalog, "1", "2", "3")
    first, second, third = await catalog.lease_deliveries("app", NOW, later(30), 5)
    assert await catalog.settle_delivery(first, accepted=False, due=NOW + timedelta(days=400))
    assert await catalog.settle_delivery(second, accepted=False, due=NOW + timedelta(hours=20))
    assert await catalog.settle_delivery(third, accepted=False)
    assert await catalog.hasten_deliveries(NOW + timedelta(days=2), NOW) == 1
    assert await catalog.hasten_deliveries(NOW + timedelta(days=2), NOW) == 0
    [leased] = await catalog.lease_deliveries("app", NOW, later(30), 5)
    assert leased.id == first.id


async def test_a_rare_type_is_looked_for_a_part_at_a_time(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "SCANNED", 2)
    await catalog.fan_out("app", ("upload.removed",), NOW)
    await add(catalog, *(str(number) for number in range(5)))
    rounds = 0
    while await catalog.has_deliveries("app", NOW):
        assert await catalog.fan_out("app", ("upload.removed",), NOW) == 0
        rounds += 1
    assert rounds == 3
