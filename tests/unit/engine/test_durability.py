"""What is on disk, what is only believed to be, and what a failing disk or a lost boot makes of it."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from partwise.core.errors import IncompleteUpload, StorageFailed, Superseded
from partwise.core.ranges import ByteRange
from partwise.core.records import TaskState, Upload
from partwise.core.state import UploadState
from partwise.engine import uploads
from partwise.engine.chunks import put_chunk
from partwise.engine.commit import commit
from partwise.engine.engine import Engine
from partwise.engine.recovery import recover
from partwise.storage.files import SystemCalls
from tests.support.bodies import BytesBody, sha256
from tests.support.engines import CATALOG, catalog_of, new_data_folder, open_engine
from tests.support.folders import fast_folder
from tests.support.until import until
from tests.unit.engine.conftest import ALICE

DATA = random.Random(5).randbytes(3000)
WHOLE = ByteRange(0, len(DATA))
THIRDS = [ByteRange(0, 1000), ByteRange(1000, 1000), ByteRange(2000, 1000)]


class Disk(SystemCalls):
    """A disk of which a sync may fail, and the next succeeds for nothing: as the kernel does it."""

    def __init__(self) -> None:
        self.syncs = 0
        self._fails = False
        setattr(self, "fdatasync", self._fdatasync)  # noqa: B010

        setattr(self, "fsync", self._fsync)  # noqa: B010

    def fail(self) -> None:
        """Let the next sync fail."""
        self._fails = True

    def _fsync(self, fd: int) -> None:
        self._fdatasync(fd)

    def _fdatasync(self, fd: int) -> None:
        self.syncs += 1
        if self._fails:
            self._fails = False
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        os.fdatasync(fd)


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        yield new_data_folder(Path(folder) / "data")


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def engine(data: Path, disk: Disk) -> AsyncIterator[Engine]:
    engine = open_engine(data, calls=disk)
    await engine.start()
    yield engine
    await engine.stop()


async def create(engine: Engine) -> Upload:
    return await uploads.create_upload(engine, ALICE, size=len(DATA))


async def put(engine: Engine, upload: Upload, span: ByteRange) -> None:
    await put_chunk(engine, ALICE, upload.id, span, BytesBody(DATA[span.offset : span.end]))


async def recorded(engine: Engine, upload: Upload) -> list[ByteRange]:
    return [chunk.range for chunk in await engine.catalog.list_chunks(upload.id)]


def without_flusher(engine: Engine) -> None:
    """Chunks reach the disk only when the test says so."""

    def notify(upload_id: str) -> None:
        """Do nothing."""

    setattr(engine.workers.flusher, "notify", notify)  # noqa: B010


async def durable(engine: Engine, upload: Upload) -> None:
    """Wait until the flusher has caught up."""
    await engine.workers.flusher.flushed(upload.id)


async def test_a_new_boot_takes_what_was_not_on_disk(engine: Engine, data: Path) -> None:
    catalog = catalog_of(data)
    await catalog.start()
    await catalog.new_boot("boot 1")
    upload = await create(engine)
    await put(engine, upload, THIRDS[0])
    await durable(engine, upload)
    without_flusher(engine)
    await put(engine, upload, THIRDS[1])
    assert await catalog.new_boot("boot 1") == 0
    assert await catalog.new_boot("boot 2") == 1
    assert await recorded(engine, upload) == [THIRDS[0]]
    await put(engine, upload, THIRDS[2])
    assert await catalog.new_boot("boot 2", distrust=True) == 1
    assert await recorded(engine, upload) == [THIRDS[0]]
    await catalog.stop()


async def test_durable_chunks_are_on_disk_before_their_answer(engine: Engine, disk: Disk, data: Path) -> None:
    engine.durable_chunks = True
    without_flusher(engine)
    upload = await create(engine)
    before = disk.syncs
    await put(engine, upload, THIRDS[0])
    assert disk.syncs > before
    found = await uploads.get_upload(engine, ALICE, upload.id)
    assert found.durable_seq == found.seq == 1


async def test_a_durable_chunk_whose_sync_fails_is_not_recorded(engine: Engine, disk: Disk) -> None:
    engine.durable_chunks = True
    upload = await create(engine)
    disk.fail()
    with pytest.raises(StorageFailed):
        await put(engine, upload, THIRDS[0])
    assert await recorded(engine, upload) == []
    await put(engine, upload, THIRDS[0])
    assert await recorded(engine, upload) == [THIRDS[0]]


async def test_a_durable_chunk_whose_sync_fails_takes_what_was_not_certain(engine: Engine, disk: Disk) -> None:
    """Chunks of before the setting was changed, say: the failure may be theirs."""
    without_flusher(engine)
    upload = await create(engine)
    await put(engine, upload, THIRDS[0])
    engine.durable_chunks = True
    disk.fail()
    with pytest.raises(StorageFailed):
        await put(engine, upload, THIRDS[1])
    assert await recorded(engine, upload) == []


async def test_all_chunks_are_certain_before_their_file_is_an_artifacts(engine: Engine, data: Path) -> None:
    """Else a power loss could open the upload again, and let it write into a file that has a second name."""
    without_flusher(engine)
    upload = await create(engine)
    for span in THIRDS:
        await put(engine, upload, span)
    seen: list[tuple[int, int]] = []

    def look(step: str) -> None:
        if step == "commit.published":
            with closing(sqlite3.connect(data / CATALOG)) as connection:
                seen.extend(connection.execute("SELECT seq, durable_seq FROM uploads"))

    engine.failpoint = look
    assert (await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)).state is TaskState.COMPLETED
    assert seen == [(3, 3)]


async def test_after_a_failed_sync_nothing_is_trusted_that_was_not_certain(engine: Engine, disk: Disk) -> None:
    upload = await create(engine)
    await put(engine, upload, THIRDS[0])
    await durable(engine, upload)
    without_flusher(engine)
    disk.fail()
    await put(engine, upload, THIRDS[1])
    with pytest.raises(StorageFailed):
        await engine.workers.flusher.flushed(upload.id)
    assert await recorded(engine, upload) == [THIRDS[0]]
    assert (await uploads.get_upload(engine, ALICE, upload.id)).epoch == upload.epoch + 1


async def test_a_flush_that_fails_for_a_known_cause_is_one_line_of_the_log(
    engine: Engine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is read-only for an hour is no fault of the program: no traceback for each upload."""

    async def mark_durable(upload_id: str, seq: int) -> None:
        raise StorageFailed("The metadata database is unavailable. Try again later.")

    monkeypatch.setattr(engine.catalog, "mark_durable", mark_durable)
    upload = await create(engine)
    await put(engine, upload, THIRDS[0])
    await until(lambda: "partwise.engine.flusher" in [record.name for record in caplog.records], "the flush")
    line = next(record for record in caplog.records if record.name == "partwise.engine.flusher")
    expected = f"cannot sync the chunks of upload {upload.id}: The metadata database is unavailable. Try again later."
    assert line.getMessage() == expected
    assert line.exc_info is None


async def test_a_size_whose_sync_fails_takes_what_was_not_certain(engine: Engine, disk: Disk) -> None:
    """The sync tells of lost pages of chunks too, and the flusher's next one would not."""
    upload = await create(engine)
    await put(engine, upload, THIRDS[0])
    await durable(engine, upload)
    without_flusher(engine)
    await put(engine, upload, THIRDS[1])
    disk.fail()
    with pytest.raises(StorageFailed):
        await uploads.set_size(engine, ALICE, upload.id, 2500)
    assert await recorded(engine, upload) == [THIRDS[0]]


async def test_a_failed_sync_sends_away_who_is_writing(engine: Engine, disk: Disk) -> None:
    """Its bytes may be among those that were lost, and no later sync would tell."""
    upload = await create(engine)
    gate = asyncio.Event()
    body = BytesBody(DATA[:1000], block=100, before_block=lambda number: gate if number == 5 else None)
    writing = asyncio.create_task(put_chunk(engine, ALICE, upload.id, THIRDS[0], body))
    await body.started.wait()
    await engine.workers.flusher.distrust(upload.id)
    with pytest.raises(Superseded):
        await writing
    assert await recorded(engine, upload) == []


async def test_a_commit_whose_sync_fails_opens_the_upload_again(engine: Engine, disk: Disk, data: Path) -> None:
    without_flusher(engine)
    upload = await create(engine)
    for span in THIRDS:
        await put(engine, upload, span)
    disk.fail()
    task = await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)
    assert task.state is TaskState.FAILED
    assert await recorded(engine, upload) == []
    with pytest.raises(IncompleteUpload):
        await commit(engine, ALICE, upload.id, sha256(DATA))
    for span in THIRDS:
        await put(engine, upload, span)
    assert (await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)).state is TaskState.COMPLETED


async def test_a_publish_that_fails_after_one_that_was_cut_off_leaves_the_upload_writable(
    engine: Engine, disk: Disk, data: Path
) -> None:
    """A crash after the link, then a failing disk: the upload goes on, and its file must be nobody's artifact."""
    upload = await create(engine)
    for span in THIRDS:
        await put(engine, upload, span)
    await durable(engine, upload)
    # The process was killed behind this.
    await engine.storage.publish(upload.id, sha256(DATA), size=len(DATA))
    disk.fail()
    task = await commit(engine, ALICE, upload.id, sha256(DATA), wait=20)
    assert task.state is TaskState.FAILED
    assert list(engine.storage.list_artifacts()) == []
    await put_chunk(engine, ALICE, upload.id, THIRDS[0], BytesBody(bytes(1000)))


async def test_an_artifact_is_never_a_file_that_an_upload_still_writes(engine: Engine, data: Path) -> None:
    """One upload's commit was cut off after its link; another with the same content must not adopt that file."""
    first, second = await create(engine), await create(engine)
    for upload in (first, second):
        for span in THIRDS:
            await put(engine, upload, span)
        await durable(engine, upload)
    await engine.storage.publish(first.id, sha256(DATA), size=len(DATA))
    (data / "staging" / first.id).chmod(0o600)
    task = await commit(engine, ALICE, second.id, sha256(DATA), wait=20)
    assert task.state is TaskState.COMPLETED
    await put_chunk(engine, ALICE, first.id, THIRDS[0], BytesBody(bytes(1000)))
    assert await engine.storage.verify_artifact(sha256(DATA))


async def test_recovery_beside_a_creation_leaves_it_alone(engine: Engine) -> None:
    """A process that starts while another makes an upload sees its row, and a file that is still locked."""
    upload_id = "0123"
    lock = await engine.storage.reserve(upload_id, 10)
    now = engine.clock()
    upload = Upload(id=upload_id, owner="alice", size=10, created=now, updated=now)
    await engine.catalog.create_upload(upload, engine.limits.owner)
    await recover(engine)
    lock.release()
    assert (await uploads.get_upload(engine, ALICE, upload_id)).state is UploadState.OPEN
    assert list(engine.storage.list_staged()) == [upload_id]
