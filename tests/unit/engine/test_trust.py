"""One way in: an artifact has the digest that it is known by, whoever writes, deletes or is frozen meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from partwise.core.errors import (
    BodyInterrupted,
    BodySizeMismatch,
    ChunkDigestMismatch,
    NotFound,
    QuotaExceeded,
    StaleGeneration,
    Superseded,
    WrongState,
)
from partwise.core.ranges import MAX_SIZE, ByteRange
from partwise.core.records import Principal, Task, TaskState, Upload
from partwise.core.state import UploadState
from partwise.engine import artifacts, uploads
from partwise.engine.chunks import Early, put_chunk
from partwise.engine.commit import commit, drive
from partwise.engine.context import Limits
from partwise.engine.engine import Engine
from partwise.engine.finish import concatenate, finish
from partwise.storage.local import LocalStorage
from tests.support.bodies import BytesBody, sha256
from tests.support.engines import new_data_folder, open_engine

ALICE, BOB = Principal("alice"), Principal("bob")
DATA = b"abcdefgh" * 40_000
WHOLE = ByteRange(0, len(DATA))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return new_data_folder(tmp_path / "data")


@pytest.fixture
async def engine(data: Path) -> AsyncIterator[Engine]:
    engine = open_engine(data)
    await engine.start()
    yield engine
    await engine.stop()


async def create(engine: Engine, size: int | None = len(DATA), **members: str) -> Upload:
    return await uploads.create_upload(engine, ALICE, size=size, **members)  # type: ignore[arg-type]


async def content(engine: Engine, artifact_id: str | None) -> bytes:
    artifact = await engine.catalog.get_artifact(str(artifact_id))
    blocks = artifacts.read_artifact(engine, artifact, ByteRange(0, artifact.size))
    return b"".join([block async for block in blocks])


class Stalled(BytesBody):
    """A body that stops after its first block until ``go`` is set."""

    def __init__(self, data: bytes, **settings: object) -> None:
        self.go = asyncio.Event()
        super().__init__(data, before_block=lambda number: self.go if number else None, **settings)  # type: ignore[arg-type]


# one request that holds a whole file


async def test_the_upload_of_one_request_is_nobodys_to_see(engine: Engine) -> None:
    body = Stalled(DATA, filename="f")
    storing = asyncio.create_task(artifacts.store_file(engine, ALICE, body, bound=len(DATA) + 100))
    await body.started.wait()
    [upload] = await engine.catalog.list_internal()
    for who in (ALICE, Principal("root", admin=True)):
        listed = await uploads.list_uploads(engine, who)
        assert (listed.items, listed.count) == ([], 0)
        for call in (
            uploads.get_upload(engine, who, upload.id),
            uploads.set_size(engine, who, upload.id, 10),
            uploads.delete_upload(engine, who, upload.id),
            commit(engine, who, upload.id, sha256(DATA)),
            put_chunk(engine, who, upload.id, WHOLE, BytesBody(bytes(len(DATA)))),
        ):
            with pytest.raises(NotFound):
                await call
    body.go.set()
    artifact = await storing
    assert await content(engine, artifact.id) == DATA
    assert await engine.catalog.list_internal() == []
    assert list(engine.storage.list_staged()) == []


@pytest.mark.parametrize("size", [0, 1, len(DATA)])
@pytest.mark.parametrize("extra", [0, 7])
@pytest.mark.parametrize("declared", [None, "right", "wrong"])
async def test_files_in_one_request(engine: Engine, size: int, extra: int, declared: str | None) -> None:
    data = DATA[:size]
    digest = {None: None, "right": sha256(data), "wrong": sha256(data + b"x")}[declared]
    body = BytesBody(data, late_sha256=digest, filename="name")
    if declared == "wrong":
        with pytest.raises(ChunkDigestMismatch):
            await artifacts.store_file(engine, ALICE, body, bound=size + extra)
        assert (await artifacts.list_artifacts(engine, ALICE)).count == 0
    else:
        artifact = await artifacts.store_file(engine, ALICE, body, bound=size + extra)
        assert (artifact.sha256, artifact.size, artifact.filename) == (sha256(data), size, "name")
        assert await content(engine, artifact.id) == data
    assert await engine.catalog.list_internal() == []


async def test_what_is_hashed_as_it_comes_is_not_hashed_again(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(engine.storage, "running_hash", lambda upload_id, _algorithms=(): begun.append(upload_id))
    data = DATA * 16  # long enough to be hashed ahead
    artifact = await artifacts.store_file(engine, ALICE, BytesBody(data), bound=len(data))
    upload = await create(engine, 2 * len(data))
    both = data + data
    await put_chunk(engine, ALICE, upload.id, ByteRange(0, len(both)), BytesBody(both, sha256=sha256(both)))
    task = await commit(engine, ALICE, upload.id, None, wait=10)
    assert (artifact.sha256, task.state, begun) == (sha256(data), TaskState.COMPLETED, [])


async def test_a_file_beyond_its_bound_is_refused(engine: Engine) -> None:
    for bound in (0, 5):
        with pytest.raises(BodySizeMismatch):
            await artifacts.store_file(engine, ALICE, BytesBody(DATA), bound=bound)
    assert (await artifacts.list_artifacts(engine, ALICE)).count == 0
    assert await engine.catalog.list_internal() == []


async def test_what_a_killed_request_left_is_removed(data: Path) -> None:
    engine = open_engine(data)
    await engine.start()
    upload = await uploads.create_upload(engine, ALICE, size=10, internal=True)
    await artifacts.clear_abandoned(engine)
    assert await engine.catalog.list_internal() == [upload], "its request may be about to begin"
    clock = engine.clock
    engine.clock = lambda: clock() + timedelta(minutes=1)
    await artifacts.clear_abandoned(engine)
    assert await engine.catalog.list_internal() == []
    await engine.stop()


# generations


async def test_each_upload_begins_with_a_generation_of_its_own(engine: Engine) -> None:
    assert len({(await create(engine)).epoch for _ in range(50)}) == 50


async def test_a_final_upload_that_is_made_again_takes_no_digest_of_the_one_before(engine: Engine) -> None:
    """Its id is made of its parts, so it is the same; its generation is not."""
    part = await create(engine)
    await put_chunk(engine, ALICE, part.id, WHOLE, BytesBody(DATA))
    first = await concatenate(engine, ALICE, [part.id])
    await uploads.delete_upload(engine, ALICE, first.id)
    second = await concatenate(engine, ALICE, [part.id])
    assert first.id == second.id
    assert first.epoch != second.epoch
    assert not await engine.catalog.publish_digest(second.id, first.epoch, len(DATA), sha256(b"other bytes"))
    assert (await engine.catalog.get_upload(second.id)).digest is None


async def test_a_frozen_process_ends_no_commit_of_a_later_generation(engine: Engine) -> None:
    upload = await create(engine)
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA))
    task = Task(id="t", owner="alice", upload_id=upload.id, created=engine.clock())
    await engine.catalog.begin_commit(upload.id, sha256(DATA), task, engine.clock())
    for stale in (upload.epoch - 1, upload.epoch + 1):
        with pytest.raises(StaleGeneration):
            await engine.catalog.complete_commit(upload.id, sha256(b""), "a", engine.clock(), generation=stale)
        with pytest.raises(StaleGeneration):
            await engine.catalog.reject_commit(upload.id, "no", engine.clock(), generation=stale)
    assert (await engine.catalog.get_upload(upload.id)).state is UploadState.COMMITTING


async def test_a_frozen_process_ends_no_commit_of_another_size_or_expectation(engine: Engine) -> None:
    upload = await create(engine, 2 * len(DATA))
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA))
    upload = await uploads.set_size(engine, ALICE, upload.id, len(DATA))
    task = Task(id="t", owner="alice", upload_id=upload.id, created=engine.clock())
    await engine.catalog.begin_commit(upload.id, sha256(DATA), task, engine.clock())
    with pytest.raises(StaleGeneration):  # what was found is not wrong for this commit
        await engine.catalog.reject_commit(
            upload.id, "no", engine.clock(), generation=upload.epoch, found_sha256=sha256(DATA)
        )
    await engine.catalog.reject_commit(upload.id, "no", engine.clock(), generation=upload.epoch)
    longer = await uploads.set_size(engine, ALICE, upload.id, len(DATA) + 1)
    await put_chunk(engine, ALICE, upload.id, ByteRange(len(DATA), 1), BytesBody(b"x", sha256=sha256(b"x")))
    await engine.catalog.begin_commit(upload.id, sha256(DATA + b"x"), replace(task, id="t2"), engine.clock())
    with pytest.raises(StaleGeneration):
        await engine.catalog.complete_commit(upload.id, sha256(DATA), "a", engine.clock(), generation=upload.epoch)
    assert longer.epoch != upload.epoch


async def test_a_join_that_was_interrupted_begins_again_under_another_generation(engine: Engine) -> None:
    """Its parts may have other bytes by then, of which a digest of the first copy knows nothing."""
    halves = [DATA[: len(DATA) // 2], DATA[len(DATA) // 2 :]]
    parts = [await create(engine, len(half)) for half in halves]
    for part, half in zip(parts, halves, strict=True):
        await put_chunk(engine, ALICE, part.id, ByteRange(0, len(half)), BytesBody(half))
    final = await concatenate(engine, ALICE, [part.id for part in parts])
    copied = await engine.storage.concatenate(
        final.id, [(part.id, await engine.catalog.list_chunks(part.id)) for part in parts]
    )
    await engine.catalog.record_chunk(final.id, copied[0], now=engine.clock(), max_chunks=9)
    assert await engine.catalog.publish_digest(final.id, final.epoch, len(halves[0]), None)
    other = bytes(len(halves[0]))
    await put_chunk(engine, ALICE, parts[0].id, ByteRange(0, len(other)), BytesBody(other))
    joined = await finish(engine, ALICE, final.id, wait=20)
    assert not await engine.catalog.publish_digest(final.id, final.epoch, len(DATA), sha256(DATA))
    assert joined.sha256 == sha256(other + halves[1])
    assert await content(engine, joined.artifact_id) == other + halves[1]


@pytest.mark.parametrize("recorded", [False, True])
async def test_a_publication_that_turns_out_stale_is_withdrawn(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    """A failed sync in another process opens the upload again between the link and the record."""
    if recorded:
        await artifacts.store_file(engine, BOB, BytesBody(DATA, filename="b"), bound=len(DATA))
    upload = await create(engine)
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA))
    complete = engine.catalog.complete_commit

    async def too_late(upload_id: str, *arguments: object, **named: object) -> object:
        monkeypatch.setattr(engine.catalog, "complete_commit", complete)
        await engine.catalog.reject_commit(upload_id, "the disk failed", engine.clock())
        await engine.catalog.unrecord_chunk(upload_id, 0)
        return await complete(upload_id, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.catalog, "complete_commit", too_late)
    task = await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)
    assert task.state is TaskState.FAILED
    # The upload is open, and its file is its own: what is written now changes nobody's artifact.
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(bytes(len(DATA))))
    assert list(engine.storage.list_artifacts()) == ([sha256(DATA)] if recorded else [])
    assert await engine.storage.verify_artifact(sha256(DATA)) == recorded


async def test_a_duplicate_replaces_what_was_damaged_without_anybody_noticing(engine: Engine, data: Path) -> None:
    """Content that is there already is never joined on trust, not even where its size is right."""
    await artifacts.store_file(engine, BOB, BytesBody(DATA, filename="b"), bound=len(DATA))
    digest = sha256(DATA)
    path = data / "artifacts" / digest[:2] / digest[2:]
    path.chmod(0o600)
    path.write_bytes(bytes(len(DATA)))
    artifact = await artifacts.store_file(engine, ALICE, BytesBody(DATA, filename="a"), bound=len(DATA))
    assert await content(engine, artifact.id) == DATA


# writers


async def test_no_writer_is_left_when_a_file_is_published(engine: Engine) -> None:
    """One that only compares a recorded chunk again holds a descriptor that could write; it stalls, too."""
    upload = await create(engine)
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA))
    again = Stalled(DATA)
    duplicate = asyncio.create_task(put_chunk(engine, ALICE, upload.id, WHOLE, again))
    await again.started.wait()
    task = await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)
    assert task.state is TaskState.COMPLETED
    with pytest.raises(Superseded):
        await duplicate


async def test_a_stalled_duplicate_does_not_hold_the_hasher(engine: Engine) -> None:
    upload = await create(engine, 2 * len(DATA))
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA))
    again = Stalled(DATA)
    duplicate = asyncio.create_task(put_chunk(engine, ALICE, upload.id, WHOLE, again))
    await again.started.wait()
    await put_chunk(engine, ALICE, upload.id, ByteRange(len(DATA), len(DATA)), BytesBody(DATA))
    async with asyncio.timeout(20):
        assert await engine.workers.follower.digest(upload.id) == hashlib.sha256(DATA + DATA).hexdigest()
    assert not duplicate.done()
    again.go.set()
    assert (await duplicate).unchanged


async def test_deleting_sends_writers_away(engine: Engine, data: Path) -> None:
    upload = await create(engine)
    body = Stalled(DATA)
    writing = asyncio.create_task(put_chunk(engine, ALICE, upload.id, WHOLE, body))
    await body.started.wait()
    await uploads.delete_upload(engine, ALICE, upload.id)
    async with asyncio.timeout(5):
        with pytest.raises(Superseded):
            await writing
    assert list((data / "staging").iterdir()) == []


async def test_deleting_sends_writers_of_other_processes_away(engine: Engine, data: Path) -> None:
    other = open_engine(data)
    await other.start()
    upload = await create(engine)
    body = Stalled(DATA)
    writing = asyncio.create_task(put_chunk(other, ALICE, upload.id, WHOLE, body))
    await body.started.wait()
    await uploads.delete_upload(engine, ALICE, upload.id)
    async with asyncio.timeout(5):
        with pytest.raises(Superseded):
            await writing
    await other.stop()


# a re-send


@pytest.mark.parametrize("cut", [False, True])
async def test_a_resend_that_was_damaged_on_its_way_changes_nothing(engine: Engine, cut: bool) -> None:
    upload = await create(engine)
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA, sha256=sha256(DATA)))
    damaged = DATA[:200_000] + b"!" + DATA[200_001:]
    body = BytesBody(damaged, sha256=sha256(DATA), cut_after=300_000 if cut else None)
    with pytest.raises(ChunkDigestMismatch):
        await put_chunk(engine, ALICE, upload.id, WHOLE, body)
    after = await engine.catalog.get_upload(upload.id)
    assert (after.received, after.epoch) == (len(DATA), upload.epoch)
    assert (await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)).state is TaskState.COMPLETED


async def test_a_resend_repairs_stored_bytes_that_lost_their_digest(engine: Engine, data: Path) -> None:
    upload = await create(engine)
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA, sha256=sha256(DATA)))
    with (data / "staging" / upload.id).open("r+b") as file:
        file.seek(70_000)
        file.write(b"rot")
    received = await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA, sha256=sha256(DATA)))
    assert not received.unchanged
    assert (await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)).state is TaskState.COMPLETED


async def test_another_digest_replaces_the_chunk(engine: Engine) -> None:
    upload = await create(engine)
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(bytes(len(DATA)), sha256=sha256(bytes(len(DATA)))))
    received = await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA, sha256=sha256(DATA)))
    assert not received.unchanged
    assert (await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)).state is TaskState.COMPLETED


# limits under races


async def test_uploads_that_grow_at_once_stay_within_the_quota(data: Path) -> None:
    engine = open_engine(data, limits=Limits(quota=1_000_000))
    await engine.start()
    growing = [await create(engine, None) for _ in range(8)]

    async def send(upload: Upload) -> int:
        try:
            received = await put_chunk(engine, ALICE, upload.id, ByteRange(0, 400_000), BytesBody(bytes(400_000)))
        except QuotaExceeded:
            return 0
        return received.chunk.size

    assert sum(await asyncio.gather(*map(send, growing))) == 800_000
    held = await engine.catalog.usage("alice")
    assert held.reserved == 800_000
    await engine.stop()


@pytest.mark.parametrize("end", [900_000, MAX_SIZE])
async def test_what_a_cut_body_had_reserved_is_given_back(data: Path, end: int) -> None:
    """On the disk too: else uploads of undeclared size would hold room that no quota counts."""
    engine = open_engine(data, limits=Limits(quota=100_000_000))
    await engine.start()
    upload = await create(engine, None)
    file = data / "staging" / upload.id
    body = Stalled(bytes(100_000), block=50_000, cut_after=100_000)
    sending = asyncio.create_task(put_chunk(engine, ALICE, upload.id, ByteRange(0, end), body, early=Early.KEEP))
    await body.started.wait()
    held = (await engine.catalog.usage("alice")).reserved
    assert held == file.stat().st_size >= 900_000
    body.go.set()
    with pytest.raises(BodyInterrupted):
        await sending
    assert (await engine.catalog.usage("alice")).reserved == file.stat().st_size == 100_000
    await engine.stop()


async def test_room_is_not_given_back_under_another_writer(engine: Engine) -> None:
    upload = await create(engine, None)
    later = Stalled(DATA[:1000], block=500)
    span = ByteRange(5000, 1000)
    sending = asyncio.create_task(put_chunk(engine, ALICE, upload.id, span, later))
    await later.started.wait()
    await put_chunk(engine, ALICE, upload.id, ByteRange(0, 1000), BytesBody(DATA[:1000]))
    assert (await engine.catalog.usage("alice")).reserved == 6000
    later.go.set()
    chunk = (await sending).chunk
    stored: list[bytes] = []
    engine.storage.read_staged(upload.id, chunk, span, lambda block: stored.append(bytes(block)))
    assert b"".join(stored) == DATA[:1000]
    assert (await engine.catalog.usage("alice")).reserved == 6000


# what is known


async def test_a_missing_folder_of_artifacts_loses_nothing(engine: Engine, data: Path) -> None:
    upload = await create(engine)
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA))
    folder = data / "artifacts" / sha256(DATA)[:2]
    folder.rmdir()
    assert (await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)).state is TaskState.FAILED
    after = await engine.catalog.get_upload(upload.id)
    assert (after.state, after.received) == (UploadState.OPEN, len(DATA))
    folder.mkdir()
    assert (await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)).state is TaskState.COMPLETED


@pytest.mark.parametrize("what", ["staging", "installation", "."])
async def test_a_folder_that_goes_away_is_no_loss(data: Path, what: str) -> None:
    """Its volume may come back: an upload whose file is missing there is not known to be lost."""
    engine = open_engine(data, storage=LocalStorage(data / "volume"))
    await engine.start()
    upload = await create(engine)
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA))
    place, away = data / "volume" / what, data / "away"
    (data / "volume" / "staging" / upload.id).rename(data / "kept")
    place.rename(away)
    assert (await commit(engine, ALICE, upload.id, sha256(DATA), wait=2)).state is TaskState.RUNNING
    assert (await engine.catalog.get_upload(upload.id)).received == len(DATA)
    away.rename(place)
    (data / "kept").rename(data / "volume" / "staging" / upload.id)
    await drive(engine, upload.id)
    while (task := await engine.catalog.find_task(upload.id)) is not None and task.state is TaskState.RUNNING:
        await drive(engine, upload.id)
    assert task is not None
    assert task.state is TaskState.COMPLETED
    await engine.stop()


async def test_a_deleted_upload_takes_no_more_calls(engine: Engine) -> None:
    upload = await create(engine)
    await uploads.delete_upload(engine, ALICE, upload.id)
    with pytest.raises((NotFound, WrongState)):
        await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA))
    assert replace(upload, state=UploadState.OPEN) == upload
