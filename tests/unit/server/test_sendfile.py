"""``server/sendfile.py``: files that the kernel sends, to readers that are quick, slow, silent and gone."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from partwise.core.errors import BytesLost
from partwise.core.ranges import ByteRange
from partwise.http.sending import FILE, FilePart
from partwise.server import sendfile
from partwise.server.one_write import OneWrite
from partwise.storage.files import hold_open

DATA = os.urandom(3 << 20)


class _Connection(asyncio.Transport):
    """One end of a pair of sockets as a transport that has nothing left to send."""

    def __init__(self, mine: socket.socket) -> None:
        super().__init__({"socket": mine})
        self.mine = mine
        self.aborted = self.closing = False
        self.sent = b""

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += bytes(data)

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def abort(self) -> None:
        self.aborted = True


class _Answer:
    """An answer whose head is written, as uvicorn's cycle has it."""

    def __init__(self, file: Path, connection: _Connection, threads: ThreadPoolExecutor) -> None:
        self.rest: list[Any] = []
        self.connection = connection
        self.part = FilePart(hold_open(str(file), os.O_RDONLY), ByteRange(5, len(DATA) - 5), threads)
        drained = asyncio.get_running_loop().create_future()
        drained.set_result(None)

        async def send(message: Any) -> None:
            self.rest.append(message)

        async def drain() -> None:
            return None

        cycle: Any = SimpleNamespace(
            disconnected=False,
            expected_content_length=self.part.span.size,
            flow=SimpleNamespace(drain=drain),
            send=send,
        )
        self.cycle = cycle
        sendfile.take_files(cycle, connection, OneWrite(connection, asyncio.get_running_loop()))

    async def send(self) -> None:
        await self.cycle.send({"type": FILE, "part": self.part})


@pytest.fixture
def make(file: Path, pair: tuple[_Connection, socket.socket]) -> Iterator[Callable[[], _Answer]]:
    with ThreadPoolExecutor(1) as threads:
        yield lambda: _Answer(file, pair[0], threads)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def pair() -> Iterator[tuple[_Connection, socket.socket]]:
    mine, theirs = socket.socketpair()
    theirs.setblocking(False)
    with mine, theirs:
        yield _Connection(mine), theirs


async def _received(theirs: socket.socket, size: int) -> bytes:
    received, loop = b"", asyncio.get_running_loop()
    while len(received) < size:
        received += await loop.sock_recv(theirs, 1000 if len(received) < 10_000 else 1 << 20)
    return received


async def test_a_reader_gets_all_however_slow_and_other_messages_pass(
    make: Callable[[], _Answer], pair: tuple[_Connection, socket.socket]
) -> None:
    answer = make()
    sending = asyncio.create_task(answer.send())
    assert await _received(pair[1], len(DATA) - 5) == DATA[5:]
    await sending
    assert (answer.part.sent, answer.cycle.expected_content_length) == (len(DATA) - 5, 0)
    await answer.cycle.send({"type": "http.response.body"})
    assert answer.rest == [{"type": "http.response.body"}]


async def test_a_reader_that_takes_nothing_is_given_up(
    make: Callable[[], _Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sendfile, "READ_SECONDS", 0.05)
    answer = make()
    with pytest.raises(TimeoutError):
        await answer.send()
    assert 0 < answer.part.sent < len(DATA) - 5


async def test_a_connection_that_closes_gets_nothing(
    make: Callable[[], _Answer], pair: tuple[_Connection, socket.socket]
) -> None:
    """The number of its socket may be another connection's by now."""
    answer = make()
    answer.connection.closing = True
    await answer.send()
    with pytest.raises(BlockingIOError):
        pair[1].recv(1)


async def test_without_a_free_descriptor_it_goes_in_blocks(
    make: Callable[[], _Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dup(_descriptor: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    answer = make()
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", dup)
        await answer.send()
    assert (answer.connection.sent, answer.part.sent) == (DATA[5:], len(DATA) - 5)


async def test_a_reader_that_is_gone_ends_it(
    make: Callable[[], _Answer], pair: tuple[_Connection, socket.socket]
) -> None:
    answer = make()
    pair[1].close()
    await answer.send()
    assert answer.connection.aborted
    assert answer.part.sent < len(DATA) - 5


async def test_it_ends_when_cancelled_and_when_the_connection_is_lost(
    make: Callable[[], _Answer], pair: tuple[_Connection, socket.socket]
) -> None:
    answer = make()
    sending = asyncio.create_task(answer.send())
    await _received(pair[1], 1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    answer.cycle.disconnected = True
    before = answer.part.sent
    await answer.send()
    assert answer.part.sent == before


async def test_a_file_that_is_too_short_breaks_the_answer_off(make: Callable[[], _Answer], file: Path) -> None:
    answer = make()
    os.truncate(file, 10)
    with pytest.raises(BytesLost):
        await answer.send()
    assert answer.part.sent == 5


@pytest.mark.parametrize("number, begun", [(errno.EIO, False), (errno.EINVAL, True)])
async def test_a_file_that_cannot_be_read_breaks_the_answer_off(
    make: Callable[[], _Answer], monkeypatch: pytest.MonkeyPatch, number: int, begun: bool
) -> None:
    answer = make()
    answer.part.sent = 1 if begun else 0

    def fail(*_: object) -> int:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "sendfile", fail)
    with pytest.raises(Exception, match=r"Stored bytes|failed to read"):
        await answer.send()


async def test_what_the_kernel_cannot_send_goes_in_blocks(
    make: Callable[[], _Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> int:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "sendfile", cannot)
    answer = make()
    await answer.send()
    assert answer.connection.sent == DATA[5:]
    assert answer.part.sent == len(DATA) - 5
