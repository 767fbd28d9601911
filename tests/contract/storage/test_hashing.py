"""Running hashes: over what is stored, in pieces, marked and taken back."""

from __future__ import annotations

import asyncio
import os

import pytest

from partwise.core.errors import NotFound, StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk
from partwise.engine.ports import BLOCK, Piece, RunningHash, Storage
from tests.contract.storage.support import ID, put, sha256, staged

CONTENT = os.urandom(3 * BLOCK + 7)


def piece(start: int, end: int, *, chunk: int = 0) -> Piece:
    """The bytes from ``start`` to ``end``, of a chunk that begins at ``chunk``."""
    return Chunk(offset=chunk, size=len(CONTENT) - chunk), ByteRange(start, end - start)


async def digest(running: RunningHash, end: int) -> str:
    """Bad bytes may be told of at once, or when the digest is asked for."""
    await running.feed([piece(0, end)])
    return (await running.digests())["sha256"]


async def test_it_is_the_digest_of_what_was_fed(storage: Storage) -> None:
    async with staged(storage, CONTENT) as upload_id:
        running = storage.running_hash(upload_id)
        assert (await running.digests())["sha256"] == sha256(b"")
        await running.feed([piece(0, 5), piece(5, BLOCK, chunk=5)])
        assert (await running.digests())["sha256"] == sha256(CONTENT[:BLOCK])
        await running.feed([piece(BLOCK, len(CONTENT))])
        assert (await running.digests())["sha256"] == sha256(CONTENT)
        assert running.pending == 0
        running.close()


async def test_it_goes_back_to_the_oldest_mark(storage: Storage) -> None:
    async with staged(storage, CONTENT) as upload_id:
        running = storage.running_hash(upload_id)
        await running.feed([piece(0, 10)])
        running.mark()
        await running.feed([piece(10, 20)])
        running.mark()
        await running.feed([piece(20, 30)])
        running.rewind()
        assert (await running.digests())["sha256"] == sha256(CONTENT[:10])
        running.mark()
        await running.feed([piece(10, 25)])
        running.mark()
        await running.feed([piece(25, 40)])
        running.forget()
        running.rewind()
        assert (await running.digests())["sha256"] == sha256(CONTENT[:25])
        running.close()


async def test_a_rewind_drops_bytes_that_were_overwritten(storage: Storage) -> None:
    async with staged(storage, bytes(len(CONTENT))) as upload_id:
        running = storage.running_hash(upload_id)
        running.mark()
        await running.feed([piece(0, len(CONTENT))])
        running.rewind()
        await put(storage, upload_id, 0, CONTENT)
        await running.feed([piece(0, len(CONTENT))])
        assert (await running.digests())["sha256"] == sha256(CONTENT)
        running.close()


async def test_several_at_once(storage: Storage) -> None:
    contents = [os.urandom(BLOCK + number) for number in range(5)]

    async def one(content: bytes) -> None:
        async with staged(storage, content) as upload_id:
            running = storage.running_hash(upload_id)
            for start in range(0, len(content), 100_000):
                span = ByteRange(start, min(100_000, len(content) - start))
                await running.feed([(Chunk(offset=0, size=len(content)), span)])
            assert (await running.digests())["sha256"] == sha256(content)
            running.close()

    await asyncio.gather(*map(one, contents))


async def test_an_upload_that_is_gone_is_not_found(storage: Storage) -> None:
    running = storage.running_hash(ID)
    with pytest.raises(NotFound):
        await digest(running, 10)
    running.close()


async def test_bytes_that_are_missing_are_a_failure(storage: Storage) -> None:
    async with staged(storage, CONTENT[:100]) as upload_id:
        running = storage.running_hash(upload_id)
        with pytest.raises(StorageFailed):
            await digest(running, 101)
        running.close()
