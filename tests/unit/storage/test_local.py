"""What only files can do wrong: descriptors, links, modes, full disks, failing calls, steps cut off by a crash."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from partwise.core.errors import NotFound, OutOfSpace, PartwiseError, StorageFailed, Superseded, SyncFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk
from partwise.storage import kernel
from partwise.storage.files import SystemCalls, in_thread
from partwise.storage.local import LocalStorage
from tests.support.folders import make_data_folder

ID = "ab"
CONTENT = b"0123456789"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Calls(SystemCalls):
    """System calls of which each may be replaced on the instance, as its attribute."""

    def replace(self, name: str, call: Callable[..., Any]) -> None:
        setattr(self, name, call)

    def fail(self, name: str, number: int) -> None:
        def failing(*_arguments: object, **_named: object) -> None:
            raise OSError(number, os.strerror(number))

        self.replace(name, failing)

    def mend(self, name: str) -> None:
        delattr(self, name)


#: Something that a test does to a storage.
Step = Callable[[LocalStorage], Awaitable[None]]


class Crash(BaseException):
    """Stands for the end of the process at a fail point."""


async def started(data: Path, **settings: Any) -> LocalStorage:
    storage = LocalStorage(data, **settings)
    await storage.start()
    return storage


async def upload(storage: LocalStorage, content: bytes = CONTENT) -> None:
    (await storage.reserve(ID, len(content))).release()
    writer = await storage.claim(ID, ByteRange(0, len(content)))
    writer.write(0, memoryview(content))
    writer.close()


def staged_file(data: Path) -> Path:
    return data / "staging" / ID


async def test_modes_let_nobody_else_in(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    storage = await started(data)
    await upload(storage)
    assert stat.S_IMODE(staged_file(data).stat().st_mode) == 0o600
    await storage.publish(ID, DIGEST, size=len(CONTENT))
    assert stat.S_IMODE(Path(storage.artifact_path(DIGEST)).stat().st_mode) == 0o400
    for folder in (data, data / "staging", data / "artifacts", data / "artifacts" / "ff", data / "locks"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (data / "locks").iterdir()} == {0o600}
    await storage.stop()


async def test_publishing_copies_nothing(storage: LocalStorage, data: Path) -> None:
    await upload(storage)
    before = staged_file(data).stat().st_ino
    await storage.publish(ID, DIGEST, size=len(CONTENT))
    await storage.discard(ID)
    artifact = Path(storage.artifact_path(DIGEST))
    assert artifact.stat().st_ino == before
    assert artifact.stat().st_nlink == 1
    assert artifact.read_bytes() == CONTENT


async def test_room_is_reserved_on_the_disk(storage: LocalStorage, data: Path) -> None:
    (await storage.reserve(ID, 3_000_001)).release()
    found = staged_file(data).stat()
    assert found.st_size == 3_000_001
    assert found.st_blocks * 512 >= 3_000_001


async def test_discarding_gives_room_back_while_a_writer_has_the_file_open(storage: LocalStorage) -> None:
    (await storage.reserve(ID, 8 << 20)).release()
    writer = await storage.claim(ID, ByteRange(0, 10))
    await storage.discard(ID)
    [fd] = [number for number in os.listdir("/proc/self/fd") if _leads_to_staging(number)]
    assert os.stat(f"/proc/self/fd/{fd}").st_blocks == 0
    writer.close()


def _leads_to_staging(number: str) -> bool:
    try:
        return f"/staging/{ID}" in os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("upload_id", ["", "..", "../x", "a/b", "AB", "a\n", "a\0", "٣", "a" * 65, ".probe-"])
async def test_ids_that_are_none_never_reach_the_file_system(storage: LocalStorage, upload_id: str) -> None:
    with pytest.raises(NotFound):
        await storage.reserve(upload_id, 1)
    with pytest.raises(NotFound):
        await storage.claim(upload_id, ByteRange(0, 1))
    with pytest.raises(NotFound):
        await storage.discard(upload_id)


@pytest.mark.parametrize("digest", ["", "../" * 21 + "x", DIGEST.upper(), DIGEST + "0", DIGEST[:-1]])
async def test_digests_that_are_none_never_reach_the_file_system(storage: LocalStorage, digest: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        storage.artifact_path(digest)


async def test_symbolic_links_are_not_followed(storage: LocalStorage, data: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(CONTENT)
    staged_file(data).symlink_to(victim)
    chunk = Chunk(offset=0, size=4)
    with pytest.raises(StorageFailed):
        await storage.reserve(ID, 4)
    with pytest.raises(NotFound):
        await storage.claim(ID, chunk.range)
    with pytest.raises(StorageFailed):
        await storage.resize(ID, 0)
    with pytest.raises(StorageFailed):
        storage.read_staged(ID, chunk, chunk.range, lambda block: None)
    with pytest.raises(StorageFailed):
        await storage.publish(ID, DIGEST, size=len(CONTENT))
    await storage.discard(ID)
    assert victim.read_bytes() == CONTENT
    assert not staged_file(data).is_symlink()


async def test_a_descriptor_is_not_closed_under_a_running_write(data: Path, tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()
    calls = Calls()

    def slow(fd: int, block: memoryview, offset: int) -> int:
        inside.set()
        assert go_on.wait(10)
        return os.pwrite(fd, block, offset)

    calls.replace("pwrite", slow)
    storage = await started(data, calls=calls, patience=0.1)
    (await storage.reserve(ID, 100)).release()
    writer = await storage.claim(ID, ByteRange(0, 100))
    writing = asyncio.create_task(asyncio.to_thread(writer.write, 0, memoryview(b"dead")))
    assert await asyncio.to_thread(inside.wait, 10)
    writer.close()
    # The number would be the next one given out.
    victim = os.open(tmp_path / "victim", os.O_RDWR | os.O_CREAT)
    with pytest.raises(Superseded):
        writer.write(0, memoryview(b"more"))
    with pytest.raises(PartwiseError):  # while it writes, the range is not free either
        await storage.claim(ID, ByteRange(0, 100))
    go_on.set()
    await writing
    assert os.fstat(victim).st_size == 0
    os.close(victim)
    (await storage.claim(ID, ByteRange(0, 100))).close()
    assert staged_file(data).read_bytes()[:4] == b"dead"
    await storage.stop()


async def test_short_writes_and_reads_are_finished(data: Path) -> None:
    calls = Calls()
    calls.replace("pwrite", lambda fd, block, offset: os.pwrite(fd, block[:3], offset))
    calls.replace("preadv", lambda fd, buffers, offset: os.preadv(fd, [buffers[0][:3]], offset))
    storage = await started(data, calls=calls)
    await upload(storage)
    assert staged_file(data).read_bytes() == CONTENT
    writer = await storage.claim(ID, ByteRange(0, 10))
    assert writer.read(1, 8) == CONTENT[1:9]
    writer.close()
    assert not await storage.verify_artifact(DIGEST)
    await storage.publish(ID, DIGEST, size=len(CONTENT))
    assert await storage.verify_artifact(DIGEST)
    await storage.stop()


async def upload_again(storage: LocalStorage) -> None:
    writer = await storage.claim(ID, ByteRange(0, len(CONTENT)))
    try:
        writer.write(0, memoryview(CONTENT))
    finally:
        writer.close()


async def publish(storage: LocalStorage) -> None:
    await storage.publish(ID, DIGEST, size=len(CONTENT))


@pytest.mark.parametrize(
    "number, expected", [(errno.ENOSPC, OutOfSpace), (errno.EDQUOT, OutOfSpace), (errno.EIO, StorageFailed)]
)
@pytest.mark.parametrize(
    "call, make",
    [
        ("pwrite", upload_again),
        ("fallocate", lambda storage: storage.resize(ID, 1000)),
        ("fdatasync", publish),
        ("link", publish),
        ("fsync", publish),
    ],
)
async def test_failing_calls_leave_an_upload_that_goes_on(
    data: Path, call: str, make: Step, number: int, expected: type[PartwiseError]
) -> None:
    calls = Calls()
    storage = await started(data, calls=calls)
    await upload(storage)
    calls.fail(call, number)
    if call == "fdatasync":  # whatever it says: what it was to bring to disk may be lost
        expected = SyncFailed
    with pytest.raises(expected) as caught:
        await make(storage)
    assert str(data) not in str(caught.value)
    calls.mend(call)
    assert list(storage.list_artifacts()) == []
    await upload_again(storage)
    assert staged_file(data).stat().st_size == len(CONTENT)
    await publish(storage)
    assert await storage.verify_artifact(DIGEST)
    await storage.stop()


@pytest.mark.parametrize("call", ["fallocate", "fsync"])
async def test_a_failed_reservation_leaves_no_file(data: Path, call: str) -> None:
    calls = Calls()
    storage = await started(data, calls=calls)
    calls.fail(call, errno.ENOSPC)
    with pytest.raises(OutOfSpace):
        await storage.reserve(ID, 1000)
    assert list((data / "staging").iterdir()) == []
    calls.mend(call)
    (await storage.reserve(ID, 1000)).release()
    await storage.stop()


async def test_growth_that_fails_in_the_middle_takes_nothing(data: Path) -> None:
    calls = Calls()
    storage = await started(data, calls=calls)
    await upload(storage)

    def full(fd: int, offset: int, size: int) -> None:
        kernel.fallocate(fd, offset, size // 2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    calls.replace("fallocate", full)
    with pytest.raises(OutOfSpace):
        await storage.resize(ID, 3 << 20)
    assert staged_file(data).stat().st_size == len(CONTENT)
    await storage.stop()


async def test_a_new_size_is_on_disk(data: Path) -> None:
    calls = Calls()
    storage = await started(data, calls=calls)
    await upload(storage)
    synced: list[int] = []
    calls.replace("fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    await storage.resize(ID, 1 << 20)
    await storage.resize(ID, 5)
    assert synced == [1 << 20, 5]
    await storage.stop()


async def test_a_deletion_is_on_disk(data: Path) -> None:
    """What was deleted does not come back with a power loss."""
    calls = Calls()
    storage = await started(data, calls=calls)
    await upload(storage)
    await publish(storage)
    synced: list[str] = []
    calls.replace("fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    await storage.delete_artifact(DIGEST)
    assert synced == [str(data / "artifacts" / DIGEST[:2])]
    await storage.stop()


async def test_one_reservation_at_a_time_looks_at_the_free_space(data: Path) -> None:
    """Two that look at once would both find the last of it. Here each of two processes' storages looks slowly."""
    room, taken = 3_000_000, 0
    mutex = threading.Lock()

    class Small(Calls):
        def __init__(self) -> None:
            def statvfs(path: str) -> os.statvfs_result:
                found = list(os.statvfs(path))
                with mutex:
                    found[0] = found[1] = 1
                    found[4] = max(0, room - taken)
                time.sleep(0.05)
                return os.statvfs_result(found)

            def fallocate(fd: int, offset: int, size: int) -> None:
                nonlocal taken
                kernel.fallocate(fd, offset, size)
                with mutex:
                    taken += size

            self.replace("statvfs", statvfs)
            self.replace("fallocate", fallocate)

    storages = [await started(data, calls=Small()) for _ in range(2)]
    taken = 0  # what the trials at start took is given back
    made = await asyncio.gather(
        *(storages[number % 2].reserve(f"{number}", 1_000_000) for number in range(6)), return_exceptions=True
    )
    refused = [error for error in made if isinstance(error, OutOfSpace)]
    assert (len(refused), taken) == (3, 3_000_000)
    for lock in made:
        if not isinstance(lock, BaseException):
            lock.release()
    for storage in storages:
        await storage.stop()


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS])
async def test_where_nothing_is_allocated_reservations_are_counted(data: Path, number: int) -> None:
    calls = Calls()
    calls.fail("fallocate", number)
    storage = await started(data, calls=calls)
    room = (await storage.space()).available
    size = room * 2 // 3
    (await storage.reserve(ID, size)).release()
    assert staged_file(data).stat().st_blocks == 0
    assert (await storage.space()).available <= room - size + room // 10
    other = await started(data, calls=calls)
    with pytest.raises(OutOfSpace):
        await other.reserve("cd", size)
    await storage.discard(ID)
    (await other.reserve("cd", size)).release()
    await storage.stop()
    await other.stop()


async def test_the_floor_stays_free(data: Path) -> None:
    probe = await started(data)
    free = (await probe.space()).free
    storage = await started(data, floor=free // 2)
    with pytest.raises(OutOfSpace):
        await storage.reserve(ID, free * 3 // 4)
    assert (await storage.space()).available <= free // 2 + free // 10
    await probe.stop()
    await storage.stop()


@pytest.mark.parametrize("size", [1 << 50, 2**62])
async def test_an_absurd_size_takes_nothing_from_the_disk(storage: LocalStorage, data: Path, size: int) -> None:
    def used() -> int:
        return sum(path.stat().st_blocks for path in data.rglob("*"))

    before = used()
    with pytest.raises(OutOfSpace):
        await storage.reserve(ID, size)
    assert used() <= before + 8  # a file of locks, at most


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_a_full_disk_refuses_and_takes_up_again(small_disk: Path) -> None:
    storage = await started(small_disk)
    space = await storage.space()
    with pytest.raises(OutOfSpace):
        await storage.reserve("cd", space.available + 4096)
    (await storage.reserve(ID, 6 << 20)).release()
    with pytest.raises(OutOfSpace):
        await storage.reserve("cd", 4 << 20)
    with pytest.raises(OutOfSpace):
        await storage.resize(ID, 10 << 20)
    assert staged_file(small_disk).stat().st_size == 6 << 20
    (small_disk / "filler").write_bytes(bytes((await storage.space()).free))
    writer = await storage.claim(ID, ByteRange(0, 12 << 20))
    writer.write(0, memoryview(bytes(6 << 20)))  # what was reserved is there
    with pytest.raises(OutOfSpace):
        writer.write(6 << 20, memoryview(bytes(1 << 20)))
    writer.close()
    await storage.discard(ID)
    (await storage.reserve("cd", 4 << 20)).release()
    await storage.stop()


async def publish_and_discard(storage: LocalStorage) -> None:
    await publish(storage)
    await storage.discard(ID)


@pytest.mark.parametrize("step", ["publish.synced", "publish.linked", "publish.folder_synced", "discard.unlinked"])
async def test_a_publish_cut_off_at_any_step_is_finished_by_the_next(data: Path, step: str) -> None:
    crash = True

    def failpoint(name: str) -> None:
        if crash and name == step:
            raise Crash

    storage = await started(data, failpoint=failpoint)
    await upload(storage)
    with pytest.raises(Crash):
        await publish_and_discard(storage)
    crash = False
    await storage.stop()
    again = await started(data)
    if step != "discard.unlinked":  # the last step, behind the record
        await again.publish(ID, DIGEST, size=len(CONTENT))
    await again.discard(ID)
    assert await again.verify_artifact(DIGEST)
    assert list(again.list_staged()) == []
    assert [path.name for path in (data / "artifacts" / DIGEST[:2]).iterdir()] == [DIGEST[2:]]
    await again.stop()


@pytest.mark.parametrize("name", ["staging", "artifacts", "artifacts/7f", "locks"])
async def test_missing_folders_are_made_at_start(data: Path, name: str) -> None:
    await (await started(data)).stop()
    for path in sorted((data / name).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (data / name).rmdir()
    storage = await started(data)
    await upload(storage)
    assert (data / name).is_dir()
    await storage.stop()


async def test_nothing_of_the_trial_at_start_stays(storage: LocalStorage, data: Path) -> None:
    assert [path for path in data.rglob("*") if path.is_file() and path.parent.name != "locks"] == []


@pytest.mark.parametrize("number, what", [(errno.EXDEV, "one file system"), (errno.EPERM, "no hard links")])
async def test_a_place_without_links_is_refused(data: Path, number: int, what: str) -> None:
    calls = Calls()
    calls.fail("link", number)
    with pytest.raises(StorageFailed, match=what):
        await started(data, calls=calls)


async def test_artifacts_on_another_file_system_are_refused(small_disk: Path, data: Path) -> None:
    subprocess.run(["mount", "--bind", str(small_disk), str(data / "artifacts")], check=True)
    try:
        with pytest.raises(StorageFailed, match="one file system"):
            await started(data)
    finally:
        subprocess.run(["umount", str(data / "artifacts")], check=True)


async def test_network_file_systems_are_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The magic number of whatever file system the test runs on stands in for that of NFS.
    assert kernel.unfit_file_system(str(data)) is None
    here = int(subprocess.check_output(["stat", "--file-system", "--format=%t", str(data)]), 16)
    monkeypatch.setitem(kernel.UNFIT_FILE_SYSTEMS, here, "NFS")
    with pytest.raises(StorageFailed, match=r"on NFS.*local disk"):
        await started(data)


async def test_work_in_a_thread_ends_before_its_cancellation_does() -> None:
    inside, go_on = threading.Event(), threading.Event()
    ended = False

    def work() -> None:
        nonlocal ended
        inside.set()
        assert go_on.wait(10)
        ended = True

    task = asyncio.create_task(in_thread(work))
    assert await asyncio.to_thread(inside.wait, 10)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended


async def test_a_cancelled_reservation_leaves_no_file(data: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def failpoint(name: str) -> None:
        if name == "reserve.allocated":
            inside.set()
            assert go_on.wait(10)

    storage = await started(data, failpoint=failpoint)
    task = asyncio.create_task(storage.reserve(ID, 1000))
    assert await asyncio.to_thread(inside.wait, 10)
    task.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((data / "staging").iterdir()) == []
    (await storage.reserve(ID, 1000)).release()
    await storage.stop()


async def test_what_is_still_claimed_is_given_back_at_stop(data: Path) -> None:
    storage = await started(data)
    (await storage.reserve(ID, 100)).release()
    writer = await storage.claim(ID, ByteRange(0, 100))
    await storage.stop()
    with pytest.raises(Superseded):
        writer.write(0, memoryview(b"x"))
    assert not any(map(_leads_to_staging, os.listdir("/proc/self/fd")))


async def test_what_a_killed_start_tried_out_is_removed(storage: LocalStorage, data: Path) -> None:
    for folder in (data / "staging", data / "artifacts"):
        for name, age in ((".probe-old", 3600), (".probe-new", 0)):
            (folder / name).touch()
            os.utime(folder / name, (time.time() - age,) * 2)
    await (await started(data)).stop()
    for folder in (data / "staging", data / "artifacts"):
        assert [path.name for path in folder.glob(".probe-*")] == [".probe-new"]


async def test_a_writer_that_compares_learns_that_its_upload_is_gone(storage: LocalStorage) -> None:
    await upload(storage)
    writer = await storage.claim(ID, ByteRange(0, 10))
    await storage.discard(ID)
    with pytest.raises(NotFound):
        writer.read(0, 10)
    writer.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root works in another user's folder")
async def test_what_root_locks_stays_open_to_the_server(tmp_path: Path) -> None:
    """An operator's command as root, in the folder of a server that runs as another user."""
    data = make_data_folder(tmp_path / "data")
    os.chown(data / "locks", 12345, 23456)
    storage = LocalStorage(data)
    await storage.start()
    async with storage.digest_lock(DIGEST):
        pass
    await storage.stop()
    made = [path.stat() for path in (data / "locks").iterdir()]
    assert made
    assert {(found.st_uid, found.st_gid) for found in made} == {(12345, 23456)}
