"""What expires, what keeps it, and what a check finds and repairs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from partwise.catalog import open_catalog
from partwise.core.errors import NotFound
from partwise.core.ranges import ByteRange
from partwise.core.records import Task, Upload
from partwise.engine import check, uploads
from partwise.engine.chunks import put_chunk
from partwise.engine.commit import commit
from partwise.engine.context import Limits
from partwise.engine.engine import Engine
from partwise.engine.expiry import Grace, TaskSweep, expire, expired, prune_tasks, trim
from partwise.storage.local import LocalStorage
from tests.support.bodies import BytesBody, sha256
from tests.support.folders import make_data_folder
from tests.support.records import new_records
from tests.unit.engine.conftest import ALICE, Clock

DATA = b"0123456789" * 10


@pytest.fixture
async def local(tmp_path: Path, clock: Clock) -> AsyncIterator[Engine]:
    """An engine whose rounds do not run."""
    url = new_records(tmp_path / "catalog.db")
    engine = Engine(LocalStorage(make_data_folder(tmp_path / "data")), open_catalog(url), clock=clock)
    await engine.open()
    yield engine
    await engine.stop()


async def put_all(engine: Engine) -> Task:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    await put_chunk(engine, ALICE, upload.id, ByteRange(0, len(DATA)), BytesBody(DATA))
    return await commit(engine, ALICE, upload.id, sha256(DATA), wait=10)


async def findings(engine: Engine) -> list[tuple[str, str]]:
    found = [finding async for finding in check.find_orphans(engine)]
    found += [damage async for _, damage in check.find_damage(engine) if damage is not None]
    return [(finding.kind, finding.name) for finding in found]


async def test_a_chunk_recorded_after_the_look_keeps_its_upload(local: Engine, clock: Clock) -> None:
    upload = await uploads.create_upload(local, ALICE, size=100)
    clock.move(days=8)
    (found,) = await expired(local)
    assert found.id == upload.id
    await put_chunk(local, ALICE, upload.id, ByteRange(0, 10), BytesBody(DATA[:10]))
    assert await expire(local) == []


async def test_a_chunk_recorded_between_the_look_and_the_end_keeps_its_upload(
    local: Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await uploads.create_upload(local, ALICE, size=100)
    clock.move(days=8)
    found = await expired(local)
    await put_chunk(local, ALICE, upload.id, ByteRange(0, 10), BytesBody(DATA[:10]))

    async def as_before(*_: object, **__: object) -> list[Upload]:
        return found

    monkeypatch.setattr(local.catalog, "idle_uploads", as_before)
    assert await expire(local) == []
    assert (await uploads.get_upload(local, ALICE, upload.id)).received == 10


async def test_a_slow_chunk_keeps_its_upload(local: Engine, clock: Clock) -> None:
    local.limits = Limits(idle_expiry=timedelta(seconds=0.2))
    upload = await uploads.create_upload(local, ALICE, size=len(DATA))
    gate = asyncio.Event()
    body = BytesBody(DATA, block=10, before_block=lambda number: gate if number == 5 else None)
    writer = asyncio.create_task(put_chunk(local, ALICE, upload.id, ByteRange(0, len(DATA)), body))
    await body.started.wait()
    clock.move(seconds=10)
    before = clock.now
    async with asyncio.timeout(10):
        while (await local.catalog.get_upload(upload.id)).updated < before:
            await asyncio.sleep(0.01)
    assert await expire(local) == []
    gate.set()
    await writer
    clock.move(seconds=10)
    assert await expire(local) == [upload.id]


async def test_what_went_by_a_limit_is_told(local: Engine, clock: Clock) -> None:
    told: list[str] = []
    local.limited = lambda setting, count: told.extend([setting] * count)
    await put_all(local)
    await uploads.create_upload(local, ALICE, size=0)
    given_up = await uploads.create_upload(local, ALICE, size=0)
    await local.catalog.begin_delete(given_up.id)  # a crash came between
    clock.move(days=8)
    await expire(local)
    assert sorted(told) == ["completed_expiry_days", "idle_expiry_days"]
    told.clear()
    local.limits = Limits(max_completed_uploads=1)
    await put_all(local)
    await put_all(local)
    await trim(local)
    assert told == ["max_completed_uploads"]


async def test_more_than_a_batch_expires_in_one_round(local: Engine, clock: Clock) -> None:
    ids = {(await uploads.create_upload(local, ALICE, size=0)).id for _ in range(105)}
    clock.move(days=8)
    assert set(await expire(local)) == ids


async def test_tasks_go_after_their_uploads(local: Engine, clock: Clock) -> None:
    task = await put_all(local)
    clock.move(days=8)
    assert await prune_tasks(local) == 0
    await expire(local)
    assert await prune_tasks(local, dry_run=True) == 1
    assert await prune_tasks(local) == 1
    with pytest.raises(NotFound):
        await local.catalog.get_task(task.id)


async def test_completed_uploads_beyond_the_limit_leave_the_list(local: Engine, clock: Clock) -> None:
    local.limits = Limits(max_completed_uploads=2)
    done = []
    for _ in range(4):
        clock.move(seconds=1)
        done.append((await put_all(local)).upload_id)
    assert set(await trim(local)) == set(done[:2])
    kept = await uploads.list_uploads(local, ALICE)
    assert [upload.id for upload in kept.items] == [done[3], done[2]]
    assert await trim(local) == []
    assert (await local.storage.verify_artifact(sha256(DATA))) is True


class Time:
    """Time as it passes, while the clock shows what it shows."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_nothing_expires_right_after_a_start_or_a_leap_of_the_clock(local: Engine, clock: Clock) -> None:
    time = Time()
    grace = Grace(local, time)

    def passes(seconds: float) -> None:
        clock.move(seconds=seconds)
        time.now += seconds

    assert not grace.is_over()
    passes(3599)
    assert not grace.is_over()
    passes(2)
    assert grace.is_over()
    clock.move(days=9)  # the machine slept, or its clock was wrong
    assert not grace.is_over()
    passes(1800)
    assert not grace.is_over()
    clock.move(days=-9)  # and back
    passes(1801)
    assert grace.is_over()
    clock.move(seconds=30)  # a clock that is set right
    assert grace.is_over()


async def test_the_time_to_come_back_is_no_longer_than_uploads_live(local: Engine, clock: Clock) -> None:
    local.limits = Limits(idle_expiry=timedelta(seconds=2))
    time = Time()
    grace = Grace(local, time)
    assert not grace.is_over()
    clock.move(seconds=2)
    time.now += 2
    assert grace.is_over()


async def test_all_is_well(local: Engine) -> None:
    await put_all(local)
    await uploads.create_upload(local, ALICE, size=10)
    assert await findings(local) == []


async def test_orphans_are_found_and_removed_when_told(local: Engine, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "staging" / "0000").write_bytes(b"x")
    unrecorded = "ab" * 32
    (data / "artifacts" / unrecorded[:2] / unrecorded[2:]).write_bytes(b"x")
    upload = await uploads.create_upload(local, ALICE, size=10)
    (data / "staging" / upload.id).unlink()
    expected = [
        (check.Kind.LEFTOVER, "0000"),
        (check.Kind.UNRECORDED, unrecorded),
        (check.Kind.UNBACKED, upload.id),
    ]
    assert await findings(local) == expected
    assert await findings(local) == expected  # looking removed nothing
    for kind, name in expected:
        assert await check.repair(local, check.Finding(check.Kind(kind), name))
    assert await findings(local) == []
    assert (await uploads.list_uploads(local, ALICE)).count == 0


async def test_what_is_no_orphan_is_not_removed(local: Engine) -> None:
    await put_all(local)
    upload = await uploads.create_upload(local, ALICE, size=10)
    for kind, name in (
        (check.Kind.LEFTOVER, upload.id),
        (check.Kind.UNBACKED, upload.id),
        (check.Kind.UNRECORDED, sha256(DATA)),
    ):
        assert not await check.repair(local, check.Finding(kind, name))
    with pytest.raises(ValueError, match="not an orphan"):
        await check.repair(local, check.Finding(check.Kind.DAMAGED, sha256(DATA)))
    assert not await check.drop_damaged(local, sha256(DATA))
    assert await findings(local) == []


async def test_damage_is_found_and_heals_by_uploading_again(local: Engine) -> None:
    await put_all(local)
    assert isinstance(local.storage, LocalStorage)
    path = Path(local.storage.artifact_path(sha256(DATA)))
    path.chmod(0o600)
    path.write_bytes(DATA[:-1] + b"?")
    assert await findings(local) == [(check.Kind.DAMAGED, sha256(DATA))]
    assert await check.drop_damaged(local, sha256(DATA))
    assert await findings(local) == [(check.Kind.LOST, sha256(DATA))]
    await put_all(local)
    assert await findings(local) == []
    assert path.read_bytes() == DATA


async def test_tasks_are_looked_at_a_part_at_a_time(local: Engine, clock: Clock) -> None:
    tasks = [await put_all(local) for _ in range(5)]
    clock.move(days=8)
    sweep = TaskSweep(local, batch=2)
    assert [await sweep.step() for _ in range(4)] == [0] * 4  # their uploads are in the list
    await expire(local)
    swept = 0
    for _ in range(4):
        swept += await sweep.step()
    assert swept == len(tasks)
    assert (await local.catalog.list_tasks(None)).items == []
