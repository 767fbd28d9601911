"""The hash process: it dies alone, with the server, and not by a signal that was meant for that."""

from __future__ import annotations

import asyncio
import hashlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk
from partwise.engine.ports import Piece
from partwise.storage import hash_process, hashing
from partwise.storage.hashing import HashProcess, ProcessHash

CONTENT = os.urandom(100_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WHOLE: list[Piece] = [(Chunk(offset=0, size=len(CONTENT)), ByteRange(0, len(CONTENT)))]

PARENT = """
import asyncio, sys
from partwise.storage.hashing import HashProcess
async def main():
    process = HashProcess(1)
    await process.hash("nothing").digests()
    print(process.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
async def process() -> AsyncIterator[HashProcess]:
    made = HashProcess(2)
    yield made
    await made.stop()


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    return str(file)


async def digest(running: ProcessHash) -> str:
    async with asyncio.timeout(10):
        await running.feed(WHOLE)
        return (await running.digests())["sha256"]


async def test_a_new_one_takes_over_when_it_died(process: HashProcess, path: str) -> None:
    running = process.hash(path)
    assert await digest(running) == DIGEST
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(StorageFailed):
        await digest(running)
    assert await digest(process.hash(path)) == DIGEST


async def test_what_stops_the_server_does_not_stop_it(process: HashProcess, path: str) -> None:
    """A terminal and a service manager send the signal to all processes, and the server finishes its chunks."""
    running = process.hash(path)
    await running.digests()
    assert process.pid is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process.pid, number)
    assert await digest(running) == DIGEST


async def test_it_ends_when_told_to(process: HashProcess, path: str) -> None:
    await digest(process.hash(path))
    pid = process.pid
    assert pid is not None
    await process.stop()
    assert not Path(f"/proc/{pid}").exists()
    assert process.pid is None


async def test_one_that_does_not_answer_is_ended_too(process: HashProcess, path: str) -> None:
    running = process.hash(path)
    await running.digests()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    waiting = asyncio.create_task(running.digests())
    async with asyncio.timeout(10):
        await process.stop()
        with pytest.raises(StorageFailed):
            await waiting


async def test_one_that_died_within_a_line_is_over(process: HashProcess, path: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import socket; socket.socket(fileno=0).sendall(b'[1, \"dig')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hash_process, "__file__", str(program))
        broken = process.hash(path)
    with pytest.raises(StorageFailed):
        await digest(broken)
    assert await digest(process.hash(path)) == DIGEST


async def test_a_start_that_fails_leaves_nothing(process: HashProcess, path: str) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere")
        with pytest.raises(StorageFailed, match="ENOENT"):
            process.hash(path)
    assert os.listdir("/proc/self/fd") == before
    assert await digest(process.hash(path)) == DIGEST


async def test_it_may_be_stopped_at_once(process: HashProcess, path: str) -> None:
    process.hash(path)
    await process.stop()


def test_it_ends_with_a_server_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        # Readable as soon as the process has ended, whoever its parent is by then.
        handle = os.pidfd_open(pid)
        parent.kill()
    try:
        poll = select.poll()
        poll.register(handle)
        assert poll.poll(10_000)
    finally:
        os.close(handle)


async def test_bytes_that_cannot_be_read_fail_each_question(process: HashProcess, tmp_path: Path) -> None:
    running = process.hash(str(tmp_path))  # a folder
    with pytest.raises(StorageFailed, match="plain file"):
        await digest(running)
    with pytest.raises(StorageFailed, match="plain file"):
        await running.digests()
    running.close()


async def test_a_link_is_not_followed(process: HashProcess, path: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(StorageFailed):
        await digest(process.hash(str(link)))


async def test_a_program_that_stops_answering_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped (SIGSTOP), or stuck in a read that never returns: nobody waits for it without end."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1000)
    chunk = Chunk(offset=0, size=1000)
    process = HashProcess(1)
    try:
        hash_ = process.hash(str(path))
        await hash_.feed([(chunk, chunk.range)])
        await hash_.digests()
        stopped = process.pid
        assert stopped is not None
        os.kill(stopped, signal.SIGSTOP)
        with monkeypatch.context() as patch:
            patch.setattr(hashing, "SILENCE_SECONDS", 0.3)
            with pytest.raises(StorageFailed):
                await hash_.digests()
        again = process.hash(str(path))
        await again.feed([(chunk, chunk.range)])
        assert (await again.digests())["sha256"] == hashlib.sha256(b"x" * 1000).hexdigest()
        assert process.pid != stopped
    finally:
        await process.stop()
