"""Staging files: reserved, written, read, resized, discarded; and who sees them."""

from __future__ import annotations

import asyncio
import os

import pytest

from partwise.core.errors import NotFound, OutOfSpace, StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk
from partwise.engine.ports import BLOCK, Purpose, Storage
from tests.contract.storage.support import ID, put, staged, stored


async def test_bytes_come_back_in_any_order_of_writing(storage: Storage) -> None:
    content = os.urandom(3 * BLOCK + 5)
    async with staged(storage, size=len(content)) as upload_id:
        for start in (2 * BLOCK, 0, BLOCK):
            await put(storage, upload_id, start, content[start : start + BLOCK])
        await put(storage, upload_id, 3 * BLOCK, content[3 * BLOCK :])
        assert await stored(storage, upload_id, 0, len(content)) == content
        assert await stored(storage, upload_id, BLOCK - 3, 7) == content[BLOCK - 3 : BLOCK + 4]


async def test_blocks_are_never_larger_than_promised(storage: Storage) -> None:
    async with staged(storage, size=3 * BLOCK) as upload_id:
        sizes: list[int] = []
        chunk = Chunk(offset=0, size=3 * BLOCK)
        await asyncio.to_thread(
            storage.read_staged, upload_id, chunk, ByteRange(1, 2 * BLOCK), lambda block: sizes.append(len(block))
        )
        assert sum(sizes) == 2 * BLOCK
        assert max(sizes) <= BLOCK


async def test_a_part_of_a_chunk_is_rewritten_alone(storage: Storage) -> None:
    async with staged(storage, b"aaaaaaaaa") as upload_id:
        await put(storage, upload_id, 3, b"bbb")
        assert await stored(storage, upload_id, 0, 9) == b"aaabbbaaa"


async def test_a_file_of_no_bytes(storage: Storage) -> None:
    async with staged(storage, size=0) as upload_id:
        await storage.flush(upload_id)
        assert list(storage.list_staged()) == [upload_id]


async def test_a_file_in_creation_is_not_listed(storage: Storage) -> None:
    lock = await storage.reserve(ID, 10)
    assert list(storage.list_staged()) == []
    lock.release()
    lock.release()
    assert list(storage.list_staged()) == [ID]
    await storage.discard(ID)


async def test_an_id_is_taken_once(storage: Storage) -> None:
    async with staged(storage, b"kept") as upload_id:
        with pytest.raises(StorageFailed):
            await storage.reserve(upload_id, 10)
        assert await stored(storage, upload_id, 0, 4) == b"kept"


@pytest.mark.parametrize("size", [1 << 50, 2**61, 2**62 - 1])
async def test_more_than_there_is_room_for_is_refused_before_any_is_taken(storage: Storage, size: int) -> None:
    before = await storage.space()
    with pytest.raises(OutOfSpace):
        await storage.reserve(ID, size)
    assert list(storage.list_staged()) == []
    async with staged(storage, b"kept") as upload_id:
        with pytest.raises(OutOfSpace):
            await storage.resize(upload_id, size)
        assert await stored(storage, upload_id, 0, 4) == b"kept"
    after = await storage.space()
    assert after.available > before.available - (1 << 30)


async def test_resizing_keeps_what_stays(storage: Storage) -> None:
    async with staged(storage, b"0123456789") as upload_id:
        await storage.resize(upload_id, 20)
        assert await stored(storage, upload_id, 0, 20) == b"0123456789" + bytes(10)
        await storage.resize(upload_id, 4)
        assert await stored(storage, upload_id, 0, 4) == b"0123"
        with pytest.raises(StorageFailed):
            await stored(storage, upload_id, 0, 5)


async def test_a_discarded_upload_is_not_found(storage: Storage) -> None:
    async with staged(storage, b"0123456789") as upload_id:
        await storage.discard(upload_id)
        with pytest.raises(NotFound):
            await storage.claim(upload_id, ByteRange(0, 1))
        with pytest.raises(NotFound):
            await storage.flush(upload_id)
        with pytest.raises(NotFound):
            await storage.resize(upload_id, 3)
        with pytest.raises(NotFound):
            await stored(storage, upload_id, 0, 1)
        await storage.discard(upload_id)


async def test_writers_of_a_discarded_upload_write_into_nothing(storage: Storage) -> None:
    async with staged(storage, size=10) as upload_id:
        writer = await storage.claim(upload_id, ByteRange(0, 10))
        await storage.discard(upload_id)
        await asyncio.to_thread(writer.write, 0, memoryview(b"lost"))
        (await storage.reserve(upload_id, 10)).release()
        assert await stored(storage, upload_id, 0, 10) == bytes(10)
        writer.close()


@pytest.mark.parametrize("purpose", list(Purpose))
async def test_each_purpose_has_one_holder_for_each_upload(storage: Storage, purpose: Purpose) -> None:
    lock = await storage.try_lock(ID, purpose)
    assert lock is not None
    assert await storage.try_lock(ID, purpose) is None
    others = [await storage.try_lock(ID, other) for other in Purpose if other is not purpose]
    others.append(await storage.try_lock("ab", purpose))
    for other in others:
        assert other is not None
        other.release()
    lock.release()
    again = await storage.try_lock(ID, purpose)
    assert again is not None
    lock.release()
    assert await storage.try_lock(ID, purpose) is None
    again.release()


async def test_room_shrinks_by_what_is_reserved(storage: Storage) -> None:
    size = 64 << 20
    before = await storage.space()
    assert 0 < before.available <= before.free <= before.total
    async with staged(storage, size=size):
        within = await storage.space()
    # Others use the same disk while this runs.
    assert before.available - within.available > size // 2
