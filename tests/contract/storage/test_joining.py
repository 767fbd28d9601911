"""Several staging files become one."""

from __future__ import annotations

import errno
import os
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from partwise.core.errors import NotFound, OutOfSpace
from partwise.core.records import Chunk
from partwise.engine.ports import Storage
from partwise.storage.files import SystemCalls
from partwise.storage.local import LocalStorage
from partwise.testing.memory import MemoryStorage
from tests.contract.storage.support import staged, stored
from tests.support.folders import make_data_folder


def chunks(size: int) -> list[Chunk]:
    """Two of an upload of ``size`` bytes."""
    return [
        chunk for chunk in (Chunk(offset=0, size=size // 2), Chunk(offset=size // 2, size=-(-size // 2))) if chunk.size
    ]


async def join(storage: Storage, target: str, stack: AsyncExitStack, *pieces: bytes) -> list[Chunk]:
    """Stage the pieces and join them."""
    parts = [
        (await stack.enter_async_context(staged(storage, piece, size=len(piece))), chunks(len(piece)))
        for piece in pieces
    ]
    return await storage.concatenate(target, parts)


async def test_the_bytes_follow_each_other(storage: Storage) -> None:
    pieces = [os.urandom(size) for size in (100_001, 1, 4096, 70_000)]
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(staged(storage))
        made = await join(storage, target, stack, *pieces, b"")
        assert made == [
            Chunk(offset=0, size=100_001),
            Chunk(offset=100_001, size=1),
            Chunk(offset=100_002, size=4096),
            Chunk(offset=104_098, size=70_000),
        ]
        assert await stored(storage, target, 0, 174_098) == b"".join(pieces)


async def test_it_may_be_repeated(storage: Storage) -> None:
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(staged(storage))
        part = await stack.enter_async_context(staged(storage, b"again"))
        for _ in range(2):
            made = await storage.concatenate(target, [(part, chunks(5)), (part, chunks(5))])
            assert [chunk.offset for chunk in made] == [0, 5]
        assert await stored(storage, target, 0, 10) == b"againagain"


async def test_the_parts_stay_as_they_are(storage: Storage) -> None:
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(staged(storage))
        part = await stack.enter_async_context(staged(storage, b"part"))
        await storage.concatenate(target, [(part, chunks(4))])
        assert await stored(storage, part, 0, 4) == b"part"


async def test_a_part_that_is_gone(storage: Storage) -> None:
    async with staged(storage) as target:
        with pytest.raises(NotFound):
            await storage.concatenate(target, [("0f-none", chunks(4))])


async def test_a_target_that_is_gone(storage: Storage) -> None:
    async with staged(storage, b"part") as part:
        with pytest.raises(NotFound):
            await storage.concatenate("0f-none", [(part, chunks(4))])


async def test_memory_has_an_end() -> None:
    storage = MemoryStorage(capacity=1000)
    async with staged(storage, bytes(600)) as part, staged(storage) as target:
        with pytest.raises(OutOfSpace):
            await storage.concatenate(target, [(part, chunks(600))])


class Calls(SystemCalls):
    """Counts what is copied, and shares or not."""

    def __init__(self, *, shares: bool) -> None:
        self.copied = self.shared = self.reserved = 0
        self._shares = shares

    def clone_range(self, source: int, target: int, size: int, offset: int) -> None:
        if not self._shares:
            raise OSError(errno.EOPNOTSUPP, "cannot share")
        os.pwrite(target, os.pread(source, size, 0), offset)
        self.shared += size

    def copy_file_range(self, source: int, target: int, count: int, at: int, to: int) -> int:  # type: ignore[override]
        done = os.copy_file_range(source, target, min(count, 5000), at, to)
        self.copied += done
        return done

    def fallocate(self, fd: int, offset: int, size: int) -> None:
        self.reserved += size
        super().fallocate(fd, offset, size)


@pytest.mark.parametrize("shares", [True, False])
async def test_bytes_are_shared_where_that_can_be_done(tmp_path: Path, shares: bool) -> None:
    """And where it cannot, the room is reserved and the kernel copies, in as many steps as it takes."""
    calls = Calls(shares=shares)
    storage = LocalStorage(make_data_folder(tmp_path / "data"), calls=calls)
    await storage.start()
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(staged(storage))
        pieces = [os.urandom(12_000), os.urandom(9_000)]
        parts = [(await stack.enter_async_context(staged(storage, piece)), chunks(len(piece))) for piece in pieces]
        calls.reserved = 0
        for _ in range(2):
            await storage.concatenate(target, parts)
        assert await stored(storage, target, 0, 21_000) == b"".join(pieces)
        assert (calls.shared, calls.copied) == ((42_000, 0) if shares else (0, 42_000))
        assert calls.reserved == (0 if shares else 21_000), "what was reserved before is not asked for again"
    await storage.stop()


async def test_a_file_is_made_no_shorter_when_it_is_asked_to_grow(storage: Storage) -> None:
    async with staged(storage, b"0123456789") as upload_id:
        await storage.resize(upload_id, 4, at_least=True)
        assert await stored(storage, upload_id, 0, 10) == b"0123456789"
        await storage.resize(upload_id, 12, at_least=True)
        assert await stored(storage, upload_id, 0, 12) == b"0123456789\0\0"
