"""The table of causes: which failed call may remove a record. Only a sync that failed, and lost bytes."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from partwise.core.errors import Conflict, OutOfSpace, StorageFailed, SyncFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import TaskState
from partwise.engine import uploads
from partwise.engine.chunks import put_chunk
from partwise.engine.commit import commit
from partwise.storage.files import LOST
from tests.crash.test_faults import DATA, NAMES, WHO, FaultyCalls, running
from tests.support.bodies import BytesBody, sha256
from tests.support.engines import new_data_folder
from tests.support.folders import fast_folder

#: Nothing is known of the bytes after these, whatever call says so.
UNKNOWN = (
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOLCK,
    errno.EAGAIN,
    errno.ETIMEDOUT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.EBUSY,
    errno.ESTALE,
)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
SPANS = (ByteRange(0, 1500), ByteRange(1500, 1500))
LAST = ByteRange(3000, len(DATA) - 3000)


def may_invalidate(call: str, number: int) -> bool:
    """The rule: a sync that failed, whatever it says, and bytes that the medium does not give back."""
    return call in ("fsync", "fdatasync") or (call == "preadv" and number in LOST)


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        yield new_data_folder(Path(folder) / "data")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [*UNKNOWN, *NO_ROOM, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", NAMES)
async def test_which_failures_remove_records(data: Path, call: str, number: int) -> None:
    calls = FaultyCalls(call, number)
    failed = removed = 0
    async for engine in running(data, calls):
        for nth in range(1, 30):
            calls.nth = 0
            content = DATA[:-1] + nth.to_bytes(1, "big")
            upload = await uploads.create_upload(engine, WHO, size=len(DATA))
            for span in SPANS:
                await put_chunk(engine, WHO, upload.id, span, BytesBody(content[span.offset : span.end]))
            calls.arm(nth)
            with suppress(StorageFailed, OutOfSpace, Conflict):
                await put_chunk(engine, WHO, upload.id, LAST, BytesBody(content[LAST.offset :]))
            with suppress(StorageFailed, OutOfSpace, Conflict):
                await engine.workers.flusher.flushed(upload.id)
            with suppress(StorageFailed, OutOfSpace, Conflict):
                task = await commit(engine, WHO, upload.id, sha256(content), wait=20)
                if task.state is TaskState.COMPLETED:
                    calls.nth = 0
                    assert await engine.storage.verify_artifact(sha256(content))
                    await uploads.delete_upload(engine, WHO, upload.id)
                    if not calls.failed:
                        break
                    failed += 1
                    continue
            failed += calls.failed
            kept = {chunk.range for chunk in await engine.catalog.list_chunks(upload.id)}
            removed += not kept.issuperset(SPANS)
            await uploads.delete_upload(engine, WHO, upload.id)
    assert failed or call in ("ftruncate", "statvfs", "fallocate"), "the call is never made"
    if not may_invalidate(call, number):
        assert removed == 0, f"{call} failed with {errno.errorcode[number]}: {removed} uploads lost chunks"


async def test_a_sync_that_fails_invalidates(data: Path) -> None:
    """What the rule allows does happen: chunks that a failed sync may have lost are not trusted."""
    calls = FaultyCalls("fdatasync", errno.EIO)
    async for engine in running(data, calls):
        upload = await uploads.create_upload(engine, WHO, size=len(DATA))
        await engine.workers.flusher.stop()
        for span in SPANS:
            await put_chunk(engine, WHO, upload.id, span, BytesBody(DATA[span.offset : span.end]))
            await engine.workers.flusher.stop()
        calls.arm(1)
        before = await engine.catalog.list_chunks(upload.id)
        with pytest.raises(SyncFailed):
            await engine.workers.flusher.flushed(upload.id)
        assert len(await engine.catalog.list_chunks(upload.id)) < len(before) == len(SPANS)
