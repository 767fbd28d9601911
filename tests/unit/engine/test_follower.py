"""The digest follower: what it may assume, what it must take back, and that it ends when told to."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import pytest

from partwise.core.errors import BodyInterrupted, StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Upload
from partwise.engine import follower, uploads
from partwise.engine.chunks import put_chunk
from partwise.engine.engine import Engine
from partwise.engine.ports import Purpose, RunningHash
from partwise.storage.local import LocalStorage
from tests.support.bodies import BytesBody, sha256
from tests.unit.engine.conftest import ALICE

BLOCK = 1 << 16
DATA = random.Random(5).randbytes(6 * BLOCK)


@pytest.fixture(autouse=True)
def small_chunks_count_as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash runs ahead into chunks of any size."""
    monkeypatch.setattr(follower, "AHEAD", 1)


async def hashed_to(engine: Engine, upload: Upload, position: int) -> None:
    """Wait until the follower has hashed that far, recorded or not."""
    async with asyncio.timeout(10):
        while (run := engine.workers.follower._runs.get(upload.id)) is None or run._position < position:
            await asyncio.sleep(0.001)


async def digest(engine: Engine, upload: Upload) -> str:
    async with asyncio.timeout(10):
        return await engine.workers.follower.digest(upload.id)


async def test_it_runs_ahead_into_a_chunk_that_is_written(engine: Engine) -> None:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    gate = asyncio.Event()
    body = BytesBody(DATA, block=BLOCK, before_block=lambda number: gate if number == 4 else None)
    writing = asyncio.create_task(put_chunk(engine, ALICE, upload.id, ByteRange(0, len(DATA)), body))
    # Large chunks are followed in large steps; a step is due when the writing pauses as well.
    await body.started.wait()
    gate.set()
    await writing
    assert await digest(engine, upload) == sha256(DATA)


@pytest.mark.parametrize("cut", [BLOCK, 3 * BLOCK])
async def test_what_ran_ahead_of_a_chunk_that_failed_is_taken_back(engine: Engine, cut: int) -> None:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    first, rest = ByteRange(0, 4 * BLOCK), ByteRange(4 * BLOCK, 2 * BLOCK)
    other = bytes(len(DATA))
    body = BytesBody(other[: first.end], block=BLOCK, cut_after=cut)
    with pytest.raises(BodyInterrupted):
        await put_chunk(engine, ALICE, upload.id, first, body)
    await put_chunk(engine, ALICE, upload.id, first, BytesBody(DATA[: first.end], block=BLOCK))
    await hashed_to(engine, upload, first.end)
    with pytest.raises(BodyInterrupted):
        await put_chunk(engine, ALICE, upload.id, rest, BytesBody(other[: rest.size], block=BLOCK, cut_after=BLOCK))
    await put_chunk(engine, ALICE, upload.id, rest, BytesBody(DATA[rest.offset :], block=BLOCK))
    assert await digest(engine, upload) == sha256(DATA)


async def test_a_replaced_chunk_voids_what_was_hashed(engine: Engine) -> None:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    whole = ByteRange(0, len(DATA))
    await put_chunk(engine, ALICE, upload.id, whole, BytesBody(bytes(len(DATA))))
    assert await digest(engine, upload) == sha256(bytes(len(DATA)))
    await put_chunk(engine, ALICE, upload.id, whole, BytesBody(DATA))
    assert await digest(engine, upload) == sha256(DATA)


async def test_it_follows_many_small_chunks_that_come_backwards(engine: Engine) -> None:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    for offset in reversed(range(0, len(DATA), 1024)):
        piece = BytesBody(DATA[offset : offset + 1024])
        await put_chunk(engine, ALICE, upload.id, ByteRange(offset, 1024), piece)
    assert await digest(engine, upload) == sha256(DATA)


async def test_it_begins_again_when_the_process_that_hashes_was_killed(engine: Engine) -> None:
    if not isinstance(engine.storage, LocalStorage):
        pytest.skip("hashes on threads of its own")
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    await put_chunk(engine, ALICE, upload.id, ByteRange(0, BLOCK), BytesBody(DATA[:BLOCK]))
    await hashed_to(engine, upload, BLOCK)
    pid = engine.storage.hash_process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await put_chunk(engine, ALICE, upload.id, ByteRange(BLOCK, len(DATA) - BLOCK), BytesBody(DATA[BLOCK:]))
    assert await digest(engine, upload) == sha256(DATA)


async def test_it_begins_again_when_there_was_no_hash_to_be_had(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor or no memory for another process, say."""
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    made, failed = engine.storage.running_hash, asyncio.Event()

    def failing(*_arguments: object) -> RunningHash:
        monkeypatch.setattr(engine.storage, "running_hash", made)
        failed.set()
        raise StorageFailed("The storage failed to start the process that hashes (EMFILE).")

    monkeypatch.setattr(engine.storage, "running_hash", failing)
    await put_chunk(engine, ALICE, upload.id, ByteRange(0, BLOCK), BytesBody(DATA[:BLOCK]))
    await put_chunk(engine, ALICE, upload.id, ByteRange(BLOCK, len(DATA) - BLOCK), BytesBody(DATA[BLOCK:]))
    await failed.wait()
    assert await digest(engine, upload) == sha256(DATA)


async def test_it_ends_when_told_to_even_at_the_moment_of_news(engine: Engine) -> None:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    await put_chunk(engine, ALICE, upload.id, ByteRange(0, BLOCK), BytesBody(DATA[:BLOCK]))
    await hashed_to(engine, upload, BLOCK)
    run = engine.workers.follower._runs[upload.id]
    for _ in range(50):  # let it come to its wait
        await asyncio.sleep(0.001)
    run.wake()
    run.task.cancel()
    done, _ = await asyncio.wait({run.task}, timeout=5)
    assert done


async def test_an_idle_upload_holds_no_lock(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is a descriptor of files, or a session of a database: uploads that wait for their clients have none."""
    monkeypatch.setattr(follower, "QUIET", 0.05)
    half = len(DATA) // 2
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    await put_chunk(engine, ALICE, upload.id, ByteRange(0, half), BytesBody(DATA[:half]))
    async with asyncio.timeout(10):
        while (lock := await engine.storage.try_lock(upload.id, Purpose.FOLLOW)) is None:
            await asyncio.sleep(0.01)
    lock.release()
    await put_chunk(engine, ALICE, upload.id, ByteRange(half, half), BytesBody(DATA[half:]))
    assert await digest(engine, upload) == sha256(DATA)
