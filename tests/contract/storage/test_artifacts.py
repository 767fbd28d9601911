"""Artifacts: published without a copy, kept, replaced, read, verified, deleted."""

from __future__ import annotations

import asyncio
import os

import pytest

from partwise.core.digests import EMPTY_SHA256
from partwise.core.errors import NotFound, WrongState
from partwise.core.ranges import ByteRange
from partwise.engine.ports import BLOCK, Storage
from tests.contract.storage.conftest import Harness
from tests.contract.storage.support import artifact, sha256, staged
from tests.support.until import all_started

CONTENT = b"what is kept for good"
DIGEST = sha256(CONTENT)
WHOLE = ByteRange(0, len(CONTENT))


@pytest.mark.parametrize("recorded", [False, True])
async def test_what_was_uploaded_is_the_artifact(storage: Storage, recorded: bool) -> None:
    content = os.urandom(2 * BLOCK + 3)
    digest = sha256(content)
    async with staged(storage, content) as upload_id:
        await storage.publish(upload_id, digest, size=len(content))
    assert list(storage.list_artifacts()) == [digest]
    assert await artifact(storage, digest, ByteRange(0, len(content))) == content
    assert await artifact(storage, digest, ByteRange(BLOCK - 1, 2)) == content[BLOCK - 1 : BLOCK + 1]
    assert await storage.verify_artifact(digest)
    await storage.delete_artifact(digest)
    assert not await storage.verify_artifact(digest)


async def test_the_artifact_of_no_bytes(storage: Storage) -> None:
    async with staged(storage, size=0) as upload_id:
        await storage.publish(upload_id, EMPTY_SHA256, size=0)
    assert await artifact(storage, EMPTY_SHA256, ByteRange(0, 0)) == b""
    assert await storage.verify_artifact(EMPTY_SHA256)
    await storage.delete_artifact(EMPTY_SHA256)


async def test_a_signature_is_kept_beside_its_artifact(storage: Storage) -> None:
    first, second = os.urandom(3_000_000), b"another"
    async with staged(storage, CONTENT) as upload_id:
        await storage.publish(upload_id, DIGEST, size=len(CONTENT))
    assert await storage.signature_size(DIGEST) is None
    with pytest.raises(NotFound):
        await anext(storage.read_signature(DIGEST, 1))
    for data in (first, second):
        await storage.store_signature(DIGEST, data)
        assert await storage.signature_size(DIGEST) == len(data)
        blocks = [block async for block in storage.read_signature(DIGEST, len(data), 1000)]
        assert b"".join(blocks) == data
        assert max(map(len, blocks)) <= 1000
    assert list(storage.list_artifacts()) == [DIGEST]
    assert await artifact(storage, DIGEST, WHOLE) == CONTENT
    await storage.delete_artifact(DIGEST)
    assert await storage.signature_size(DIGEST) is None


async def test_publishing_again_changes_nothing(storage: Storage) -> None:
    async with staged(storage, CONTENT) as upload_id:
        for _ in range(3):
            await storage.publish(upload_id, DIGEST, size=len(CONTENT))
    assert await artifact(storage, DIGEST, WHOLE) == CONTENT
    await storage.delete_artifact(DIGEST)


async def test_the_same_content_twice_is_one_artifact(storage: Storage) -> None:
    async with staged(storage, CONTENT) as first:
        await storage.publish(first, DIGEST, size=len(CONTENT))
    async with staged(storage, CONTENT) as second:
        await storage.publish(second, DIGEST, size=len(CONTENT))
    assert list(storage.list_artifacts()) == [DIGEST]
    assert await storage.verify_artifact(DIGEST)
    await storage.delete_artifact(DIGEST)


async def test_a_good_file_without_a_record_is_kept(harness: Harness) -> None:
    storage = harness.storage
    harness.plant(DIGEST, CONTENT)
    async with staged(storage, CONTENT) as upload_id:
        await storage.publish(upload_id, DIGEST, size=len(CONTENT))
    assert await storage.verify_artifact(DIGEST)
    await storage.delete_artifact(DIGEST)


@pytest.mark.parametrize("bad", [b"", b"torn", CONTENT + b"!", CONTENT[:-1] + b"?"])
async def test_a_bad_file_without_a_record_is_replaced(harness: Harness, bad: bytes) -> None:
    storage = harness.storage
    harness.plant(DIGEST, bad)
    assert not await storage.verify_artifact(DIGEST)
    async with staged(storage, CONTENT) as upload_id:
        await storage.publish(upload_id, DIGEST, size=len(CONTENT))
        await storage.publish(upload_id, DIGEST, size=len(CONTENT))
    assert await storage.verify_artifact(DIGEST)
    assert await artifact(storage, DIGEST, WHOLE) == CONTENT
    await storage.delete_artifact(DIGEST)


async def test_a_recorded_file_that_is_gone_comes_back(storage: Storage) -> None:
    async with staged(storage, CONTENT) as upload_id:
        await storage.publish(upload_id, DIGEST, size=len(CONTENT))
    assert await storage.verify_artifact(DIGEST)
    await storage.delete_artifact(DIGEST)


async def test_nothing_to_publish_is_not_found(storage: Storage) -> None:
    with pytest.raises(NotFound):
        await storage.publish("ab", DIGEST, size=len(CONTENT))
    assert list(storage.list_artifacts()) == []


async def test_a_published_upload_takes_no_more_bytes(storage: Storage) -> None:
    async with staged(storage, CONTENT) as upload_id:
        await storage.publish(upload_id, DIGEST, size=len(CONTENT))
        with pytest.raises(WrongState):
            await storage.claim(upload_id, WHOLE)
        assert list(storage.list_staged()) == [upload_id]
    assert await storage.verify_artifact(DIGEST)
    await storage.delete_artifact(DIGEST)


async def test_a_deleted_artifact_is_not_found(storage: Storage) -> None:
    async with staged(storage, CONTENT) as upload_id:
        await storage.publish(upload_id, DIGEST, size=len(CONTENT))
    await storage.delete_artifact(DIGEST)
    await storage.delete_artifact(DIGEST)
    with pytest.raises(NotFound):
        await artifact(storage, DIGEST, WHOLE)


async def test_an_open_reader_keeps_what_it_has(storage: Storage) -> None:
    content = os.urandom(3 * BLOCK)
    digest = sha256(content)
    async with staged(storage, content) as upload_id:
        await storage.publish(upload_id, digest, size=len(content))
    reader = storage.read_artifact(digest, ByteRange(0, len(content)))
    blocks = [await anext(reader)]
    await storage.delete_artifact(digest)
    blocks += [block async for block in reader]
    assert b"".join(blocks) == content


async def test_a_reader_that_stops_early_leaves_nothing_open(storage: Storage) -> None:
    content = os.urandom(3 * BLOCK)
    digest = sha256(content)
    async with staged(storage, content) as upload_id:
        await storage.publish(upload_id, digest, size=len(content))
    storage.read_artifact(digest, ByteRange(0, len(content)))
    reader = storage.read_artifact(digest, ByteRange(0, len(content)))
    assert await anext(reader) == content[:BLOCK]
    del reader
    await storage.delete_artifact(digest)


async def test_one_at_a_time_publishes_or_deletes_a_digest(storage: Storage) -> None:
    inside = most = 0

    async def step() -> None:
        nonlocal inside, most
        async with storage.digest_lock(DIGEST):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.005)
            inside -= 1

    async with storage.digest_lock(sha256(b"another")):
        await asyncio.wait_for(asyncio.gather(*(step() for _ in range(5))), 20)
    assert most == 1


async def test_a_cancelled_wait_for_a_digest_holds_nothing(storage: Storage) -> None:
    async def step() -> None:
        async with storage.digest_lock(DIGEST):
            pass

    async with storage.digest_lock(DIGEST):
        waiting = asyncio.create_task(step())
        await all_started()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await asyncio.wait_for(step(), 5)
