"""Parts of artifacts that the kernel copies into uploads, and what becomes of its errors."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from partwise.core.errors import BytesLost, NotFound, OutOfSpace, StorageFailed, Superseded
from partwise.core.ranges import ByteRange
from partwise.storage.files import SystemCalls
from partwise.storage.local import LocalStorage
from tests.contract.storage.support import sha256, staged, stored
from tests.support.folders import make_data_folder

DATA = random.Random(3).randbytes(1_000_000)
DIGEST = sha256(DATA)


class Calls(SystemCalls):
    """System calls whose copies are short, or fail."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.fault: Callable[[int], None] = lambda at: None
        setattr(self, "copy_file_range", self._copy)  # noqa: B010

    def _copy(self, source: int, target: int, count: int, at: int, to: int) -> int:
        self.asked.append((count, at, to))
        self.fault(at)
        return os.copy_file_range(source, target, min(count, 150_000), at, to)


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
async def storage(tmp_path: Path, calls: Calls) -> AsyncIterator[LocalStorage]:
    made = LocalStorage(make_data_folder(tmp_path / "data"), calls=calls)
    await made.start()
    async with staged(made, DATA) as upload_id:
        await made.publish(upload_id, DIGEST, size=len(DATA))
    yield made
    await made.delete_artifact(DIGEST)
    await made.stop()


async def copy(storage: LocalStorage, upload_id: str, offset: int, span: ByteRange) -> None:
    (origin,) = await storage.open_artifact(DIGEST, span)
    writer = await storage.claim(upload_id, ByteRange(offset, span.size))
    try:
        await asyncio.to_thread(writer.copy, offset, origin)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "offset, start, size",
    [
        (0, 0, len(DATA)),
        (0, 0, 1),
        (5, 0, 500_000),
        (65536, 0, 500_000),
        (0, 65536, 200_000),
        (100, 65636, 131072 + 70_000),
        (65535, 65535, 2),
        (1000, 1000, 64535),
        (7, 999_999, 1),
    ],
)
async def test_the_bytes_arrive(storage: LocalStorage, offset: int, start: int, size: int) -> None:
    async with staged(storage, size=2 * len(DATA)) as upload_id:
        await copy(storage, upload_id, offset, ByteRange(start, size))
        around = await stored(storage, upload_id, 0, offset + size + 10)
        assert around == bytes(offset) + DATA[start : start + size] + bytes(10)


async def test_what_can_share_blocks_is_copied_by_itself(storage: LocalStorage, calls: Calls) -> None:
    async with staged(storage, size=len(DATA)) as upload_id:
        await copy(storage, upload_id, 1000, ByteRange(1000 + 65536, 300_000))
    starts = {at % 4096 for _, at, _ in calls.asked}
    assert (calls.asked[0][0], calls.asked[0][1]) == (3096, 66536)
    assert all((at - to) == 65536 for _, at, to in calls.asked)
    assert 0 in starts


async def test_what_has_another_place_in_its_blocks_is_read_and_written(storage: LocalStorage, calls: Calls) -> None:
    """The kernel takes longer for that."""
    async with staged(storage, size=2 * len(DATA)) as upload_id:
        await copy(storage, upload_id, 4095, ByteRange(0, len(DATA)))
        assert await stored(storage, upload_id, 4095, len(DATA)) == DATA
    assert calls.asked == []


@pytest.mark.parametrize("number", [errno.EIO, errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOSYS])
async def test_where_the_kernel_cannot_the_bytes_are_read_and_written(
    storage: LocalStorage, calls: Calls, number: int
) -> None:
    def fault(at: int) -> None:
        if at > 200_000:
            raise OSError(number, os.strerror(number))

    calls.fault = fault
    async with staged(storage, size=len(DATA)) as upload_id:
        await copy(storage, upload_id, 0, ByteRange(0, len(DATA)))
        assert await stored(storage, upload_id, 0, len(DATA)) == DATA


@pytest.mark.parametrize("number, kind", [(errno.ENOSPC, OutOfSpace), (errno.ENOMEM, StorageFailed)])
async def test_other_failures_are_told(storage: LocalStorage, calls: Calls, number: int, kind: type[Exception]) -> None:
    def fault(at: int) -> None:
        raise OSError(number, os.strerror(number))

    calls.fault = fault
    async with staged(storage, size=len(DATA)) as upload_id:
        with pytest.raises(kind) as caught:
            await copy(storage, upload_id, 0, ByteRange(0, 1000))
        assert type(caught.value) is kind


async def test_a_source_that_is_too_short_is_lost(storage: LocalStorage) -> None:
    async with staged(storage, size=2 * len(DATA)) as upload_id:
        with pytest.raises(BytesLost):
            await copy(storage, upload_id, 0, ByteRange(0, len(DATA) + 1))


async def test_a_source_that_is_not_there(storage: LocalStorage) -> None:
    with pytest.raises(NotFound):
        await storage.open_artifact("0" * 64, ByteRange(0, 1))


async def test_a_writer_that_was_closed_copies_nothing(storage: LocalStorage, calls: Calls) -> None:
    (origin,) = await storage.open_artifact(DIGEST, ByteRange(0, 100))
    async with staged(storage, size=len(DATA)) as upload_id:
        writer = await storage.claim(upload_id, ByteRange(0, 100))
        with pytest.raises(ValueError, match="not within"):
            writer.copy(1, origin)
        writer.close()
        with pytest.raises(Superseded):
            writer.copy(0, origin)
    assert calls.asked == []


async def test_a_signature_leaves_the_floor_alone(tmp_path: Path, storage: LocalStorage) -> None:
    free = (await storage.space()).free
    narrow = LocalStorage(tmp_path / "data", floor=free + (1 << 30))
    await narrow.start()
    with pytest.raises(OutOfSpace):
        await narrow.store_signature(DIGEST, b"signature")
    assert await narrow.signature_size(DIGEST) is None
    await narrow.stop()


@pytest.mark.parametrize("name", ["pwrite", "fsync"])
async def test_a_signature_that_cannot_be_written_leaves_nothing(
    storage: LocalStorage, calls: Calls, tmp_path: Path, name: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    await storage.store_signature(DIGEST, b"before")
    setattr(calls, name, full)
    with pytest.raises(OutOfSpace):
        await storage.store_signature(DIGEST, b"signature")
    delattr(calls, name)
    assert await storage.signature_size(DIGEST) == len(b"before")
    assert len(list((tmp_path / "data" / "artifacts" / DIGEST[:2]).iterdir())) == 2
