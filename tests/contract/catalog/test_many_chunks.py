"""An upload of 50,000 chunks of 1,048,575 bytes, as Katello sends a large image: all that becomes of its records."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, insert

from partwise.catalog import SqlCatalog
from partwise.catalog.tables import chunks
from partwise.catalog.uploads import change_upload, lock_upload
from partwise.core.errors import ChunkOverlap, IncompleteUpload
from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk, Segment
from tests.contract.catalog.support import NOW, SHA_A, UNLIMITED, check_invariants, later, make_task, make_upload

CHUNK, COUNT = 1_048_575, 50_000
SIZE = CHUNK * COUNT
#: Comes last.
GAP = 31_337


def _record_all_but_one(connection: Connection) -> None:
    """What tens of thousands of calls would take minutes for."""
    rows = [
        {
            "upload_id": "u1",
            "offset": number * CHUNK,
            "size": CHUNK,
            "verified": False,
            "ref": f"chunks/u1/{number:x}",
            "seq": number + 1,
        }
        for number in range(COUNT)
        if number != GAP
    ]
    connection.execute(insert(chunks), rows)
    upload = lock_upload(connection, "u1")
    change_upload(connection, upload, seq=COUNT, durable_seq=COUNT, received=SIZE - CHUNK, chunk_count=COUNT - 1)


async def test_fifty_thousand_chunks(catalog: SqlCatalog) -> None:
    await catalog.create_upload(make_upload(size=SIZE), UNLIMITED)
    await catalog.runner.write(_record_all_but_one)
    await check_invariants(catalog)
    missing = ByteRange(GAP * CHUNK, CHUNK)

    with pytest.raises(IncompleteUpload) as incomplete:
        await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    assert (incomplete.value.missing, incomplete.value.count) == ([missing], 1)
    gaps = await catalog.find_gaps("u1")
    assert (gaps.first, gaps.count) == ([missing], 1)
    with pytest.raises(ChunkOverlap) as overlap:
        await _record(catalog, ByteRange(missing.offset - 1, SIZE - missing.offset))
    assert overlap.value.count == COUNT - GAP
    _, found, count = await catalog.find_chunks("u1", ByteRange(SIZE // 2, 10))
    assert (count, found[0].offset) == (1, SIZE // 2)
    await _record(catalog, missing)
    assert (await catalog.find_gaps("u1")).count == 0
    assert [chunk.offset for chunk in await catalog.list_chunks("u1", start=missing.offset, limit=2)] == [
        missing.offset,
        missing.end,
    ]

    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    await catalog.complete_commit("u1", SHA_A, "a1", NOW, generation=0)
    assert await catalog.scattered_artifacts(average=CHUNK + 1, limit=10) == [SHA_A]
    (middle,) = await catalog.list_segments(SHA_A, start=missing.offset + 5, limit=1)
    assert middle == Segment(offset=missing.offset, size=CHUNK, ref="last")
    segments = await catalog.list_segments(SHA_A, limit=COUNT + 1)
    assert sum(segment.size for segment in segments) == SIZE

    refs = [segment.ref for segment in segments]
    whole = Segment(offset=0, size=SIZE, ref="artifacts/whole")
    assert await catalog.replace_segments(SHA_A, refs, whole, NOW)
    assert await catalog.list_segments(SHA_A) == [whole]
    assert await catalog.scattered_artifacts(average=SIZE, limit=10) == []
    await _delete_garbage(catalog, set(refs))

    await catalog.begin_delete("u1")
    await catalog.finish_delete("u1")
    assert await catalog.unlink_artifact("a1")
    # The chunks' objects are named once more, and deleted once more, which changes nothing.
    await _delete_garbage(catalog, {*refs, whole.ref})


async def _record(catalog: SqlCatalog, span: ByteRange) -> None:
    chunk = Chunk(offset=span.offset, size=span.size, ref="last")
    await catalog.record_chunk("u1", chunk, now=NOW, max_chunks=100_000)


async def _delete_garbage(catalog: SqlCatalog, expected: set[str]) -> None:
    deleted: set[str] = set()
    while refs := await catalog.list_garbage(later(10**9), 1000):
        await catalog.forget_garbage(refs)
        deleted.update(refs)
    assert deleted == expected
