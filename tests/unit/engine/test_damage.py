"""What becomes of uploads and artifacts whose bytes cannot be read back: it is said, and sent again they are mended."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from partwise.core.errors import BytesLost, NotFound
from partwise.core.ranges import ByteRange
from partwise.core.records import Task, TaskState, Upload
from partwise.core.state import UploadState
from partwise.engine import check, uploads
from partwise.engine.artifacts import list_artifacts, read_artifact
from partwise.engine.chunks import put_chunk
from partwise.engine.commit import commit, drive
from partwise.engine.engine import Engine
from partwise.storage.files import SystemCalls
from tests.support.bodies import BytesBody, sha256
from tests.support.engines import catalog_of, new_data_folder, open_engine
from tests.support.folders import fast_folder
from tests.unit.engine.conftest import ALICE

DATA = random.Random(7).randbytes(3000)
DIGEST = sha256(DATA)
THIRDS = [ByteRange(0, 1000), ByteRange(1000, 1000), ByteRange(2000, 1000)]


class BadSectors(SystemCalls):
    """A disk that cannot read some bytes back, whatever file they are of; writing them anew does not help, or does."""

    def __init__(self) -> None:
        self.bad: ByteRange | None = None
        self.heals = True
        setattr(self, "preadv", self._preadv)  # noqa: B010
        setattr(self, "pwrite", self._pwrite)  # noqa: B010

    def _preadv(self, fd: int, buffers: list[memoryview], offset: int) -> int:
        if self.bad is not None and self.bad.overlaps(ByteRange(offset, len(buffers[0]))):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.preadv(fd, buffers, offset)

    def _pwrite(self, fd: int, block: Any, offset: int) -> int:
        if self.heals:
            self.bad = None
        return os.pwrite(fd, block, offset)


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        yield new_data_folder(Path(folder) / "data")


@pytest.fixture
def disk() -> BadSectors:
    return BadSectors()


@pytest.fixture
async def engine(data: Path, disk: BadSectors) -> AsyncIterator[Engine]:
    engine = open_engine(data, calls=disk)
    await engine.start()
    yield engine
    await engine.stop()


async def begun(engine: Engine, spans: list[ByteRange] = THIRDS) -> Upload:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    for span in spans:
        await put(engine, upload, span)
    return upload


async def put(engine: Engine, upload: Upload, span: ByteRange) -> None:
    await put_chunk(engine, ALICE, upload.id, span, BytesBody(DATA[span.offset : span.end]))


async def commits(engine: Engine, upload: Upload) -> Task:
    return await commit(engine, ALICE, upload.id, DIGEST, wait=20)


async def recorded(engine: Engine, upload: Upload) -> list[ByteRange]:
    return [chunk.range for chunk in await engine.catalog.list_chunks(upload.id)]


async def is_whole(engine: Engine) -> bool:
    [artifact] = (await list_artifacts(engine, ALICE)).items
    whole = b"".join([block async for block in read_artifact(engine, artifact, ByteRange(0, artifact.size))])
    return whole == DATA and await engine.storage.verify_artifact(DIGEST)


@pytest.mark.timeout(60)
async def test_a_commit_that_cannot_read_a_chunk_says_which_one_is_lost(engine: Engine, disk: BadSectors) -> None:
    upload = await begun(engine, [THIRDS[0], THIRDS[2]])
    await put(engine, upload, THIRDS[1])
    disk.bad = ByteRange(1500, 1)
    await engine.catalog.unrecord_chunk(upload.id, 0)  # what was hashed is void: it has to be read again
    await put(engine, upload, THIRDS[0])
    disk.bad = ByteRange(1500, 1)
    task = await commits(engine, upload)
    assert task.state is TaskState.FAILED
    assert "missing" in str(task.error)
    assert await recorded(engine, upload) == [THIRDS[0], THIRDS[2]]
    await put(engine, upload, THIRDS[1])
    assert (await commits(engine, upload)).state is TaskState.COMPLETED
    assert await is_whole(engine)


@pytest.mark.timeout(60)
async def test_a_chunk_that_cannot_be_read_is_replaced_by_the_same_bytes(engine: Engine, disk: BadSectors) -> None:
    upload = await begun(engine)
    disk.bad = ByteRange(1500, 1)
    await put(engine, upload, THIRDS[1])
    assert disk.bad is None
    assert (await commits(engine, upload)).state is TaskState.COMPLETED
    assert await is_whole(engine)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("hashed", [True, False])
async def test_a_file_that_was_cut_off_never_becomes_an_artifact(engine: Engine, data: Path, hashed: bool) -> None:
    """Also where its digest was known before."""
    upload = await begun(engine)
    if hashed:
        assert await engine.workers.follower.digest(upload.id) == DIGEST
    else:
        await engine.catalog.unrecord_chunk(upload.id, 0)
        await put(engine, upload, THIRDS[0])
    os.truncate(data / "staging" / upload.id, 1500)
    task = await commits(engine, upload)
    assert task.state is TaskState.FAILED
    assert await recorded(engine, upload) == [THIRDS[0]]
    assert list(engine.storage.list_artifacts()) == []
    await put(engine, upload, THIRDS[1])
    await put(engine, upload, THIRDS[2])
    assert (await commits(engine, upload)).state is TaskState.COMPLETED
    assert await is_whole(engine)


@pytest.mark.timeout(60)
async def test_room_that_a_crash_left_behind_a_file_does_not_get_into_the_artifact(engine: Engine, data: Path) -> None:
    upload = await begun(engine)
    os.truncate(data / "staging" / upload.id, len(DATA) + 10_000)
    assert (await commits(engine, upload)).state is TaskState.COMPLETED
    assert await is_whole(engine)


@pytest.mark.timeout(60)
async def test_a_commit_whose_file_is_gone_ends(engine: Engine, data: Path) -> None:
    upload = await begun(engine)
    (data / "staging" / upload.id).unlink()
    task = await commits(engine, upload)
    assert task.state is TaskState.FAILED
    with pytest.raises(NotFound):
        await uploads.get_upload(engine, ALICE, upload.id)


@pytest.mark.timeout(60)
async def test_a_commit_whose_file_went_while_the_server_was_down_ends_at_its_start(data: Path) -> None:
    class Crash(Exception):
        pass

    def at(name: str) -> None:
        if name == "commit.begun":
            raise Crash

    engine = open_engine(data, failpoint=at)
    await engine.open()
    upload = await begun(engine)
    with pytest.raises(Crash):
        await commits(engine, upload)
    await engine.stop()
    (data / "staging" / upload.id).unlink()
    engine = open_engine(data)
    await engine.start()
    await drive(engine, upload.id)
    with pytest.raises(NotFound):
        await uploads.get_upload(engine, ALICE, upload.id)
    await engine.stop()


async def test_an_artifact_that_is_too_short_is_mended_by_the_same_file(engine: Engine, data: Path) -> None:
    assert (await commits(engine, await begun(engine))).state is TaskState.COMPLETED
    path = data / "artifacts" / DIGEST[:2] / DIGEST[2:]
    path.chmod(0o600)
    os.truncate(path, 5)
    [artifact] = (await list_artifacts(engine, ALICE)).items
    with pytest.raises(BytesLost):
        await anext(read_artifact(engine, artifact, ByteRange(0, artifact.size)))
    assert (await commits(engine, await begun(engine))).state is TaskState.COMPLETED
    assert await is_whole(engine)


async def test_a_check_goes_on_behind_an_artifact_that_cannot_be_read(engine: Engine, disk: BadSectors) -> None:
    assert (await commits(engine, await begun(engine))).state is TaskState.COMPLETED
    disk.bad, disk.heals = ByteRange(10, 1), False
    found = [damage async for _, damage in check.find_damage(engine)]
    assert found == [check.Finding(check.Kind.DAMAGED, DIGEST)]
    assert (await uploads.list_uploads(engine, ALICE)).items[0].state is UploadState.COMPLETED


async def test_what_is_acknowledged_as_there_already_is_on_disk_where_each_chunk_is(data: Path) -> None:
    """The process that wrote it died between the record and the note that it is on disk."""

    class Crash(Exception):
        pass

    def at(name: str) -> None:
        if name == "chunk.recorded":
            raise Crash

    engine = open_engine(data, failpoint=at, durable_chunks=True)
    await engine.open()
    await engine.catalog.new_boot("boot 1")
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    with pytest.raises(Crash):
        await put(engine, upload, THIRDS[0])
    await engine.stop()
    engine = open_engine(data, durable_chunks=True)
    await engine.open()
    await put(engine, upload, THIRDS[0])
    await engine.stop()
    catalog = catalog_of(data)
    await catalog.start()
    assert await catalog.new_boot("boot 2") == 0
    assert len(await catalog.list_chunks(upload.id)) == 1
    await catalog.stop()
