"""Digests beside the SHA-256: made in its pass, of the same bytes, and taken back wherever it is."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partwise.core.errors import BodyInterrupted, ChunkOverlap, IncompleteUpload, NotFound
from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact, Principal, Upload
from partwise.engine import uploads, whole
from partwise.engine.artifacts import delete_artifact
from partwise.engine.chunks import put_chunk
from partwise.engine.commit import commit
from partwise.engine.engine import Engine
from partwise.engine.finish import concatenate, finish
from partwise.engine.ports import Purpose, RunningHash
from partwise.engine.whole import digests_of, keep_digests
from partwise.storage.local import LocalStorage
from tests.support.bodies import BytesBody
from tests.support.engines import new_data_folder, open_engine
from tests.unit.engine.conftest import ALICE, BOB

BLOCK = 1 << 16
DATA = random.Random(8).randbytes(4 * BLOCK)
WHOLE = ByteRange(0, len(DATA))
OTHERS = ("md5", "sha1", "sha512")


def digests(data: bytes, names: Sequence[str] = OTHERS) -> dict[str, str]:
    return {name: hashlib.new(name, data).hexdigest() for name in names}


async def create(engine: Engine, who: Principal = ALICE, checksums: Sequence[str] = OTHERS) -> Upload:
    return await uploads.create_upload(engine, who, size=len(DATA), checksums=checksums)


async def put(engine: Engine, upload: Upload, data: bytes, offset: int = 0, cut: int | None = None) -> None:
    body = BytesBody(data, block=BLOCK // 4, cut_after=cut)
    await put_chunk(engine, Principal(upload.owner), upload.id, ByteRange(offset, len(data)), body)


async def artifact(engine: Engine, upload: Upload) -> Artifact:
    async with asyncio.timeout(30):
        found = await digests_of(engine, upload, tuple(upload.checksums))
        task = await commit(engine, Principal(upload.owner), upload.id, found["sha256"], wait=20)
    return await engine.catalog.get_artifact(str(task.artifact_id))


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test with this may read a file from its start once more."""

    async def fail(*_arguments: object) -> dict[str, str]:
        raise AssertionError("the file was read again")

    monkeypatch.setattr(whole, "_read_through", fail)


@pytest.mark.usefixtures("unread")
async def test_they_are_known_with_the_last_byte_and_stay_with_the_artifact(engine: Engine) -> None:
    upload = await create(engine)
    await put(engine, upload, DATA[BLOCK:], BLOCK)
    await put(engine, upload, DATA[:BLOCK])
    made = await artifact(engine, upload)
    assert made.digests == digests(DATA)
    completed = await engine.catalog.get_upload(upload.id)
    assert await digests_of(engine, completed, ["md5"]) == digests(DATA, ["md5", "sha256"])


@pytest.mark.usefixtures("unread")
async def test_one_chunk_that_was_hashed_as_it_came_is_no_short_cut(engine: Engine) -> None:
    upload = await create(engine)
    sha256 = hashlib.sha256(DATA).hexdigest()
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA, sha256=sha256))
    task = await commit(engine, ALICE, upload.id, sha256, wait=20)
    assert (await engine.catalog.get_artifact(str(task.artifact_id))).digests == digests(DATA)


@pytest.mark.usefixtures("unread")
async def test_bytes_of_a_chunk_that_failed_or_was_replaced_count_for_none(engine: Engine) -> None:
    upload = await create(engine)
    with pytest.raises(BodyInterrupted):
        await put(engine, upload, bytes(2 * BLOCK), cut=BLOCK)
    await put(engine, upload, bytes(len(DATA)))
    assert await digests_of(engine, upload, OTHERS) == digests(bytes(len(DATA)), ("sha256", *OTHERS))
    await put(engine, upload, DATA)
    assert (await artifact(engine, upload)).digests == digests(DATA)


async def test_uploads_without_them_pay_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Collection[str]] = []
    make = engine.storage.running_hash

    def recording(upload_id: str, algorithms: Collection[str] = ()) -> RunningHash:
        asked.append(algorithms)
        return make(upload_id, algorithms)

    monkeypatch.setattr(engine.storage, "running_hash", recording)
    upload = await create(engine, checksums=())
    await put(engine, upload, DATA)
    assert (await artifact(engine, upload)).digests == {}
    assert asked
    assert not any(asked)
    assert (await engine.catalog.get_upload(upload.id)).digests == {}


async def test_one_that_was_not_followed_costs_one_read_and_is_kept(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await create(engine, checksums=["md5"])
    await put(engine, upload, DATA)
    found = await digests_of(engine, upload, ["sha1"])
    assert found == digests(DATA, ["sha256", "sha1"])
    made = await artifact(engine, upload)
    await keep_digests(engine, made.id, found)
    assert (await engine.catalog.get_artifact(made.id)).digests == digests(DATA, ["md5", "sha1"])
    monkeypatch.setattr(whole, "_read_through", None)
    assert await digests_of(engine, await engine.catalog.get_upload(upload.id), ["sha1"]) == found
    with pytest.raises(NotFound):
        await keep_digests(engine, "gone", found)


async def test_they_tell_nobody_that_another_has_the_content(engine: Engine) -> None:
    first, second = await create(engine), await create(engine, BOB, ["md5"])
    for upload in (first, second):
        await put(engine, upload, DATA)
    assert (await artifact(engine, first)).digests == digests(DATA)
    assert (await artifact(engine, second)).digests == digests(DATA, ["md5"])
    again = await create(engine, BOB, ["sha1"])
    await put(engine, again, DATA)
    assert (await artifact(engine, again)).digests == digests(DATA, ["md5", "sha1"])


async def test_bytes_that_are_missing_again_are_not_waited_for(engine: Engine) -> None:
    upload = await create(engine)
    await put(engine, upload, DATA[:BLOCK])
    async with asyncio.timeout(20):
        with pytest.raises(IncompleteUpload):
            await digests_of(engine, upload, OTHERS)
    await uploads.delete_upload(engine, ALICE, upload.id)
    with pytest.raises(NotFound):
        await digests_of(engine, upload, OTHERS)


async def test_what_an_older_server_hashed_has_the_sha256_alone(engine: Engine) -> None:
    """It shares the records, and knows no digests: what is noted beside its SHA-256 may be of bytes before."""
    upload = await create(engine)
    lock = await engine.storage.try_lock(upload.id, Purpose.FOLLOW)  # as the older server holds it
    assert lock is not None
    await put(engine, upload, DATA)
    wrong = digests(bytes(9), ("sha256", *OTHERS))
    sha256 = hashlib.sha256(DATA).hexdigest()
    assert await engine.catalog.publish_digest(upload.id, upload.epoch, len(DATA), sha256, wrong)
    made = await artifact(engine, upload)
    assert made.digests == {}
    assert await digests_of(engine, upload, OTHERS) == digests(DATA, ("sha256", *OTHERS))
    lock.release()


async def test_a_hasher_of_an_upload_that_was_made_again_changes_nothing(engine: Engine) -> None:
    """Its id is the same, and its algorithms and its generation are others."""
    part = await create(engine, checksums=())
    await put(engine, part, DATA)
    first = await concatenate(engine, ALICE, [part.id])
    await uploads.delete_upload(engine, ALICE, first.id)
    second = await concatenate(engine, ALICE, [part.id])
    wrong = digests(b"other bytes", ("sha256", *OTHERS))
    assert first.id == second.id
    publish = engine.catalog.publish_digest
    assert not await publish(second.id, first.epoch, len(DATA), wrong["sha256"], wrong)
    joined = await finish(engine, ALICE, second.id, wait=20)
    assert (await engine.catalog.get_upload(second.id)).digests == {}
    assert (await engine.catalog.get_artifact(str(joined.artifact_id))).digests == {}


async def test_they_are_made_again_when_the_process_that_hashes_was_killed(engine: Engine) -> None:
    if not isinstance(engine.storage, LocalStorage):
        pytest.skip("hashes on threads of its own")
    upload = await create(engine)
    await put(engine, upload, DATA[:BLOCK])
    async with asyncio.timeout(10):
        while engine.storage.hash_process.pid is None:
            await asyncio.sleep(0.001)
    os.kill(engine.storage.hash_process.pid, signal.SIGKILL)
    await put(engine, upload, DATA[BLOCK:], BLOCK)
    assert (await artifact(engine, upload)).digests == digests(DATA)


#: An offset and an end in blocks, which of two contents, and after how many quarters of a block it is cut, if at all.
STEPS = st.tuples(st.integers(0, 3), st.integers(1, 4), st.booleans(), st.none() | st.integers(1, 16))


def test_whatever_comes_before_they_are_those_of_the_bytes_at_the_end(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:  # one engine for all examples: to start one takes most of the time of an example
        engine = runner.run(_started(new_data_folder(tmp_path / "data")))

        @settings(max_examples=25, deadline=None)
        @given(steps=st.lists(STEPS, max_size=6))
        def check(steps: list[tuple[int, int, bool, int | None]]) -> None:
            runner.run(_after(steps, engine))

        try:
            check()
        finally:
            runner.run(engine.stop())


async def _started(folder: Path) -> Engine:
    engine = open_engine(folder)
    await engine.start()
    return engine


async def _after(steps: list[tuple[int, int, bool, int | None]], engine: Engine) -> None:
    upload = await create(engine)
    for begin, length, other, cut in steps:
        span = ByteRange(begin * BLOCK, min(length * BLOCK, len(DATA) - begin * BLOCK))
        data = bytes(span.size) if other else DATA[span.offset : span.end]
        with suppress(BodyInterrupted, ChunkOverlap):
            await put(engine, upload, data, span.offset, None if cut is None else min(cut * BLOCK // 4, span.size))
    for chunk in await engine.catalog.list_chunks(upload.id):
        await put(engine, upload, DATA[chunk.offset : chunk.range.end], chunk.offset)
    gaps = await uploads.find_gaps(engine, ALICE, upload.id)
    for gap in gaps.first:
        await put(engine, upload, DATA[gap.offset : gap.end], gap.offset)
    made = await artifact(engine, upload)
    assert made.digests == digests(DATA)
    await delete_artifact(engine, ALICE, made.id)  # the next example has the same content
