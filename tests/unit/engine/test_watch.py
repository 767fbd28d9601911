"""Who waits for events is woken by events of their own, and asks the database for no others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from partwise.core.records import Principal
from partwise.engine import uploads, watch
from partwise.engine.engine import Engine
from partwise.engine.events import newest_position, read_events
from tests.support.until import until
from tests.unit.engine.conftest import ALICE, BOB

ROOT = Principal("root", admin=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL", 0.01)


@asynccontextmanager
async def waiting(engine: Engine, *users: Principal) -> AsyncIterator[dict[str, asyncio.Task[Any]]]:
    after = await newest_position(engine)
    tasks = {who.name: asyncio.create_task(read_events(engine, who, after=after, wait=30)) for who in users}
    try:
        await until(lambda: len(engine.workers.events._waiting) == len(users), "all wait")
        yield tasks
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values())
        await engine.workers.events.stop()


async def happen(engine: Engine, who: Principal) -> None:
    upload = await uploads.create_upload(engine, who, size=1)
    await uploads.delete_upload(engine, who, upload.id)


async def test_an_event_wakes_its_owner_and_admins_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Counter[str | None] = Counter()
    listed = engine.catalog.list_events

    async def counting(owner: str | None, **more: Any) -> Any:
        asked[owner] += 1
        return await listed(owner, **more)

    monkeypatch.setattr(engine.catalog, "list_events", counting)
    async with waiting(engine, ALICE, BOB, ROOT) as tasks:
        for _ in range(3):
            await happen(engine, BOB)
        for name in ("bob", "root"):
            [event, *_] = (await tasks[name]).events
            assert event.owner == "bob"
        seen = await newest_position(engine)
        await until(lambda: engine.workers.events._seen == seen, "the newest event was looked at")
        assert not tasks["alice"].done()
        assert asked["alice"] == 1, "she asks the database when she comes, and no more"
        await happen(engine, ALICE)
        [event] = (await tasks["alice"]).events
        assert event.owner == "alice"


async def test_many_events_at_once_wake_everyone_who_then_looks(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MOST_LOOKED_AT", 2)
    async with waiting(engine, ALICE) as tasks:
        for _ in range(5):
            await happen(engine, BOB)
        await happen(engine, ALICE)
        [event] = (await tasks["alice"]).events
        assert event.owner == "alice"
