"""Claims: one writer for each byte at a time, and of those who want it the newest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from partwise.core.errors import NotFound, RangeBusy, Superseded
from partwise.core.ranges import ByteRange
from partwise.engine.ports import ChunkWriter, Storage
from tests.contract.storage.conftest import PATIENCE
from tests.contract.storage.support import staged, stored
from tests.support.until import until

WHOLE = ByteRange(0, 100)


@pytest.fixture
async def upload_id(storage: Storage) -> AsyncIterator[str]:
    async with staged(storage, size=100) as upload_id:
        yield upload_id


async def leave_when_asked(writer: ChunkWriter) -> None:
    await writer.superseded()
    writer.close()


async def something_else_is_heard(storage: Storage, upload_id: str, offset: int = 1_000_000) -> None:
    """A writer elsewhere in the file is asked to leave, and has heard that: so is everything before it."""
    writer = await storage.claim(upload_id, ByteRange(offset, 1))
    leaving = asyncio.create_task(leave_when_asked(writer))
    (await storage.claim(upload_id, ByteRange(offset, 1))).close()
    await leaving


async def test_ranges_that_do_not_overlap_are_claimed_at_once(storage: Storage, upload_id: str) -> None:
    writers = [await storage.claim(upload_id, ByteRange(start, 10)) for start in range(0, 100, 10)]
    asked = [asyncio.ensure_future(writer.superseded()) for writer in writers]
    # Whatever asked the others would have been heard before this.
    leaving = asyncio.create_task(leave_when_asked(writers[3]))
    newcomer = await storage.claim(upload_id, ByteRange(30, 10))
    await leaving
    await asked[3]
    assert [future.done() for future in asked] == [number == 3 for number in range(10)]
    newcomer.close()
    for future, writer in zip(asked, writers, strict=True):
        future.cancel()
        writer.close()


@pytest.mark.parametrize("span", [WHOLE, ByteRange(0, 1), ByteRange(99, 1), ByteRange(40, 20)], ids=str)
async def test_the_holder_is_asked_to_leave_and_the_newcomer_follows(
    storage: Storage, upload_id: str, span: ByteRange
) -> None:
    holder = await storage.claim(upload_id, WHOLE)
    leaving = asyncio.create_task(leave_when_asked(holder))
    newcomer = await storage.claim(upload_id, span)
    await leaving
    await asyncio.to_thread(newcomer.write, span.offset, memoryview(b"n"))
    newcomer.close()
    assert await stored(storage, upload_id, span.offset, 1) == b"n"


async def test_all_holders_of_parts_are_asked(storage: Storage, upload_id: str) -> None:
    holders = [await storage.claim(upload_id, ByteRange(start, 10)) for start in range(0, 100, 10)]
    leaving = [asyncio.create_task(leave_when_asked(holder)) for holder in holders]
    newcomer = await storage.claim(upload_id, ByteRange(15, 20))
    assert [task.done() for task in leaving] == [False, True, True, True] + [False] * 6
    newcomer.close()
    for task, holder in zip(leaving, holders, strict=True):
        task.cancel()
        holder.close()


async def test_a_holder_that_stays_makes_the_range_busy(storage: Storage, upload_id: str) -> None:
    holder = await storage.claim(upload_id, WHOLE)
    clock = asyncio.get_running_loop().time
    begun = clock()
    with pytest.raises(RangeBusy) as caught:
        await storage.claim(upload_id, ByteRange(10, 5))
    assert PATIENCE <= clock() - begun < PATIENCE + 5
    assert caught.value.chunk == ByteRange(10, 5)
    assert caught.value.retry_after == 1
    holder.close()
    (await storage.claim(upload_id, WHOLE)).close()


async def test_of_many_newcomers_the_newest_wins(storage: Storage, upload_id: str) -> None:
    holder = await storage.claim(upload_id, WHOLE)
    newcomers = [asyncio.create_task(storage.claim(upload_id, WHOLE))]
    await holder.superseded()
    for _ in range(4):
        newcomers.append(asyncio.create_task(storage.claim(upload_id, WHOLE)))
        await until(newcomers[-2].done, "the older newcomer leaves for the newer one")
    holder.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*newcomers, return_exceptions=True), 10)
    assert all(isinstance(outcome, Superseded) for outcome in outcomes[:-1]), outcomes
    newest = outcomes[-1]
    assert not isinstance(newest, BaseException)
    newest.close()


async def test_twins_that_leave_when_asked_all_come_to_an_end(storage: Storage, upload_id: str) -> None:
    inside = most = 0

    async def write_slowly() -> bool:
        nonlocal inside, most
        try:
            writer = await storage.claim(upload_id, WHOLE)
        except (Superseded, RangeBusy):
            return False
        inside += 1
        most = max(most, inside)
        asked = asyncio.ensure_future(writer.superseded())
        await asyncio.wait({asked}, timeout=0.03)
        inside -= 1
        writer.close()
        return not asked.cancel()

    await asyncio.wait_for(asyncio.gather(*(write_slowly() for _ in range(20))), 20)
    assert most == 1
    (await storage.claim(upload_id, WHOLE)).close()


async def test_a_cancelled_newcomer_leaves_nothing_behind(storage: Storage, upload_id: str) -> None:
    holder = await storage.claim(upload_id, WHOLE)
    newcomer = asyncio.create_task(storage.claim(upload_id, WHOLE))
    await asyncio.wait_for(holder.superseded(), 5)
    newcomer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await newcomer
    holder.close()
    again = await storage.claim(upload_id, WHOLE)
    asked = asyncio.ensure_future(again.superseded())
    await something_else_is_heard(storage, upload_id)
    assert not asked.done()
    asked.cancel()
    again.close()


async def test_a_closed_writer_reads_and_writes_no_more(storage: Storage, upload_id: str) -> None:
    writer = await storage.claim(upload_id, WHOLE)
    writer.close()
    writer.close()
    with pytest.raises(Superseded):
        writer.write(0, memoryview(b"x"))
    with pytest.raises(Superseded):
        writer.read(0, 1)
    assert await stored(storage, upload_id, 0, 1) == b"\0"


@pytest.mark.parametrize("offset", [9, 19])
async def test_a_writer_stays_within_its_claim(storage: Storage, upload_id: str, offset: int) -> None:
    writer = await storage.claim(upload_id, ByteRange(10, 10))
    with pytest.raises(ValueError, match="claimed"):
        writer.write(offset, memoryview(b"xx"))
    with pytest.raises(ValueError, match="claimed"):
        writer.read(offset, 2)
    writer.close()


async def test_a_writer_reads_what_is_stored(storage: Storage, upload_id: str) -> None:
    writer = await storage.claim(upload_id, ByteRange(10, 10))
    writer.write(12, memoryview(b"xyz"))
    assert writer.read(10, 10) == b"\0\0xyz" + bytes(5)
    writer.close()


async def test_no_claim_covers_nothing(storage: Storage, upload_id: str) -> None:
    with pytest.raises(ValueError, match="0 bytes"):
        await storage.claim(upload_id, ByteRange(5, 0))


@pytest.mark.parametrize("offset", [2**61 - 1, 2**61, 2**62 - 2])
async def test_the_farthest_ranges_are_claimed_apart_from_all_others(
    storage: Storage, upload_id: str, offset: int
) -> None:
    near = await storage.claim(upload_id, WHOLE)
    far = await storage.claim(upload_id, ByteRange(offset, 1))
    asked = asyncio.ensure_future(near.superseded())
    far.close()
    await something_else_is_heard(storage, upload_id, offset)
    assert not asked.done()
    asked.cancel()
    near.close()


async def test_a_file_discarded_while_a_newcomer_waits_is_not_found(storage: Storage, upload_id: str) -> None:
    holder = await storage.claim(upload_id, WHOLE)
    newcomer = asyncio.create_task(storage.claim(upload_id, WHOLE))
    await asyncio.wait_for(holder.superseded(), 5)
    await storage.discard(upload_id)
    (await storage.reserve(upload_id, 100)).release()
    holder.close()
    with pytest.raises(NotFound):
        await newcomer
