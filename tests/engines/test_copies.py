"""Ranges that the object store copies by itself: what is left for the server, and what can go wrong meanwhile."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from typing import NoReturn

import pytest

from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange, split
from partwise.core.records import Artifact, Principal, TaskState, Upload
from partwise.engine import artifacts, uploads
from partwise.engine.chunks import put_chunk
from partwise.engine.commit import commit
from partwise.engine.copying import CopyRange, copy_ranges
from partwise.engine.engine import Engine
from partwise.engine.ports import Origin
from partwise.storage.objects.storage import ObjectStorage
from tests.conftest import Engines
from tests.support.bodies import BytesBody, sha256
from tests.support.engines import open_objects
from tests.support.until import until

pytestmark = pytest.mark.engines

ANN = Principal("ann")
MIB = 1 << 20
#: Three objects, of which the store copies ranges: it takes no parts below 5 MiB but the last.
DATA, STEP = random.Random(7).randbytes(18 * MIB), 6 * MIB


@pytest.fixture
def urls(object_engines: Engines) -> dict[str, str]:
    return object_engines()


@pytest.fixture
async def engine(urls: dict[str, str]) -> AsyncIterator[Engine]:
    engine, _, _ = open_objects(urls)
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture
def storage(engine: Engine) -> ObjectStorage:
    assert isinstance(engine.storage, ObjectStorage)
    return engine.storage


async def store(engine: Engine, step: int = STEP) -> Artifact:
    upload = await uploads.create_upload(engine, ANN, size=len(DATA))
    for span in split(ByteRange(0, len(DATA)), step):
        await put_chunk(engine, ANN, upload.id, span, BytesBody(DATA[span.offset : span.end]))
    return await done(engine, upload)


async def done(engine: Engine, upload: Upload, data: bytes = DATA) -> Artifact:
    task = await commit(engine, ANN, upload.id, sha256(data), wait=30)
    assert (task.state, task.error) == (TaskState.COMPLETED, None)
    assert task.artifact_id is not None
    return await artifacts.get_artifact(engine, ANN, task.artifact_id)


async def copy(engine: Engine, upload: Upload, artifact: Artifact, offset: int, size: int, source: int) -> str:
    wanted = CopyRange(ByteRange(offset, size), artifact.id, source)
    _, (result,) = await copy_ranges(engine, ANN, upload.id, [wanted])
    return result.state.value


async def chunks(engine: Engine, upload: Upload) -> list[tuple[int, int]]:
    return [(chunk.offset, chunk.size) for chunk in await engine.catalog.list_chunks(upload.id)]


def refuse(*_: object, **__: object) -> NoReturn:
    raise StorageFailed("The object store refused to do this.")


async def test_no_byte_passes_the_server(
    engine: Engine, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = await store(engine)
    new = DATA[MIB : 13 * MIB] + b"new"
    upload = await uploads.create_upload(engine, ANN, size=len(new))
    with monkeypatch.context() as patched:
        patched.setattr(storage.store, "put", refuse)
        assert await copy(engine, upload, artifact, 0, 12 * MIB, MIB) == "copied"
    assert await chunks(engine, upload) == [(0, 12 * MIB)]
    await put_chunk(engine, ANN, upload.id, ByteRange(12 * MIB, 3), BytesBody(b"new"))
    await done(engine, upload, new)


async def test_little_of_an_object_is_read(engine: Engine) -> None:
    """A store takes no part of a few bytes but as the last one."""
    artifact = await store(engine)
    new = DATA[STEP - 1 : 2 * STEP + 100]
    upload = await uploads.create_upload(engine, ANN, size=len(new))
    assert await copy(engine, upload, artifact, 0, len(new), STEP - 1) == "copied"
    await done(engine, upload, new)


async def test_a_repeat_changes_nothing(engine: Engine) -> None:
    artifact = await store(engine)
    upload = await uploads.create_upload(engine, ANN, size=len(DATA))
    for _ in range(2):
        assert await copy(engine, upload, artifact, 0, len(DATA), 0) == "copied"
        found = await uploads.get_upload(engine, ANN, upload.id)
        assert (found.seq, found.epoch, found.chunk_count) == (1, upload.epoch, 1)
    await done(engine, upload)


@pytest.mark.parametrize("call", ["begin", "copy", "complete"])
async def test_a_store_that_does_not_copy(
    engine: Engine, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Not at all, not these parts, or not any more: the bytes are read and written."""
    artifact = await store(engine)
    upload = await uploads.create_upload(engine, ANN, size=len(DATA))
    allowed, real = {"begin": 0, "copy": 1, "complete": 0}[call], getattr(storage.store, call)

    def refuse_some(*arguments: object) -> object:
        nonlocal allowed
        allowed -= 1
        return refuse() if allowed < 0 else real(*arguments)

    monkeypatch.setattr(storage.store, call, refuse_some)
    assert await copy(engine, upload, artifact, 0, len(DATA), 0) == "copied"
    (chunk,) = await engine.catalog.list_chunks(upload.id)
    assert chunk.sha256 == sha256(DATA)
    await done(engine, upload)
    await until(lambda: not list(storage.store.list_unfinished()))


@pytest.mark.parametrize("cause", ["deleted", "merged"])
async def test_a_source_that_goes_in_the_middle(
    engine: Engine, storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """Its objects are garbage then, and stay for the time of grace."""
    artifact = await store(engine)
    upload = await uploads.create_upload(engine, ANN, size=len(DATA))
    opened = storage.open_artifact

    async def and_then(sha256: str, span: ByteRange) -> Sequence[Origin]:
        found = await opened(sha256, span)
        if cause == "deleted":
            await artifacts.delete_artifact(engine, ANN, artifact.id)
        else:
            assert await storage.house.merge() == 1
        await storage.house.delete_garbage()
        return found

    monkeypatch.setattr(storage, "open_artifact", and_then)
    assert await copy(engine, upload, artifact, 0, len(DATA), 0) == "copied"
    await done(engine, upload)


async def test_an_object_that_the_store_has_lost(engine: Engine, storage: ObjectStorage) -> None:
    artifact = await store(engine)
    lost = (await storage._records.list_segments(artifact.sha256))[1]
    storage.store.delete(lost.ref)
    upload = await uploads.create_upload(engine, ANN, size=len(DATA))
    assert await copy(engine, upload, artifact, 0, len(DATA), 0) == "damaged"
    assert await chunks(engine, upload) == []
    await until(lambda: not list(storage.store.list_unfinished()))
    assert await copy(engine, upload, artifact, 2 * STEP, 2 * MIB, 2 * STEP) == "copied"


async def test_an_object_that_has_other_bytes(engine: Engine, storage: ObjectStorage) -> None:
    """The copy is wrong, the commit refuses it, and the bytes that are sent take its place."""
    artifact = await store(engine)
    wrong = (await storage._records.list_segments(artifact.sha256))[1]
    storage.store.delete(wrong.ref)
    put = storage.store.put(wrong.ref, wrong.size)
    put.write(memoryview(bytes(wrong.size)))
    put.finish()
    upload = await uploads.create_upload(engine, ANN, size=len(DATA))
    for offset in range(0, len(DATA), STEP):
        assert await copy(engine, upload, artifact, offset, STEP, offset) == "copied"
    task = await commit(engine, ANN, upload.id, sha256(DATA), wait=30)
    assert task.state is TaskState.FAILED
    await put_chunk(engine, ANN, upload.id, ByteRange(STEP, STEP), BytesBody(DATA[STEP : 2 * STEP]))
    await done(engine, upload)
