"""Several processes and many tasks at once on one catalog: one of them wins, and the records say so."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from partwise.catalog import SqlCatalog, open_catalog
from partwise.core.errors import IncompleteUpload, PartwiseError, WrongState
from partwise.core.state import UploadState
from partwise.engine.ports import Catalog, OwnerLimits
from tests.contract.catalog import processes
from tests.contract.catalog.support import (
    NOW,
    SHA_A,
    UNLIMITED,
    check_invariants,
    covered,
    make_task,
    make_upload,
    record,
)


async def in_processes(work: processes.Work, url: str) -> Counter[str]:
    """What all processes together counted."""
    return sum(await asyncio.to_thread(processes.run, work, url), Counter())


async def test_processes_record_chunks_of_one_upload_at_once(catalog: Catalog, url: str) -> None:
    await catalog.create_upload(make_upload(size=1000), UNLIMITED)
    assert await in_processes(processes.record_own, url) == {"done": 1000}
    upload = await catalog.get_upload("u1")
    assert (upload.received, upload.seq) == (1000, 1000)
    await check_invariants(catalog)


async def test_the_same_range_from_many_leaves_one_row(catalog: Catalog, url: str) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    assert await in_processes(processes.record_same, url) == {"done": 50, "ChunkOverlap": 150}
    assert (await catalog.get_upload("u1")).received == 100
    await check_invariants(catalog)


async def test_replacements_from_many_leave_one_row(catalog: Catalog, url: str) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    assert await in_processes(processes.replace_same, url) == {"done": 200}
    upload = await catalog.get_upload("u1")
    assert (upload.chunk_count, upload.seq, upload.epoch) == (2, 200, 198)
    await check_invariants(catalog)


async def test_creates_from_many_do_not_outrun_the_quota(catalog: Catalog, url: str) -> None:
    assert await in_processes(processes.create, url) == {"done": 10, "QuotaExceeded": 70}
    assert (await catalog.usage("ann")).reserved == 1000


async def test_one_commit_begins_and_the_others_join_it(catalog: Catalog, url: str) -> None:
    await covered(catalog)
    assert list((await in_processes(processes.begin_commit, url)).values()) == [40]
    assert (await catalog.list_tasks("ann")).count == 1


async def test_no_commit_passes_with_a_chunk_missing(catalog: Catalog, url: str) -> None:
    for index in range(50):
        await covered(catalog, f"u{index}")
    counted = await in_processes(processes.commit_or_unrecord, url)
    assert counted["done"] + counted["WrongState"] + counted["IncompleteUpload"] == 200
    for index in range(50):
        upload = await catalog.get_upload(f"u{index}")
        if upload.state is UploadState.COMMITTING:
            assert (upload.received, upload.epoch) == (100, 0)
        else:
            assert (upload.received, upload.epoch) == (40, 1)
        await check_invariants(catalog, f"u{index}")


async def test_a_new_boot_is_noticed_once(catalog: Catalog, url: str) -> None:
    await covered(catalog)
    assert await in_processes(processes.new_boot, url) == {"unrecorded": 2}


async def test_tasks_of_one_process_race_like_processes(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    results = await asyncio.gather(*[record(catalog, 0, 100) for _ in range(100)], return_exceptions=True)
    assert Counter(type(result).__name__ for result in results) == {"Chunk": 1, "ChunkOverlap": 99}
    limits = OwnerLimits(open_uploads=10)
    made = await asyncio.gather(
        *[catalog.create_upload(make_upload(f"x{index}"), limits) for index in range(50)], return_exceptions=True
    )
    assert made.count(None) == 9
    await check_invariants(catalog)


async def test_a_record_meets_a_commit(catalog: Catalog) -> None:
    """Whichever comes first, the other is refused or counted in."""
    for index in range(30):
        upload_id = f"u{index}"
        await catalog.create_upload(make_upload(upload_id), UNLIMITED)
        await record(catalog, 0, 99, upload_id=upload_id)
        calls = [
            catalog.begin_commit(upload_id, SHA_A, make_task(f"t{index}", upload_id), NOW),
            record(catalog, 99, 1, upload_id=upload_id),
        ]
        if index % 2:
            calls.reverse()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        errors = [error for error in outcomes if isinstance(error, PartwiseError)]
        assert all(isinstance(error, IncompleteUpload) for error in errors)
        committing = (await catalog.get_upload(upload_id)).state is UploadState.COMMITTING
        assert committing is not bool(errors)
        if committing:
            with pytest.raises(WrongState):
                await record(catalog, 99, 1, upload_id=upload_id, replace=True)
        await check_invariants(catalog, upload_id)


async def test_records_are_there_for_who_comes_later(catalog: SqlCatalog, url: str) -> None:
    await covered(catalog)
    before = await catalog.get_upload("u1"), await catalog.list_chunks("u1")
    await catalog.stop()
    reopened = open_catalog(url)
    await reopened.start()
    assert (await reopened.get_upload("u1"), await reopened.list_chunks("u1")) == before
    await reopened.stop()
