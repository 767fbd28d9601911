from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from partwise.catalog import SqlCatalog, commits
from partwise.catalog import events as queries
from partwise.catalog.postgres import PostgresCatalog
from partwise.core.errors import CursorExpired, StaleGeneration
from partwise.core.events import EventPage, EventType, OutboxEvent
from partwise.core.records import TaskState
from partwise.engine.ports import Catalog
from tests.contract.catalog import processes
from tests.contract.catalog.support import (
    NOW,
    SHA_A,
    SHA_B,
    UNLIMITED,
    committed,
    covered,
    later,
    make_task,
    make_upload,
)
from tests.support.until import until


async def told(catalog: Catalog, owner: str | None = None) -> list[tuple[str, str]]:
    """All events, by type and upload or artifact."""
    page = await catalog.list_events(owner, after=None)
    return [(event.type.value, event.data.get("upload") or event.data["artifact"]) for event in page.events]


def emit(connection: Connection, name: str, owner: str = "ann") -> None:
    event = OutboxEvent(id=f"evt_{name}", type=EventType.UPLOAD_FAILED, owner=owner, created=NOW, data={"upload": name})
    queries.add_event(connection, event)


async def add(catalog: SqlCatalog, *names: str, owner: str = "ann") -> None:
    for name in names:
        await catalog.runner.write(emit, name, owner)


async def test_a_commit_is_told_once(catalog: Catalog) -> None:
    await committed(catalog, filename="a.iso", now=later(3))
    await catalog.complete_commit("u1", SHA_A, "a2", later(9), generation=0)
    [event] = (await catalog.list_events(None, after=None)).events
    assert (event.type, event.owner, event.created, event.position) == (
        EventType.UPLOAD_COMPLETED,
        "ann",
        later(3),
        1,
    )
    assert event.id.startswith("evt_")
    assert event.data == {
        "upload": "u1",
        "user": "ann",
        "size": 100,
        "filename": "a.iso",
        "media_type": None,
        "state": "completed",
        "metadata": {},
        "artifact": "a1",
        "sha256": SHA_A,
    }


async def test_a_change_that_is_refused_is_not_told(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    with pytest.raises(StaleGeneration):
        await catalog.complete_commit("u1", SHA_A, "a1", NOW, generation=7)
    assert await told(catalog) == []


async def test_content_that_existed_already_is_told_too(catalog: Catalog) -> None:
    await committed(catalog)
    task = make_task("t2", "u2")
    assert await catalog.complete_instantly(make_upload("u2"), SHA_A, task, NOW) is not None
    assert await catalog.complete_instantly(make_upload("u3"), SHA_B, make_task("t3", "u3"), NOW) is None
    await committed(catalog, "u4", artifact_id="a4")
    assert await told(catalog) == [(EventType.UPLOAD_COMPLETED, name) for name in ("u1", "u2", "u4")]
    assert {event.data["artifact"] for event in (await catalog.list_events(None, after=None)).events} == {"a1"}


async def test_failures_removals_and_deletions(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    await catalog.reject_commit("u1", "wrong", NOW, found_sha256=SHA_B)
    await catalog.begin_delete("u1")
    await catalog.begin_delete("u1")
    await catalog.create_upload(make_upload("u2"), UNLIMITED)
    assert await catalog.expire_upload("u2", open_before=later(1), completed_before=NOW)
    await committed(catalog, "u3")
    await catalog.unlink_artifact("a1")
    page = await catalog.list_events(None, after=None)
    assert [(event.type, event.data.get("reason")) for event in page.events] == [
        (EventType.UPLOAD_FAILED, None),
        (EventType.UPLOAD_REMOVED, "deleted"),
        (EventType.UPLOAD_REMOVED, "expired"),
        (EventType.UPLOAD_COMPLETED, None),
        (EventType.ARTIFACT_DELETED, None),
    ]
    failed, removed, *_, deleted = page.events
    assert (failed.data["error"], failed.data["found_sha256"], failed.data["state"]) == ("wrong", SHA_B, "open")
    assert removed.data["state"] == "open"
    assert (deleted.data["artifact"], deleted.data["sha256"], deleted.data["size"]) == ("a1", SHA_A, 100)


async def test_a_commit_that_a_power_loss_ended_is_told(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    assert await catalog.new_boot("another") == 2
    assert (await catalog.get_task("t1")).state is TaskState.FAILED
    [event] = (await catalog.list_events(None, after=None)).events
    assert (event.type, event.data["state"]) == (EventType.UPLOAD_FAILED, "open")


async def test_nothing_is_told_of_parts(catalog: Catalog) -> None:
    for name in ("u1", "u2"):
        await catalog.create_upload(replace(make_upload(name, size=0), part=True), UNLIMITED)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    await catalog.complete_commit("u1", SHA_A, "a1", NOW, generation=0)
    await catalog.begin_delete("u2")
    assert await told(catalog) == []


async def test_of_internal_uploads_only_the_artifact_is_told(catalog: Catalog) -> None:
    for name in ("u1", "u2"):
        await catalog.create_upload(replace(make_upload(name, size=0), internal=True), UNLIMITED)
    await catalog.begin_commit("u2", SHA_A, make_task("t2", upload_id="u2"), NOW)
    await catalog.reject_commit("u2", "no", NOW)
    await catalog.begin_delete("u2")
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    made = await catalog.complete_commit("u1", SHA_A, "a1", NOW, generation=0)
    [event] = (await catalog.list_events(None, after=None)).events
    assert (event.type, event.data["upload"], event.data["artifact"]) == (EventType.UPLOAD_COMPLETED, "u1", made.id)
    assert (event.data["state"], event.data["sha256"]) == ("completed", SHA_A)


async def test_a_removal_without_a_reason_is_not_told(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    await catalog.begin_delete("u1", reason=None)
    await catalog.begin_delete("u1")
    assert await told(catalog) == []


async def test_pages_follow_each_other_and_show_what_is_ones_own(catalog: SqlCatalog) -> None:
    await add(catalog, "1", "2", "3")
    await add(catalog, "4", owner="bob")
    page = await catalog.list_events(None, after=None, limit=3)
    assert ([event.data["upload"] for event in page.events], page.cursor, page.more) == (["1", "2", "3"], 3, True)
    page = await catalog.list_events(None, after=page.cursor, limit=3)
    assert ([event.data["upload"] for event in page.events], page.cursor, page.more) == (["4"], 4, False)
    # The cursor moves on past what is others', or of other types.
    assert await catalog.list_events("ann", after=3) == EventPage([], 4, False)
    assert await catalog.list_events(None, after=0, types=["upload.completed"]) == EventPage([], 4, False)
    assert len((await catalog.list_events(None, after=0, types=["upload.failed"])).events) == 4
    assert [name for _, name in await told(catalog, "bob")] == ["4"]
    assert await catalog.newest_event() == 4


async def test_a_rare_type_is_looked_for_a_part_at_a_time(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request never goes through a million events of others."""
    await add(catalog, *(str(number) for number in range(7)))
    monkeypatch.setattr(queries, "SCANNED", 3)
    cursors, after, more = [], 0, True
    while more:
        page = await catalog.list_events(None, after=after, types=["upload.removed"])
        assert page.events == []
        after, more = page.cursor, page.more
        cursors.append(after)
    assert cursors == [3, 6, 7]
    pages = [await catalog.list_events(None, after=after, types=["upload.failed"], limit=2) for after in (0, 2, 4)]
    assert [(page.cursor, page.more) for page in pages] == [(2, True), (4, True), (6, True)]
    # Without types an index finds them.
    assert await catalog.list_events("bob", after=0) == EventPage([], 7, False)


@pytest.mark.parametrize("after", [4, -1, 1 << 40])
async def test_a_cursor_of_other_records_is_refused(catalog: SqlCatalog, after: int) -> None:
    await add(catalog, "1", "2", "3")
    with pytest.raises(CursorExpired):
        await catalog.list_events(None, after=after)


async def test_old_events_are_forgotten_but_never_the_newest(catalog: SqlCatalog) -> None:
    assert await catalog.prune_events(later(99)) == 0
    await add(catalog, "1", "2", "3")
    assert await catalog.prune_events(NOW) == 0
    assert await catalog.prune_events(NOW + timedelta(microseconds=1)) == 2
    assert await catalog.prune_events(later(99)) == 0
    with pytest.raises(CursorExpired):
        await catalog.list_events(None, after=1)
    assert [name for _, name in await told(catalog)] == ["3"]
    assert len((await catalog.list_events(None, after=2)).events) == 1
    await add(catalog, "4")
    assert await catalog.newest_event() == 4, "no position is used again"


async def test_the_horizon_is_one_position_whatever_the_clocks_said(catalog: SqlCatalog) -> None:
    await add(catalog, "1")
    await catalog.create_upload(make_upload(), UNLIMITED)
    before = datetime.now(UTC)
    await catalog.begin_delete("u1")  # later than the others, by the real clock
    await add(catalog, "3", "4")
    assert await catalog.prune_events(before) == 1
    assert [event.position for event in (await catalog.list_events(None, after=1)).events] == [2, 3, 4]


async def test_what_is_committed_late_is_not_lost(catalog: SqlCatalog) -> None:
    """A transaction that began, and wrote its event, before another one that was committed first."""
    if not isinstance(catalog, PostgresCatalog):
        pytest.skip("SQLite has one writer at a time")

    def slow(connection: Connection) -> None:
        emit(connection, "early")
        connection.execute(text("SELECT pg_advisory_xact_lock(4711)"))

    gate = await catalog.try_name("gate")
    assert gate is not None
    async with catalog.runner._engine.connect() as holder:  # type: ignore[attr-defined]
        await holder.execute(text("SELECT pg_advisory_xact_lock(4711)"))
        writing = asyncio.create_task(catalog.runner.write(slow))

        async def waits() -> bool:
            locks = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted")
            return bool((await holder.execute(locks)).scalar_one())

        await until(waits, "the early transaction waits")
        await add(catalog, "late")
        page = await catalog.list_events(None, after=None)
        assert [event.data["upload"] for event in page.events] == ["late"]
        await holder.rollback()
    await writing
    gate.release()
    page = await catalog.list_events(None, after=page.cursor)
    assert [event.data["upload"] for event in page.events] == ["early"]


async def test_a_reader_beside_several_writers_sees_each_event_once(catalog: Catalog, url: str) -> None:
    seen: list[OutboxEvent] = []
    over = asyncio.Event()

    async def read() -> None:
        cursor = 0
        while True:
            last = over.is_set()
            page = await catalog.list_events(None, after=cursor)
            seen.extend(page.events)
            cursor = page.cursor
            if last and not page.more:
                return
            await asyncio.sleep(0)

    reading = asyncio.create_task(read())
    try:
        await asyncio.to_thread(processes.run, processes.create_and_delete, url)
    finally:
        over.set()
        await reading
    assert [event.position for event in seen] == list(range(1, len(seen) + 1))
    made = {f"p{number}-{index}" for number in range(processes.PROCESSES) for index in range(40)}
    assert len(seen) == len(made)
    assert {event.data["upload"] for event in seen} == made


async def test_the_event_and_the_change_are_one_transaction(catalog: SqlCatalog) -> None:
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)

    def fails(connection: Connection) -> None:
        commits.complete_commit(connection, "u1", SHA_A, "a1", NOW, generation=0)
        raise StaleGeneration

    with pytest.raises(StaleGeneration):
        await catalog.runner.write(fails)
    assert await told(catalog) == []
    assert await catalog.list_committing() == ["u1"]
