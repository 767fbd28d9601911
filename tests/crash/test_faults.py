"""A disk that is full, fails or writes by halves, at each call in turn: it costs a request, and the file is right."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from partwise.core.errors import IncompleteUpload, OutOfSpace, PartwiseError, StorageFailed, Superseded
from partwise.core.ranges import ByteRange, missing_ranges, split
from partwise.core.records import Principal, TaskState
from partwise.engine import uploads
from partwise.engine.artifacts import list_artifacts, read_artifact
from partwise.engine.chunks import put_chunk
from partwise.engine.commit import commit
from partwise.engine.engine import Engine
from partwise.storage.files import SystemCalls
from tests.support.bodies import BytesBody, sha256
from tests.support.engines import new_data_folder, open_engine
from tests.support.folders import fast_folder
from tests.support.server import API, Http, ServerProcess

WHO = Principal("alice")
DATA = random.Random(11).randbytes(4000)
NAMES = ("pwrite", "preadv", "fallocate", "ftruncate", "fsync", "fdatasync", "link", "statvfs")


class FaultyCalls(SystemCalls):
    """Calls of which the ``nth`` of one name fails, once."""

    def __init__(self, name: str, number: int) -> None:
        self.nth = 0
        self.failed = False
        self._passes = 0
        call = getattr(SystemCalls, name)

        def faulty(*arguments: Any, **named: Any) -> Any:
            if self.nth:
                self._passes += 1
                if self._passes == self.nth:
                    self.failed = True
                    raise OSError(number, os.strerror(number))
            return call(*arguments, **named)

        setattr(self, name, faulty)

    def arm(self, nth: int) -> None:
        """Count from here."""
        self.nth, self._passes, self.failed = nth, 0, False


class HalfCalls(SystemCalls):
    """Reads and writes that do at most 7 bytes at once, as calls may."""

    def __init__(self) -> None:
        setattr(self, "pwrite", lambda fd, data, offset: os.pwrite(fd, data[:7], offset))  # noqa: B010
        setattr(self, "preadv", lambda fd, buffers, offset: os.preadv(fd, [buffers[0][:7]], offset))  # noqa: B010


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        yield new_data_folder(Path(folder) / "data")


async def running(data: Path, calls: SystemCalls, **settings: Any) -> AsyncIterator[Engine]:
    engine = open_engine(data, calls=calls, **settings)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def upload_insisting(engine: Engine, content: bytes) -> list[PartwiseError]:
    """Upload as a client does: what fails is tried again, what is missing is sent again. The errors on the way."""
    errors: list[PartwiseError] = []
    id_ = ""
    for _ in range(10):
        try:
            if not id_:
                id_ = (await uploads.create_upload(engine, WHO, size=len(content) - 5)).id
                await put_chunk(engine, WHO, id_, ByteRange(0, 900), BytesBody(bytes(900), block=300))
            await uploads.set_size(engine, WHO, id_, len(content))
            await put_chunk(engine, WHO, id_, ByteRange(0, 900), BytesBody(content[:900], block=300))
            chunks = await engine.catalog.list_chunks(id_)
            for gap in missing_ranges(len(content), [chunk.range for chunk in chunks]):
                for span in split(gap, 1000):
                    await put_chunk(engine, WHO, id_, span, BytesBody(content[span.offset : span.end], block=300))
            task = await commit(engine, WHO, id_, sha256(content), wait=30)
            if task.state is TaskState.COMPLETED:
                return errors
            assert "commit again" in str(task.error), task
        # Superseded: whoever un-records what a failed sync may have lost asks the writers to leave first.
        except (OutOfSpace, StorageFailed, IncompleteUpload, Superseded) as error:
            errors.append(error)
    raise AssertionError(f"it never came to an end: {errors}")


async def check_whole(engine: Engine, content: bytes) -> None:
    """The artifact is the file, and there is nothing else."""
    [artifact] = (await list_artifacts(engine, WHO, sha256=sha256(content))).items
    blocks = read_artifact(engine, artifact, ByteRange(0, artifact.size))
    assert b"".join([block async for block in blocks]) == content
    opened = {u.id for u in (await uploads.list_uploads(engine, WHO, states=("open",))).items}
    assert set(engine.storage.list_staged()) == opened


@pytest.mark.timeout(300)
@pytest.mark.parametrize("durable", [False, True], ids=["background", "chunk"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_call_that_fails_once_costs_no_more_than_a_retry(
    data: Path, name: str, number: int, durable: bool
) -> None:
    calls = FaultyCalls(name, number)
    async for engine in running(data, calls, durable_chunks=durable):
        failures = 0
        for nth in range(1, 40):
            content = DATA + nth.to_bytes(4, "big")
            calls.arm(nth)
            await upload_insisting(engine, content)
            await check_whole(engine, content)
            failures += calls.failed
            if not calls.failed:
                break
        assert failures > 0 or name in {"ftruncate"}, "the call is never made"


async def test_calls_that_do_a_part_of_their_work(data: Path) -> None:
    async for engine in running(data, HalfCalls()):
        assert await upload_insisting(engine, DATA) == []
        await check_whole(engine, DATA)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("no file systems may be mounted here")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.timeout(200)
async def test_a_full_disk_refuses_what_it_must_and_goes_on_once_there_is_room(small_disk: Path) -> None:
    content = random.Random(1).randbytes(2 << 20)
    with ServerProcess(new_data_folder(small_disk / "data"), free_space_floor=0) as server, Http(server.port) as http:
        assert http("POST", f"{API}uploads/", {"size": 32 << 20}).problem == (507, "out-of-space")
        href = http.create(len(content))
        assert http.put(href, 0, content[: 1 << 20]).status == 200
        await asyncio.to_thread(_fill, small_disk / "filler")
        # No room is left, not even for a record: the chunk's bytes have theirs, and what cannot be recorded is refused.
        statuses = {http.put(href, 1 << 20, content[1 << 20 :]).status for _ in range(3)}
        assert statuses <= {200, 507}
        refused = http("POST", f"{API}uploads/", {"size": 1 << 20})
        assert refused.problem == (507, "out-of-space")
        assert http("GET", href).json["received"] in {1 << 20, 2 << 20}
        (small_disk / "filler").unlink()
        assert http.put(href, 1 << 20, content[1 << 20 :]).status == 200
        assert http.commit(href, content).status == 200


def _fill(path: Path) -> None:
    """Write until the disk is full."""
    with open(path, "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 20)):
            continue
    with open(path, "ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            continue
    assert os.statvfs(path).f_bavail == 0
