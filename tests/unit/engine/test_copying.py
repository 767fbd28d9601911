"""Ranges that are copied from artifacts: by the rules of every chunk, and from one's own artifacts alone."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings

from partwise.core.delta import Copy, Matcher, Script
from partwise.core.errors import BytesLost, NotFound, QuotaExceeded, StorageFailed, TooManyChunks, WrongState
from partwise.core.ranges import MAX_SIZE, ByteRange
from partwise.core.records import Artifact, Principal, TaskState, Upload
from partwise.engine import artifacts, uploads
from partwise.engine.chunks import put_chunk
from partwise.engine.commit import commit
from partwise.engine.context import Limits
from partwise.engine.copying import Copied, CopyRange, CopyState, copy_ranges
from partwise.engine.engine import Engine
from partwise.engine.ports import BLOCK, Origin
from tests.support.bodies import BytesBody, sha256
from tests.support.edits import Edit, cut, edited, noise, scripts, sign
from tests.support.engines import new_data_folder, open_engine
from tests.support.folders import fast_folder
from tests.unit.engine.conftest import ADMIN, ALICE, BOB

DATA = noise(1, 2_500_000)
WAIT = 20.0


async def store(engine: Engine, data: bytes = DATA, who: Principal = ALICE) -> Artifact:
    return await artifacts.store_file(engine, who, BytesBody(data), bound=len(data))


async def create(engine: Engine, size: int = len(DATA), who: Principal = ALICE) -> Upload:
    return await uploads.create_upload(engine, who, size=size)


def states(results: list[Copied]) -> list[str]:
    return [result.state.value for result in results]


async def copy(engine: Engine, upload: Upload, *ranges: CopyRange, who: Principal = ALICE) -> list[str]:
    after, results = await copy_ranges(engine, who, upload.id, ranges)
    assert after.received == (await uploads.get_upload(engine, who, upload.id)).received
    return states(results)


async def nothing(sha256: str, span: ByteRange) -> list[Origin]:
    """In the place of ``open_artifact``: have the bytes read."""
    return []


async def test_copied_ranges_are_chunks(engine: Engine) -> None:
    artifact, upload = await store(engine), await create(engine)
    ranges = [CopyRange(ByteRange(at, 500_000), artifact.id, at) for at in range(0, len(DATA), 500_000)]
    assert await copy(engine, upload, *ranges) == ["copied"] * 5
    chunks = await engine.catalog.list_chunks(upload.id)
    assert [chunk.range for chunk in chunks] == [one.span for one in ranges]
    assert not any(chunk.verified for chunk in chunks)
    task = await commit(engine, ALICE, upload.id, artifact.sha256, wait=WAIT)
    assert task.state is TaskState.COMPLETED


async def test_the_same_range_again_changes_nothing(engine: Engine) -> None:
    artifact, upload = await store(engine), await create(engine)
    wanted = CopyRange(ByteRange(100, 5000), artifact.id, 7)
    assert await copy(engine, upload, wanted, wanted) == ["copied"] * 2
    before = await uploads.get_upload(engine, ALICE, upload.id)
    assert await copy(engine, upload, wanted) == ["copied"]
    assert (await uploads.get_upload(engine, ALICE, upload.id)).seq == before.seq


@settings(max_examples=12, deadline=None)
@given(script=scripts)
def test_any_edit_script_gives_the_right_artifact(script: list[Edit]) -> None:
    with tempfile.TemporaryDirectory(prefix="copy-", dir=fast_folder()) as folder:
        asyncio.run(_made_of_copies(open_engine(new_data_folder(Path(folder) / "data")), script))


async def _made_of_copies(engine: Engine, script: list[Edit]) -> None:
    await engine.start()
    try:
        base = noise(5, 300_000)
        new, signature = edited(base, script), sign(base)
        artifact, upload = await store(engine, base), await create(engine, len(new))
        making = Script(Matcher(signature))
        ranges = [part for piece in cut(new, signature.cutting) for part in making.add(piece)]
        for part in [*ranges, *making.end()]:
            if isinstance(part, Copy):
                assert await copy(engine, upload, CopyRange(part.range, artifact.id, part.source)) == ["copied"]
            else:
                body = BytesBody(new[part.range.offset : part.range.end])
                await put_chunk(engine, ALICE, upload.id, part.range, body)
        task = await commit(engine, ALICE, upload.id, sha256(new), wait=WAIT)
        assert task.state is TaskState.COMPLETED
    finally:
        await engine.stop()


async def test_what_is_not_ones_own_looks_like_nothing(engine: Engine) -> None:
    """Neither by its answer nor by what is read: another's artifact, an upload's id and a made-up id are the same."""
    hers, his = await store(engine), await store(engine, noise(2, 100_000), BOB)
    upload = await create(engine)
    answers = []
    for id_ in (his.id, upload.id, "11111111-2222-3333-4444-555555555555", "", "../../etc/passwd", his.sha256):
        _, (result,) = await copy_ranges(engine, ALICE, upload.id, [CopyRange(ByteRange(0, 10), id_, 0)])
        answers.append((result.state, str(result.error)))
    assert set(answers) == {(CopyState.MISSING, "No such artifact. It may have expired or been deleted.")}
    assert await copy(engine, upload, CopyRange(ByteRange(0, 10), hers.id, 0)) == ["copied"]


async def test_an_administrator_copies_for_an_owner_what_that_owner_has(engine: Engine) -> None:
    hers = await store(engine)
    upload, other = await create(engine), await create(engine, who=ADMIN)
    wanted = CopyRange(ByteRange(0, 10), hers.id, 0)
    assert await copy(engine, upload, wanted, who=ADMIN) == ["copied"]
    assert await copy(engine, other, wanted, who=ADMIN) == ["missing"]


async def test_an_upload_of_another_is_not_there(engine: Engine) -> None:
    his = await store(engine, who=BOB)
    upload = await create(engine)
    with pytest.raises(NotFound, match="upload"):
        await copy_ranges(engine, BOB, upload.id, [CopyRange(ByteRange(0, 10), his.id, 0)])


@pytest.mark.parametrize(
    "offset, size, source",
    [
        (0, len(DATA) + 1, 0),
        (0, 10, len(DATA) - 9),
        (0, 1, len(DATA)),
        (len(DATA) - 5, 10, 0),
        (len(DATA), 1, 0),
        (MAX_SIZE, 10, 0),
        (0, 10, MAX_SIZE),
    ],
)
async def test_ranges_beyond_the_end_are_refused(engine: Engine, offset: int, size: int, source: int) -> None:
    artifact, upload = await store(engine), await create(engine)
    wanted = CopyRange(ByteRange(offset, size), artifact.id, source)
    assert await copy(engine, upload, wanted) == ["refused"]
    assert (await uploads.get_upload(engine, ALICE, upload.id)).received == 0


async def test_ranges_that_overlap_are_refused_and_the_others_copied(engine: Engine) -> None:
    artifact, upload = await store(engine), await create(engine)
    spans = [ByteRange(0, 100), ByteRange(50, 100), ByteRange(0, 101), ByteRange(99, 1), ByteRange(100, 100)]
    ranges = [CopyRange(span, artifact.id, span.offset) for span in spans]
    assert await copy(engine, upload, *ranges) == ["copied", "refused", "refused", "refused", "copied"]


async def test_a_wrong_copy_is_replaced_by_the_bytes_that_are_sent(engine: Engine) -> None:
    artifact, upload = await store(engine), await create(engine)
    span = ByteRange(0, len(DATA))
    other = await store(engine, DATA[:-1] + b"?")
    assert await copy(engine, upload, CopyRange(span, other.id, 0)) == ["copied"]
    task = await commit(engine, ALICE, upload.id, artifact.sha256, wait=WAIT)
    assert task.state is TaskState.FAILED
    await put_chunk(engine, ALICE, upload.id, span, BytesBody(DATA))
    task = await commit(engine, ALICE, upload.id, artifact.sha256, wait=WAIT)
    assert task.state is TaskState.COMPLETED


async def test_a_source_that_is_deleted_or_damaged(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact, upload = await store(engine), await create(engine)
    wanted = CopyRange(ByteRange(0, len(DATA)), artifact.id, 0)
    for error, state in ((BytesLost("The disk is damaged."), "damaged"), (NotFound("artifact"), "missing")):

        async def failing(
            sha256: str, span: ByteRange, block: int = BLOCK, error: Exception = error
        ) -> AsyncIterator[bytes]:
            yield DATA[:BLOCK]
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(engine.storage, "open_artifact", nothing)
            patched.setattr(engine.storage, "read_artifact", failing)
            assert await copy(engine, upload, wanted) == [state]
        assert (await uploads.get_upload(engine, ALICE, upload.id)).received == 0
    await artifacts.delete_artifact(engine, ALICE, artifact.id)
    assert await copy(engine, upload, wanted) == ["missing"]


async def test_a_storage_that_fails_ends_the_request_and_keeps_what_was_copied(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact, upload = await store(engine), await create(engine)
    read = engine.storage.read_artifact

    def failing(digest: str, span: ByteRange, block: int = BLOCK) -> AsyncIterator[bytes]:
        if span.offset:
            raise StorageFailed("The storage does not answer.")
        return read(digest, span, block)

    monkeypatch.setattr(engine.storage, "open_artifact", nothing)
    monkeypatch.setattr(engine.storage, "read_artifact", failing)
    ranges = [CopyRange(ByteRange(at, 100), artifact.id, at) for at in (0, 100)]
    with pytest.raises(StorageFailed):
        await copy_ranges(engine, ALICE, upload.id, ranges)
    assert (await uploads.get_upload(engine, ALICE, upload.id)).received == 100


async def test_a_completed_upload_takes_nothing(engine: Engine) -> None:
    artifact, upload = await store(engine), await create(engine)
    wanted = CopyRange(ByteRange(0, len(DATA)), artifact.id, 0)
    await copy(engine, upload, wanted)
    await commit(engine, ALICE, upload.id, artifact.sha256, wait=WAIT)
    with pytest.raises(WrongState):
        await copy_ranges(engine, ALICE, upload.id, [wanted])


async def test_copied_bytes_count_towards_the_quota(engine: Engine) -> None:
    """Also where the storage shares their blocks, and also those of an upload whose size was not told."""
    artifact = await store(engine)
    engine.limits = Limits(quota=2 * len(DATA) - 1)
    with pytest.raises(QuotaExceeded):
        await create(engine)
    upload = await uploads.create_upload(engine, ALICE, size=None)
    ranges = [CopyRange(ByteRange(at, 500_000), artifact.id, at) for at in range(0, len(DATA), 500_000)]
    with pytest.raises(QuotaExceeded):
        await copy(engine, upload, *ranges)
    assert (await uploads.get_upload(engine, ALICE, upload.id)).received == 2_000_000


async def test_the_same_bytes_may_be_copied_to_many_places(engine: Engine) -> None:
    artifact = await store(engine, DATA[:1000])
    upload = await create(engine, 256_000)
    ranges = [CopyRange(ByteRange(at, 1000), artifact.id, 0) for at in range(0, 256_000, 1000)]
    assert set(await copy(engine, upload, *ranges)) == {"copied"}
    task = await commit(engine, ALICE, upload.id, sha256(DATA[:1000] * 256), wait=WAIT)
    assert task.state is TaskState.COMPLETED


async def test_many_who_copy_the_same_range_at_once(engine: Engine) -> None:
    """Each range is one chunk in the end, whoever comes first."""
    artifact, upload = await store(engine), await create(engine)
    wanted = CopyRange(ByteRange(0, len(DATA)), artifact.id, 0)
    results = await asyncio.gather(*(copy(engine, upload, wanted) for _ in range(8)), return_exceptions=True)
    assert ["copied"] in results
    assert all(result in (["copied"], ["refused"]) for result in results)
    assert [chunk.range for chunk in await engine.catalog.list_chunks(upload.id)] == [wanted.span]
    task = await commit(engine, ALICE, upload.id, artifact.sha256, wait=WAIT)
    assert task.state is TaskState.COMPLETED


async def test_the_number_of_chunks_is_limited_as_ever(engine: Engine) -> None:
    engine.limits = Limits(max_chunks=2)
    artifact, upload = await store(engine), await create(engine)
    ranges = [CopyRange(ByteRange(at, 100), artifact.id, at) for at in (0, 100, 200)]
    with pytest.raises(TooManyChunks):
        await copy_ranges(engine, ALICE, upload.id, ranges)
    assert (await uploads.get_upload(engine, ALICE, upload.id)).received == 200


async def test_what_takes_too_long_is_asked_for_again(engine: Engine) -> None:
    artifact, upload = await store(engine), await create(engine)
    ranges = [CopyRange(ByteRange(at, 100), artifact.id, at) for at in (0, 100, 200)]
    _, results = await copy_ranges(engine, ALICE, upload.id, ranges, seconds=0)
    assert states(results) == ["copied", "later", "later"]
    _, results = await copy_ranges(engine, ALICE, upload.id, ranges[1:], seconds=0)
    assert states(results) == ["copied", "later"]


async def test_the_newest_writer_takes_over(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine.storage.remote:
        pytest.skip("no writer stands in another's way there")
    artifact, upload = await store(engine), await create(engine)
    span = ByteRange(0, len(DATA))
    begun, gate = asyncio.Event(), asyncio.Event()

    async def slowly(digest: str, wanted: ByteRange, block: int = BLOCK) -> AsyncIterator[bytes]:
        yield DATA[:BLOCK]
        begun.set()
        await gate.wait()

    monkeypatch.setattr(engine.storage, "open_artifact", nothing)
    monkeypatch.setattr(engine.storage, "read_artifact", slowly)
    copying = asyncio.create_task(copy_ranges(engine, ALICE, upload.id, [CopyRange(span, artifact.id, 0)]))
    await begun.wait()
    await put_chunk(engine, ALICE, upload.id, span, BytesBody(DATA))
    _, (result,) = await copying
    assert result.state is CopyState.REFUSED
    assert (await uploads.get_upload(engine, ALICE, upload.id)).received == len(DATA)
