from __future__ import annotations

import random

import pytest

from partwise.core.errors import BadContentRange, ChunkOverlap, NotFound, TooManyChunks, WrongState
from partwise.core.ranges import MAX_SIZE, ByteRange, Gaps
from partwise.core.records import Chunk, TaskState
from partwise.core.state import UploadState
from partwise.engine.ports import Catalog
from tests.contract.catalog.support import (
    NOW,
    SHA_A,
    SHA_B,
    UNLIMITED,
    check_invariants,
    committed,
    covered,
    later,
    make_task,
    make_upload,
    record,
)


async def test_a_chunk_is_recorded_with_the_next_number(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    sent = Chunk(offset=90, size=10, sha256=SHA_A, verified=True, ref="segments/1")
    first = await catalog.record_chunk("u1", sent, now=later(1), max_chunks=9)
    second = await record(catalog, 0, 10, now=later(2))
    assert first == Chunk(offset=90, size=10, sha256=SHA_A, verified=True, ref="segments/1", seq=1)
    assert await catalog.list_chunks("u1") == [second, first]
    upload = await catalog.get_upload("u1")
    assert (upload.seq, upload.received, upload.chunk_count, upload.updated) == (2, 20, 2, later(2))
    # What has a reference is an object, which is durable before it is recorded.
    assert (upload.epoch, upload.durable_seq) == (0, 1)
    await check_invariants(catalog)


@pytest.mark.parametrize(
    "offset, size, hit",
    [
        (20, 10, [(20, 10)]),  # the same
        (22, 2, [(20, 10)]),  # inside
        (0, 100, [(20, 10), (30, 5), (60, 10)]),  # over all
        (29, 1, [(20, 10)]),
        (10, 11, [(20, 10)]),
        (34, 27, [(30, 5), (60, 10)]),
        (20, 11, [(20, 10), (30, 5)]),
    ],
)
async def test_overlaps_are_refused_and_named(
    catalog: Catalog, offset: int, size: int, hit: list[tuple[int, int]]
) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    for known in ((20, 10), (60, 10), (30, 5)):
        await record(catalog, *known)
    before = await catalog.get_upload("u1")
    with pytest.raises(ChunkOverlap) as caught:
        await record(catalog, offset, size, now=later(9))
    assert caught.value.chunks == [ByteRange(*pair) for pair in hit]
    assert caught.value.count == len(hit)
    _, found, count = await catalog.find_chunks("u1", ByteRange(offset, size))
    assert ([(chunk.offset, chunk.size) for chunk in found], count) == (hit, len(hit))
    assert await catalog.get_upload("u1") == before


@pytest.mark.parametrize("offset, size", [(0, 20), (35, 25), (70, 30), (35, 1), (59, 1)])
async def test_neighbours_are_no_overlap(catalog: Catalog, offset: int, size: int) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    for known in ((20, 10), (60, 10), (30, 5)):
        await record(catalog, *known)
    assert await catalog.find_chunks("u1", ByteRange(offset, size)) == (await catalog.get_upload("u1"), [], 0)
    await record(catalog, offset, size)
    await check_invariants(catalog)


async def test_overlap_is_of_one_upload(catalog: Catalog) -> None:
    for upload_id in ("u0", "u1", "u2"):
        await catalog.create_upload(make_upload(upload_id), UNLIMITED)
    await record(catalog, 0, 100, upload_id="u0")
    await record(catalog, 0, 100, upload_id="u2")
    await record(catalog, 50, 10, upload_id="u1")
    assert (await catalog.find_chunks("u1", ByteRange(0, 100)))[2] == 1


async def test_many_overlaps_are_counted_and_the_first_listed(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(size=1000), UNLIMITED)
    for index in range(150):
        await record(catalog, index, 1)
    _, found, count = await catalog.find_chunks("u1", ByteRange(10, 200), limit=7)
    assert ([chunk.offset for chunk in found], count) == (list(range(10, 17)), 140)
    with pytest.raises(ChunkOverlap) as caught:
        await record(catalog, 5, 900)
    assert (len(caught.value.chunks), caught.value.count) == (100, 145)


async def test_nothing_is_recorded_beyond_the_size(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    with pytest.raises(BadContentRange):
        await record(catalog, 91, 10)
    await catalog.create_upload(make_upload("big", size=MAX_SIZE), UNLIMITED)
    await record(catalog, MAX_SIZE - 1, 1, upload_id="big")
    await record(catalog, 0, MAX_SIZE - 1, upload_id="big")
    assert (await catalog.get_upload("big")).received == MAX_SIZE


async def test_the_number_of_chunks_is_limited(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    await record(catalog, 0, 1, max_chunks=2)
    await record(catalog, 1, 1, max_chunks=2)
    with pytest.raises(TooManyChunks):
        await record(catalog, 2, 1, max_chunks=2)
    await record(catalog, 1, 1, max_chunks=2, replace=True)
    await check_invariants(catalog)


async def test_replace_swaps_a_chunk_of_exactly_the_same_range(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    await record(catalog, 0, 40, sha256=SHA_A)
    await catalog.publish_digest("u1", 0, 40, None)
    new = await record(catalog, 0, 40, sha256=SHA_B, replace=True)
    upload = await catalog.get_upload("u1")
    assert (upload.epoch, upload.hashed, upload.digest, upload.seq) == (1, 0, None, 2)
    assert await catalog.list_chunks("u1") == [new]
    for offset, size in ((0, 41), (0, 39), (1, 39)):
        with pytest.raises(ChunkOverlap):
            await record(catalog, offset, size, replace=True)
    # Where there is nothing to replace, it records, and no digest is void.
    await record(catalog, 40, 10, replace=True)
    assert (await catalog.get_upload("u1")).epoch == 1
    await check_invariants(catalog)


async def test_unrecord_makes_a_range_missing_and_voids_the_digest(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.publish_digest("u1", 0, 100, SHA_A)
    assert not await catalog.unrecord_chunk("u1", 39)
    assert (await catalog.get_upload("u1")).epoch == 0
    assert await catalog.unrecord_chunk("u1", 40)
    upload = await catalog.get_upload("u1")
    assert (upload.epoch, upload.hashed, upload.digest, upload.received) == (1, 0, None, 40)
    assert not await catalog.unrecord_chunk("u1", 40)
    await check_invariants(catalog)


async def test_chunks_change_only_while_the_upload_is_open(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    await committed(catalog, "u2", sha256=SHA_B)
    for upload_id in ("u1", "u2"):
        with pytest.raises(WrongState):
            await record(catalog, 0, 40, upload_id=upload_id, replace=True)
        with pytest.raises(WrongState):
            await catalog.unrecord_chunk(upload_id, 0)


async def test_listing_begins_and_ends_where_asked(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    for offset in (30, 10, 0, 20):
        await record(catalog, offset, 10)

    async def offsets(start: int = 0, limit: int | None = None) -> list[int]:
        return [chunk.offset for chunk in await catalog.list_chunks("u1", start=start, limit=limit)]

    assert await offsets() == [0, 10, 20, 30]
    assert await offsets(start=10) == [10, 20, 30]
    assert await offsets(start=11, limit=1) == [20]
    assert await offsets(limit=0) == []


async def test_durable_numbers_only_rise(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.create_upload(make_upload("empty"), UNLIMITED)
    assert [upload.id for upload in await catalog.pending_flush(10)] == ["u1"]
    await catalog.mark_durable("u1", 1)
    assert [upload.id for upload in await catalog.pending_flush(10)] == ["u1"]
    await catalog.mark_durable("u1", 2)
    await catalog.mark_durable("u1", 1)
    assert (await catalog.get_upload("u1")).durable_seq == 2
    assert await catalog.pending_flush(10) == []


async def test_what_is_not_durable_is_unrecorded(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.mark_durable("u1", 1)
    await catalog.publish_digest("u1", 0, 100, SHA_A)
    assert await catalog.unrecord_undurable("u1") == 1
    upload = await catalog.get_upload("u1")
    assert (upload.epoch, upload.hashed, upload.digest) == (1, 0, None)
    assert [chunk.offset for chunk in await catalog.list_chunks("u1")] == [40]
    assert await catalog.unrecord_undurable("u1") == 0
    assert (await catalog.get_upload("u1")).epoch == 1
    await check_invariants(catalog)


async def test_a_commit_that_lost_a_chunk_is_open_again(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    assert await catalog.unrecord_undurable("u1") == 2
    upload = await catalog.get_upload("u1")
    assert (upload.state, upload.expected_sha256) == (UploadState.OPEN, None)
    task = await catalog.get_task("t1")
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert "missing" in task.error
    await check_invariants(catalog)


async def test_a_commit_that_lost_nothing_goes_on(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.mark_durable("u1", 2)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    assert await catalog.unrecord_undurable("u1") == 0
    assert (await catalog.get_upload("u1")).state is UploadState.COMMITTING


async def test_what_became_an_artifact_is_durable(catalog: Catalog) -> None:
    await committed(catalog)
    assert await catalog.unrecord_undurable("u1") == 0
    assert await catalog.new_boot("boot") == 0
    assert len(await catalog.list_chunks("u1")) == 2


async def test_a_new_boot_unrecords_once_in_every_upload(catalog: Catalog) -> None:
    assert await catalog.new_boot("boot 1") == 0
    await covered(catalog, "u1")
    await covered(catalog, "u2")
    await catalog.mark_durable("u2", 1)
    assert await catalog.new_boot("boot 1") == 0
    assert await catalog.new_boot("boot 2") == 3
    assert await catalog.new_boot("boot 2") == 0
    for upload_id, count in (("u1", 0), ("u2", 1)):
        assert (await catalog.get_upload(upload_id)).chunk_count == count
        await check_invariants(catalog, upload_id)


async def test_distrust_unrecords_within_a_boot(catalog: Catalog) -> None:
    await catalog.new_boot("boot 1")
    await covered(catalog)
    assert await catalog.new_boot("boot 1", distrust=True) == 2


async def test_random_steps_keep_the_rows_right(catalog: Catalog) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    await catalog.create_upload(make_upload(size=60), UNLIMITED)
    model: dict[int, int] = {}
    for _ in range(400):
        offset = dice.randrange(60)
        size = dice.randint(1, min(8, 60 - offset))
        hit = {(o, s) for o, s in model.items() if o < offset + size and offset < o + s}
        if dice.random() < 0.3:
            assert await catalog.unrecord_chunk("u1", offset) == (model.pop(offset, None) is not None)
            continue
        replace = dice.random() < 0.5
        if hit and not (replace and hit == {(offset, size)}):
            with pytest.raises(ChunkOverlap) as caught:
                await record(catalog, offset, size, replace=replace)
            assert {(span.offset, span.size) for span in caught.value.chunks} == hit
        else:
            await record(catalog, offset, size, replace=replace)
            model[offset] = size
    assert {chunk.offset: chunk.size for chunk in await catalog.list_chunks("u1")} == model
    await check_invariants(catalog)


@pytest.mark.parametrize(
    "recorded", [(), (0,), (99,), (0, 99), (10, 11, 13), tuple(range(1, 100, 2)), tuple(range(0, 100, 2))]
)
async def test_gaps_are_those_that_chunks_leave(catalog: Catalog, recorded: tuple[int, ...]) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    for offset in recorded:
        await record(catalog, offset, 1)
    expected = Gaps(3)
    for offset in recorded:
        expected.pass_by(ByteRange(offset, 1))
    expected.end_at(100)
    found = await catalog.find_gaps("u1", 3)
    assert (found.first, found.count) == (expected.first, expected.count)


async def test_gaps_of_a_size_not_known_yet_and_of_what_is_no_upload(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(size=None), UNLIMITED)
    await record(catalog, 5, 5)
    await record(catalog, 20, 5)
    assert (await catalog.find_gaps("u1")).first == [ByteRange(0, 5), ByteRange(10, 10)]
    with pytest.raises(NotFound):
        await catalog.find_gaps("u2")
    await catalog.begin_delete("u1")
    assert (await catalog.find_gaps("u1")).count == 0
