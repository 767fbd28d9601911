"""The life of an upload through the engine: every promise that needs no socket."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from functools import partial

import pytest

from partwise.core.errors import (
    ArtifactDigestMismatch,
    BadContentRange,
    BodyInterrupted,
    BodySizeMismatch,
    ChunkDigestMismatch,
    ChunkOverlap,
    IncompleteUpload,
    NotFound,
    Superseded,
    TooManyChunks,
    UnverifiedUpload,
    UploadTooLarge,
    WrongState,
)
from partwise.core.ranges import MAX_SIZE, ByteRange, split
from partwise.core.records import Artifact, Principal, Task, TaskState, Upload
from partwise.core.state import UploadState
from partwise.engine import artifacts, chunks, receiver, uploads
from partwise.engine.chunks import Early, Received, put_chunk
from partwise.engine.commit import commit
from partwise.engine.context import Limits
from partwise.engine.engine import Engine
from partwise.engine.expiry import expire
from partwise.engine.ports import ChunkWriter, Stored
from tests.support.bodies import BytesBody, sha256
from tests.support.missing import missing
from tests.support.until import until
from tests.unit.engine.conftest import ADMIN, ALICE, BOB, Clock

DATA = random.Random(7).randbytes(1_000_003)
WAIT = 20.0

#: For what holds only where chunks are written at their final place; of objects see ``tests/engines``.
in_place = pytest.mark.parametrize("kind", ["memory", "local"])


async def create(engine: Engine, data: bytes = DATA, who: Principal = ALICE, **more: str) -> Upload:
    return await uploads.create_upload(engine, who, size=len(data), **more)  # type: ignore[arg-type]


async def put(engine: Engine, upload: Upload, span: ByteRange, data: bytes = DATA, **body: object) -> Received:
    piece = BytesBody(data[span.offset : span.end], **body)  # type: ignore[arg-type]
    return await put_chunk(engine, ALICE, upload.id, span, piece)


async def received(engine: Engine, upload: Upload, size: int) -> bool:
    """Whether so many bytes are recorded."""
    return (await uploads.get_upload(engine, ALICE, upload.id)).received >= size


async def done(engine: Engine, upload: Upload, digest: str | None) -> Task:
    return await commit(engine, ALICE, upload.id, digest, wait=WAIT)


async def content(engine: Engine, artifact: Artifact) -> bytes:
    return b"".join([block async for block in artifacts.read_artifact(engine, artifact, ByteRange(0, artifact.size))])


async def artifact_of(engine: Engine, task: Task, who: Principal = ALICE) -> Artifact:
    assert (task.state, task.error) == (TaskState.COMPLETED, None)
    assert task.artifact_id is not None
    return await artifacts.get_artifact(engine, who, task.artifact_id)


async def test_chunks_in_any_order_and_in_parallel_become_the_file(engine: Engine) -> None:
    upload = await create(engine)
    spans = list(split(ByteRange(0, len(DATA)), 37_123))
    random.Random(3).shuffle(spans)
    await asyncio.gather(*(put(engine, upload, span) for span in spans))
    artifact = await artifact_of(engine, await done(engine, upload, sha256(DATA)))
    assert (artifact.sha256, artifact.size) == (sha256(DATA), len(DATA))
    assert await content(engine, artifact) == DATA
    assert (await uploads.get_upload(engine, ALICE, upload.id)).state is UploadState.COMPLETED


async def test_one_chunk_that_holds_the_whole_file(engine: Engine) -> None:
    upload = await create(engine)
    await put(engine, upload, ByteRange(0, len(DATA)))
    artifact = await artifact_of(engine, await done(engine, upload, sha256(DATA)))
    assert await content(engine, artifact) == DATA


async def test_an_empty_file_needs_no_chunk(engine: Engine) -> None:
    upload = await create(engine, b"")
    artifact = await artifact_of(engine, await done(engine, upload, sha256(b"")))
    assert await content(engine, artifact) == b""


async def test_missing_ranges_are_listed_and_do_not_commit(engine: Engine) -> None:
    upload = await create(engine)
    await put(engine, upload, ByteRange(100, 50))
    gaps = [ByteRange(0, 100), ByteRange(150, len(DATA) - 150)]
    assert await missing(engine, ALICE, upload.id) == gaps
    with pytest.raises(IncompleteUpload) as caught:
        await done(engine, upload, sha256(DATA))
    assert (caught.value.missing, caught.value.count) == (gaps, 2)
    assert (await uploads.get_upload(engine, ALICE, upload.id)).state is UploadState.OPEN


async def test_a_wrong_digest_leaves_the_upload_open_and_shows_the_bad_chunk(engine: Engine) -> None:
    upload = await create(engine)
    spans = list(split(ByteRange(0, len(DATA)), 250_000))
    damaged = bytearray(DATA)
    damaged[600_000] ^= 1
    for span in spans:
        await put(engine, upload, span, bytes(damaged))
    task = await done(engine, upload, sha256(DATA))
    assert task.state is TaskState.FAILED
    assert sha256(DATA) in str(task.error)
    recorded = uploads.each_chunk(engine, ALICE, upload.id)
    stored = [chunk async for chunk in uploads.with_stored_digests(engine, upload.id, recorded)]
    bad = [chunk.range for chunk in stored if chunk.sha256 != sha256(DATA[chunk.offset : chunk.range.end])]
    assert bad == [ByteRange(500_000, 250_000)]
    await put(engine, upload, bad[0])
    artifact = await artifact_of(engine, await done(engine, upload, sha256(DATA)))
    assert await content(engine, artifact) == DATA


async def test_the_same_chunk_again_changes_nothing(engine: Engine) -> None:
    upload = await create(engine)
    span = ByteRange(1000, 500_000)
    first = await put(engine, upload, span)
    again = await put(engine, upload, span)
    assert not first.unchanged
    assert again.unchanged
    after = await uploads.get_upload(engine, ALICE, upload.id)
    assert (after.epoch, after.chunk_count, after.received) == (upload.epoch, 1, span.size)


async def test_other_bytes_replace_a_chunk_and_void_the_digest(engine: Engine) -> None:
    upload = await create(engine)
    other = bytes(len(DATA))
    await put(engine, upload, ByteRange(0, 500_000), other)
    await put(engine, upload, ByteRange(500_000, len(DATA) - 500_000))
    assert (await done(engine, upload, sha256(DATA))).state is TaskState.FAILED
    replaced = await put(engine, upload, ByteRange(0, 500_000))
    assert not replaced.unchanged
    assert (await uploads.get_upload(engine, ALICE, upload.id)).epoch == upload.epoch + 1
    assert await content(engine, await artifact_of(engine, await done(engine, upload, sha256(DATA)))) == DATA


@in_place
async def test_a_replacement_that_is_cut_leaves_its_range_missing(engine: Engine) -> None:
    upload = await create(engine)
    span = ByteRange(0, 500_000)
    await put(engine, upload, span)
    with pytest.raises(BodyInterrupted):
        await put(engine, upload, span, bytes(len(DATA)), cut_after=200_000)
    assert await missing(engine, ALICE, upload.id) == [ByteRange(0, len(DATA))]


async def test_a_repeat_that_is_cut_before_it_differs_leaves_the_chunk(engine: Engine) -> None:
    upload = await create(engine)
    span = ByteRange(0, 500_000)
    await put(engine, upload, span)
    with pytest.raises(BodyInterrupted):
        await put(engine, upload, span, cut_after=200_000)
    assert (await uploads.get_upload(engine, ALICE, upload.id)).received == span.size


@pytest.mark.parametrize("cut", [0, 1, 65_536, 299_999])
async def test_a_cut_body_is_not_received(engine: Engine, cut: int) -> None:
    upload = await create(engine)
    with pytest.raises(BodyInterrupted):
        await put(engine, upload, ByteRange(0, 300_000), cut_after=cut)
    assert (await uploads.get_upload(engine, ALICE, upload.id)).received == 0


@in_place
async def test_with_partial_a_cut_body_counts_as_far_as_it_came(engine: Engine) -> None:
    upload = await create(engine)
    body = BytesBody(DATA[:300_000], cut_after=123_456)
    with pytest.raises(BodyInterrupted):
        await put_chunk(engine, ALICE, upload.id, ByteRange(0, 300_000), body, early=Early.KEEP)
    kept = await engine.catalog.list_chunks(upload.id)
    assert [chunk.range for chunk in kept] == [ByteRange(0, 123_456)]
    rest = ByteRange(123_456, len(DATA) - 123_456)
    await put(engine, upload, rest)
    assert await content(engine, await artifact_of(engine, await done(engine, upload, sha256(DATA)))) == DATA


@in_place
async def test_a_digest_of_more_than_was_kept_is_not_the_chunks(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage may keep fewer bytes of a body that was cut than came."""
    claim = engine.storage.claim

    async def keeps_less(upload_id: str, span: ByteRange, *, exact: bool = True) -> ChunkWriter:
        writer = await claim(upload_id, span, exact=exact)

        async def finish(size: int, *, durable: bool = False) -> Stored:
            return Stored(size - 10)

        monkeypatch.setattr(writer, "finish", finish)
        return writer

    monkeypatch.setattr(engine.storage, "claim", keeps_less)
    upload = await create(engine)
    body = BytesBody(DATA[:3000], sha256=sha256(DATA[:3000]), cut_after=1000)
    with pytest.raises(BodyInterrupted):
        await put_chunk(engine, ALICE, upload.id, ByteRange(0, 3000), body, early=Early.KEEP)
    (chunk,) = await engine.catalog.list_chunks(upload.id)
    assert (chunk.size, chunk.sha256, chunk.verified) == (990, None, False)


@pytest.mark.parametrize("undeclared", [False, True])
async def test_a_body_that_is_kept_is_recorded_while_it_comes(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, undeclared: bool
) -> None:
    """In segments, each of which counts before the next has come: a server that is killed loses the last one alone."""
    monkeypatch.setattr(receiver, "SEGMENT", 100_000)
    upload = await uploads.create_upload(engine, ALICE, size=None if undeclared else len(DATA))
    gate = asyncio.Event()
    body = BytesBody(DATA, block=50_000, before_block=lambda number: gate if number == 7 else None)
    span = ByteRange(0, MAX_SIZE if undeclared else len(DATA))
    early = asyncio.create_task(put_chunk(engine, ALICE, upload.id, span, body, early=Early.KEEP))
    await until(partial(received, engine, upload, 300_000))
    seen = await uploads.get_upload(engine, ALICE, upload.id)
    assert (seen.received, seen.chunk_count) == (300_000, 3)
    gate.set()
    last = await early
    assert (last.upload.received, last.upload.chunk_count) == (len(DATA), 11)
    assert last.chunk.range.end == len(DATA)
    upload = await uploads.get_upload(engine, ALICE, upload.id)
    assert (upload.received, upload.chunk_count) == (len(DATA), 11)
    if undeclared:
        await uploads.set_size(engine, ALICE, upload.id, len(DATA))
    assert await content(engine, await artifact_of(engine, await done(engine, upload, sha256(DATA)))) == DATA


async def test_a_newer_request_takes_over_from_any_segment(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "SEGMENT", 100_000)
    upload = await create(engine)
    body = BytesBody(DATA, block=50_000, before_block=lambda number: asyncio.Event() if number == 7 else None)
    stalled = asyncio.create_task(put_chunk(engine, ALICE, upload.id, ByteRange(0, len(DATA)), body, early=Early.KEEP))
    await until(partial(received, engine, upload, 300_000))
    async with asyncio.timeout(5):
        _, offset = await chunks.settle(engine, ALICE, upload.id)
        with pytest.raises(Superseded):
            await stalled
    rest = ByteRange(offset, len(DATA) - offset)
    await put_chunk(engine, ALICE, upload.id, rest, BytesBody(DATA[offset:]), early=Early.KEEP)
    assert await content(engine, await artifact_of(engine, await done(engine, upload, sha256(DATA)))) == DATA


async def test_a_slow_body_is_recorded_by_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "SEGMENT_SECONDS", 0.0)
    upload = await create(engine)
    body = BytesBody(DATA, block=300_000)
    await put_chunk(engine, ALICE, upload.id, ByteRange(0, len(DATA)), body, early=Early.KEEP)
    assert (await uploads.get_upload(engine, ALICE, upload.id)).chunk_count == 4


async def test_segments_leave_room_for_other_chunks(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many a body would make, an upload is not refused for them."""
    monkeypatch.setattr(receiver, "SEGMENT", 10_000)
    engine.limits = replace(engine.limits, max_chunks=10)
    upload = await create(engine)
    body = BytesBody(DATA, block=10_000)
    await put_chunk(engine, ALICE, upload.id, ByteRange(0, len(DATA)), body, early=Early.KEEP)
    assert (await uploads.get_upload(engine, ALICE, upload.id)).chunk_count == 6


@pytest.mark.parametrize("declared", [True, False])
async def test_small_chunks_are_few(engine: Engine, monkeypatch: pytest.MonkeyPatch, declared: bool) -> None:
    """Rows are no cheaper for chunks of a byte: beyond some, an upload has one for each KiB at most."""
    monkeypatch.setattr(uploads, "FREE_CHUNKS", 5)
    data = DATA[: 8 << 10]
    upload = await uploads.create_upload(engine, ALICE, size=len(data) if declared else None)
    many = 8 if declared else 5
    for offset in range(many):
        await put_chunk(engine, ALICE, upload.id, ByteRange(offset, 1), BytesBody(data[offset : offset + 1]))
    with pytest.raises(TooManyChunks):
        await put_chunk(engine, ALICE, upload.id, ByteRange(many, 1), BytesBody(data[many : many + 1]))


async def test_an_upload_deleted_between_segments_takes_no_more(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "SEGMENT", 100_000)
    upload = await create(engine)
    gate = asyncio.Event()
    body = BytesBody(DATA, block=50_000, before_block=lambda number: gate if number == 3 else None)
    put = asyncio.create_task(put_chunk(engine, ALICE, upload.id, ByteRange(0, len(DATA)), body, early=Early.KEEP))
    await until(partial(received, engine, upload, 100_000))
    await uploads.delete_upload(engine, ALICE, upload.id)
    gate.set()
    with pytest.raises((NotFound, WrongState)):
        await put
    with pytest.raises(NotFound):
        await uploads.get_upload(engine, ALICE, upload.id)


@pytest.mark.parametrize("length", [0, 1, 9_999, 10_001, 80_000])
async def test_a_body_of_another_length_is_refused(engine: Engine, length: int) -> None:
    upload = await create(engine)
    with pytest.raises(BodySizeMismatch):
        await put_chunk(engine, ALICE, upload.id, ByteRange(0, 10_000), BytesBody(DATA[:length]))
    assert (await uploads.get_upload(engine, ALICE, upload.id)).received == 0


@pytest.mark.parametrize("when", ["sha256", "late_sha256"])
async def test_a_wrong_chunk_digest_is_refused_and_a_right_one_verifies(engine: Engine, when: str) -> None:
    upload = await create(engine)
    span = ByteRange(0, len(DATA))
    with pytest.raises(ChunkDigestMismatch):
        await put(engine, upload, span, DATA, **{when: sha256(b"other")})
    assert (await uploads.get_upload(engine, ALICE, upload.id)).received == 0
    received = await put(engine, upload, span, DATA, **{when: sha256(DATA)})
    assert received.chunk.verified
    assert received.chunk.sha256 == sha256(DATA)
    await artifact_of(engine, await done(engine, upload, None))


async def test_commit_without_a_digest_needs_verified_chunks(engine: Engine) -> None:
    upload = await create(engine)
    await put(engine, upload, ByteRange(0, len(DATA)))
    with pytest.raises(UnverifiedUpload):
        await done(engine, upload, None)


async def test_partial_overlap_is_refused_with_the_chunks(engine: Engine) -> None:
    upload = await create(engine)
    await put(engine, upload, ByteRange(100, 100))
    await put(engine, upload, ByteRange(300, 100))
    for span in (ByteRange(50, 100), ByteRange(150, 10), ByteRange(199, 2), ByteRange(100, 99), ByteRange(0, 1000)):
        with pytest.raises(ChunkOverlap) as caught:
            await put(engine, upload, span)
        expected = [chunk for chunk in (ByteRange(100, 100), ByteRange(300, 100)) if chunk.overlaps(span)]
        assert caught.value.chunks == expected


async def test_a_refused_overlap_writes_nothing(engine: Engine) -> None:
    upload = await create(engine)
    await put(engine, upload, ByteRange(0, 500_000))
    await put(engine, upload, ByteRange(500_000, len(DATA) - 500_000))
    for span in (ByteRange(499_000, 2000), ByteRange(0, 1000), ByteRange(0, len(DATA))):
        with pytest.raises(ChunkOverlap):
            await put(engine, upload, span, bytes(len(DATA)))
    assert await content(engine, await artifact_of(engine, await done(engine, upload, sha256(DATA)))) == DATA


async def test_a_range_beyond_the_size_or_of_another_total_is_refused(engine: Engine) -> None:
    upload = await create(engine)
    with pytest.raises(BadContentRange):
        await put(engine, upload, ByteRange(len(DATA) - 1, 2))
    with pytest.raises(BadContentRange):
        await put_chunk(engine, ALICE, upload.id, ByteRange(0, 10), BytesBody(DATA[:10]), total=len(DATA) + 1)


@in_place
async def test_the_newest_of_two_writers_wins(engine: Engine) -> None:
    upload = await create(engine)
    span = ByteRange(0, len(DATA))
    never = asyncio.Event()
    slow = BytesBody(bytes(len(DATA)), before_block=lambda number: never if number == 3 else None)
    old = asyncio.create_task(put_chunk(engine, ALICE, upload.id, span, slow))
    await slow.started.wait()
    await put(engine, upload, span)
    with pytest.raises(Superseded):
        await old
    assert await content(engine, await artifact_of(engine, await done(engine, upload, sha256(DATA)))) == DATA


async def test_four_equal_writers_leave_one_row(engine: Engine) -> None:
    upload = await create(engine)
    span = ByteRange(0, len(DATA))
    results = await asyncio.gather(*(put(engine, upload, span) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(result, Received | Superseded) for result in results), results
    assert any(isinstance(result, Received) for result in results)
    assert (await uploads.get_upload(engine, ALICE, upload.id)).chunk_count == 1
    assert await content(engine, await artifact_of(engine, await done(engine, upload, sha256(DATA)))) == DATA


async def test_nothing_is_written_after_the_commit(engine: Engine) -> None:
    upload = await create(engine)
    span = ByteRange(0, len(DATA))
    await put(engine, upload, span)
    await done(engine, upload, sha256(DATA))
    with pytest.raises(WrongState):
        await put(engine, upload, span, bytes(len(DATA)))


async def test_two_commits_at_once_and_one_later_give_one_artifact(engine: Engine) -> None:
    upload = await create(engine)
    await put(engine, upload, ByteRange(0, len(DATA)))
    tasks = await asyncio.gather(*(done(engine, upload, sha256(DATA)) for _ in range(2)))
    tasks.append(await done(engine, upload, sha256(DATA)))
    assert len({task.artifact_id for task in tasks}) == 1
    with pytest.raises(ArtifactDigestMismatch):
        await done(engine, upload, sha256(b"other"))


async def test_the_same_content_twice_is_one_artifact_of_each_owner(engine: Engine) -> None:
    found = []
    for who in (ALICE, ALICE, BOB):
        upload = await create(engine, who=who)
        await put_chunk(engine, who, upload.id, ByteRange(0, len(DATA)), BytesBody(DATA))
        task = await commit(engine, who, upload.id, sha256(DATA), wait=WAIT)
        found.append(await artifact_of(engine, task, who))
    first, second, bobs = found
    assert first == second
    assert bobs.id != first.id
    await artifacts.delete_artifact(engine, ALICE, first.id)
    assert await content(engine, bobs) == DATA
    await artifacts.delete_artifact(engine, BOB, bobs.id)
    with pytest.raises(NotFound):
        await content(engine, bobs)


async def test_declared_content_completes_at_once_only_for_its_owner(engine: Engine) -> None:
    upload = await create(engine, sha256=sha256(DATA))
    assert upload.state is UploadState.OPEN
    await put(engine, upload, ByteRange(0, len(DATA)))
    await artifact_of(engine, await done(engine, upload, None))
    assert (await create(engine, sha256=sha256(DATA))).state is UploadState.COMPLETED
    assert (await create(engine, who=BOB, sha256=sha256(DATA))).state is UploadState.OPEN
    with pytest.raises(ArtifactDigestMismatch):
        await done(engine, await create(engine, sha256=sha256(b"x")), sha256(DATA))


async def test_a_deleted_upload_takes_its_writers_with_it(engine: Engine) -> None:
    upload = await create(engine)
    gate = asyncio.Event()
    body = BytesBody(DATA, before_block=lambda number: gate if number == 3 else None)
    writer = asyncio.create_task(put_chunk(engine, ALICE, upload.id, ByteRange(0, len(DATA)), body))
    await body.started.wait()
    await uploads.delete_upload(engine, ALICE, upload.id)
    gate.set()
    with pytest.raises((NotFound, WrongState, Superseded)):
        await writer
    with pytest.raises(NotFound):
        await uploads.get_upload(engine, ALICE, upload.id)
    assert list(engine.storage.list_staged()) == []


async def test_what_belongs_to_others_is_not_there(engine: Engine) -> None:
    upload = await create(engine)
    await put(engine, upload, ByteRange(0, len(DATA)))
    span = ByteRange(0, 10)
    with pytest.raises(NotFound):
        await uploads.get_upload(engine, BOB, upload.id)
    with pytest.raises(NotFound):
        await put_chunk(engine, BOB, upload.id, span, BytesBody(DATA[:10]))
    with pytest.raises(NotFound):
        await commit(engine, BOB, upload.id, sha256(DATA))
    with pytest.raises(NotFound):
        await uploads.delete_upload(engine, BOB, upload.id)
    artifact = await artifact_of(engine, await done(engine, upload, sha256(DATA)))
    with pytest.raises(NotFound):
        await artifacts.delete_artifact(engine, BOB, artifact.id)
    assert (await uploads.list_uploads(engine, BOB)).count == 0
    assert (await artifacts.list_artifacts(engine, BOB)).count == 0
    assert (await uploads.list_uploads(engine, ADMIN)).count == 1
    assert await artifacts.get_artifact(engine, ADMIN, artifact.id) == artifact


async def test_the_largest_size_is_the_operators(engine: Engine) -> None:
    engine.limits = Limits(max_upload_size=1000)
    with pytest.raises(UploadTooLarge):
        await create(engine)
    await uploads.create_upload(engine, ALICE, size=1000)


async def test_a_file_in_one_request(engine: Engine) -> None:
    body = BytesBody(DATA, sha256=sha256(DATA), filename="a.iso")
    artifact = await artifacts.store_file(engine, ALICE, body, bound=len(DATA) + 500)
    assert (artifact.size, artifact.sha256, artifact.filename) == (len(DATA), sha256(DATA), "a.iso")
    assert await content(engine, artifact) == DATA
    with pytest.raises(ChunkDigestMismatch):
        await artifacts.store_file(engine, ALICE, BytesBody(DATA, sha256=sha256(b"")), bound=len(DATA))
    assert (await uploads.list_uploads(engine, ALICE)).count == 0
    assert list(engine.storage.list_staged()) == []


async def test_idle_uploads_expire_and_active_ones_do_not(engine: Engine, clock: Clock) -> None:
    idle, active = await create(engine), await create(engine)
    clock.move(days=6)
    await put(engine, active, ByteRange(0, 10))
    clock.move(days=2)
    assert await expire(engine) == [idle.id]
    assert (await uploads.list_uploads(engine, ALICE)).items[0].id == active.id


async def test_completed_uploads_leave_the_list_and_their_artifacts_stay(engine: Engine, clock: Clock) -> None:
    upload = await create(engine)
    await put(engine, upload, ByteRange(0, len(DATA)))
    artifact = await artifact_of(engine, await done(engine, upload, sha256(DATA)))
    clock.move(days=8)
    assert await expire(engine) == [upload.id]
    assert await content(engine, artifact) == DATA


async def test_the_size_of_a_completed_upload_stays(engine: Engine) -> None:
    upload = await create(engine)
    await put(engine, upload, ByteRange(0, len(DATA)))
    await artifact_of(engine, await done(engine, upload, sha256(DATA)))
    for size in (len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(WrongState):
            await uploads.set_size(engine, ALICE, upload.id, size)
