from __future__ import annotations

from dataclasses import replace

import pytest

from partwise.core.errors import NotFound
from partwise.core.records import TaskState
from partwise.core.state import UploadState
from partwise.engine.ports import Catalog
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
    record,
)


async def expire(catalog: Catalog, upload_id: str, *, after: float) -> bool:
    return await catalog.expire_upload(upload_id, open_before=later(after), completed_before=later(after))


async def test_only_what_is_idle_at_that_moment_expires(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    assert not await expire(catalog, "u1", after=0)
    await record(catalog, 0, 10, now=later(10))
    assert not await expire(catalog, "u1", after=10)
    await catalog.touch("u1", later(20))
    assert not await expire(catalog, "u1", after=20)
    assert (await catalog.get_upload("u1")).state is UploadState.OPEN
    assert await expire(catalog, "u1", after=21)
    assert (await catalog.get_upload("u1")).state is UploadState.DELETING
    # Its deletion was begun, so it is to be ended; until it is gone.
    assert await expire(catalog, "u1", after=0)
    await catalog.finish_delete("u1")
    assert not await expire(catalog, "u1", after=99)


async def test_a_commit_that_runs_does_not_expire(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    assert not await expire(catalog, "u1", after=99)


async def test_a_completed_upload_expires_by_its_own_time(catalog: Catalog) -> None:
    await committed(catalog, now=later(10))
    assert not await catalog.expire_upload("u1", open_before=later(99), completed_before=later(10))
    assert await catalog.expire_upload("u1", open_before=later(0), completed_before=later(11))


async def test_a_touch_changes_open_uploads_alone(catalog: Catalog) -> None:
    await catalog.touch("gone", NOW)
    await committed(catalog)
    before = await catalog.get_upload("u1")
    await catalog.touch("u1", later(50))
    assert await catalog.get_upload("u1") == before


async def test_old_tasks_are_forgotten_but_not_those_that_answer_for_an_upload(catalog: Catalog) -> None:
    await committed(catalog, "kept", artifact_id="a1", now=later(1))
    await committed(catalog, "gone", sha256=SHA_B, artifact_id="a2", now=later(1))
    await covered(catalog, "open")
    await catalog.begin_commit("open", SHA_A, make_task("failed", "open"), NOW)
    await catalog.reject_commit("open", "no", later(1))
    await catalog.begin_commit("open", SHA_A, make_task("running", "open"), NOW)
    await catalog.begin_delete("gone")
    await catalog.finish_delete("gone")

    assert await catalog.count_old_tasks(later(1), gone_before=later(1)) == 0
    assert await catalog.prune_tasks(later(1), 10, gone_before=later(1)) == 0
    assert await catalog.count_old_tasks(later(2), gone_before=later(2)) == 2
    assert await catalog.prune_tasks(later(2), 1, gone_before=later(2)) == 1
    assert await catalog.prune_tasks(later(2), 10, gone_before=later(2)) == 1
    left = {task.id: task.state for task in (await catalog.list_tasks(None)).items}
    assert left == {"t-kept": TaskState.COMPLETED, "running": TaskState.RUNNING}
    with pytest.raises(NotFound):
        await catalog.get_task("t-gone")


async def test_tasks_of_uploads_that_are_gone_go_sooner(catalog: Catalog) -> None:
    await committed(catalog, now=later(10))
    [task] = (await catalog.list_tasks("ann")).items
    assert await catalog.count_old_tasks(later(0), gone_before=later(99)) == 0
    await catalog.begin_delete("u1")
    await catalog.finish_delete("u1")
    assert await catalog.count_old_tasks(later(0), gone_before=later(10)) == 0
    assert await catalog.prune_tasks(later(0), 10, gone_before=later(11)) == 1
    with pytest.raises(NotFound):
        await catalog.get_task(task.id)


async def test_of_failed_commits_only_the_last_few_are_kept(catalog: Catalog) -> None:
    await covered(catalog)
    for number in range(15):
        await catalog.begin_commit("u1", SHA_B, make_task(f"t{number:02}", created=later(number)), NOW)
        await catalog.reject_commit("u1", "no", later(number))
    kept = [task.id for task in (await catalog.list_tasks("ann")).items]
    assert kept == [f"t{number:02}" for number in range(14, 3, -1)]


async def test_completed_uploads_beyond_those_that_are_kept(catalog: Catalog) -> None:
    for number in range(4):
        upload = replace(make_upload(f"a{number}", state=UploadState.COMPLETED), completed=later(number))
        await catalog.create_upload(upload, UNLIMITED)
    await catalog.create_upload(make_upload("open"), UNLIMITED)
    other = replace(make_upload("b", owner="bob", state=UploadState.COMPLETED), completed=NOW)
    await catalog.create_upload(other, UNLIMITED)
    assert await catalog.surplus_uploads(4, 100) == []
    assert await catalog.surplus_uploads(1, 100) == ["a2", "a1", "a0"]
    assert await catalog.surplus_uploads(1, 2) == ["a2", "a1"]
