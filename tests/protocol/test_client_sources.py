"""What the Python client uploads from: bytes, file objects, iterators; and what it says where one cannot be."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from partwise.client import (
    AsyncClient,
    Cancelled,
    Client,
    NoRoom,
    Observer,
    Phase,
    SourceFailed,
    VerificationFailed,
    streaming,
)
from tests.conftest import Engines
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess, sha256

pytestmark = pytest.mark.more_engines

DATA = os.urandom(3 * 1024 * 1024 + 4321)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data"), max_upload_size="20MiB") as process:
        yield process


class Pipe:
    """A file object that only reads, in small pieces."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, 100_003))


def blocks(data: bytes, size: int = 77_777) -> Iterator[bytes]:
    for offset in range(0, len(data), size):
        yield data[offset : offset + size]
        yield b""


def numbers(data: bytes) -> memoryview:
    return memoryview(array("B", data)).cast("B", shape=[len(data)]) if data else memoryview(b"")


SOURCES: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": numbers,
    "BytesIO": io.BytesIO,
    "a pipe": Pipe,
    "a generator": blocks,
    "a list": lambda data: [data[:10], bytearray(data[10:1000]), memoryview(data[1000:])],
    "a large block": lambda data: iter([data]),
}


def open_uploads(client: Client) -> list[str]:
    return [upload.href for upload in client.uploads() if upload.state == "open"]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("size", [0, 1, 300_000, len(DATA)])
def test_what_is_uploaded_is_what_was_given(client: Client, source: Callable[[bytes], Any], size: int) -> None:
    result = client.upload(source(DATA[:size]), name="given.bin")
    assert (result.size, result.sha256) == (size, sha256(DATA[:size]))
    artifact = client.artifact(result.sha256)
    assert (artifact.size, artifact.filename) == (size, "given.bin")
    assert not open_uploads(client)


def test_wider_items_are_their_bytes(client: Client) -> None:
    wide = array("Q", DATA[:8000])
    assert client.upload(memoryview(wide)).sha256 == sha256(DATA[:8000])


def test_a_file_is_read_from_where_it_stands_and_stays_open(client: Client, tmp_path: Path) -> None:
    (tmp_path / "disk.img").write_bytes(DATA)
    with open(tmp_path / "disk.img", "rb") as file:
        file.seek(1000)
        result = client.upload(file)
        assert (result.sha256, result.name) == (sha256(DATA[1000:]), "disk.img")
        assert not file.closed
        assert file.tell() == len(DATA)


def test_files_that_say_nothing_of_their_size_are_streams(client: Client) -> None:
    with open("/proc/self/maps", "rb") as file:
        assert client.upload(file).size > 0
    reader, writer = os.pipe()
    with open(reader, "rb") as source, open(writer, "wb", buffering=0) as sink:
        sink.write(b"through a pipe")
        sink.close()
        result = client.upload(source)
    assert (result.sha256, result.name) == (sha256(b"through a pipe"), "")


class Totals(Observer):
    def __init__(self) -> None:
        self.seen: dict[Phase, set[int | None]] = {}
        self.sent = 0

    def progress(self, phase: Phase, done: int, total: int | None) -> None:
        self.seen.setdefault(phase, set()).add(total)
        if phase is Phase.SENDING:
            self.sent = done


@pytest.mark.parametrize(
    "source, size, total",
    [(blocks, None, None), (blocks, len(DATA), len(DATA)), (io.BytesIO, None, len(DATA))],
)
def test_progress_has_a_total_where_it_is_known(
    client: Client, source: Any, size: int | None, total: int | None
) -> None:
    totals = Totals()
    client.upload(source(DATA), observer=totals, size=size)
    assert totals.seen[Phase.SENDING] == {total}
    assert totals.sent == len(DATA)


@pytest.mark.parametrize("verify_chunks", [False, True])
def test_parts_that_were_cut_are_sent_again_from_memory(proxy: Proxy, verify_chunks: bool) -> None:
    cuts = iter([400_000, 1_200_000, 2_500_000])
    at = next(cuts)

    def mangle(connection: int, data: bytes) -> bytes:
        nonlocal at
        if proxy.passed > at:
            at = next(cuts, 1 << 40)
            raise ConnectionError
        return data

    proxy.mangle = mangle
    with Client(proxy.url, patience_seconds=10) as client:
        result = client.upload(blocks(DATA), verify_chunks=verify_chunks)
        assert result.sha256 == sha256(DATA)
        assert result.retries >= 3
        assert not open_uploads(client)


def test_no_more_is_read_than_may_wait(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 2 * 1024 * 1024
    monkeypatch.setattr(streaming, "MOST_HELD", most)
    ahead = []
    read = 0

    def source() -> Iterator[bytes]:
        nonlocal read
        for offset in range(0, len(DATA) * 3, 65536):
            block = (DATA * 3)[offset : offset + 65536]
            read += len(block)
            ahead.append(read - proxy.passed)
            if read == 1024 * 1024:
                proxy.hold_after(0)
            if ahead[-1] > most // 2:
                proxy.release()
            yield block

    with Client(proxy.url) as client:
        assert client.upload(source()).sha256 == sha256(DATA * 3)
    # A block of the iterator is in hand before it is known whether there is room.
    assert most // 2 < max(ahead) <= most + 65536 + 262_144


def failing(error: BaseException, data: bytes = DATA) -> Iterator[bytes]:
    yield data
    raise error


@pytest.mark.parametrize("data", [DATA[:1000], DATA], ids=["early", "late"])
def test_what_an_iterator_raises_is_the_cause_and_nothing_is_left(client: Client, data: bytes) -> None:
    with pytest.raises(SourceFailed, match="Cannot read the data: ZeroDivisionError: division") as caught:
        client.upload(failing(ZeroDivisionError("division"), data))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not open_uploads(client)


def test_what_a_file_object_raises_is_the_cause(client: Client) -> None:
    class Broken(Pipe):
        def read(self, size: int) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(SourceFailed, match="Input/output error"):
        client.upload(Broken(b""))


def test_an_interrupt_passes_and_nothing_is_left(client: Client) -> None:
    with pytest.raises(KeyboardInterrupt):
        client.upload(failing(KeyboardInterrupt()))
    assert not open_uploads(client)


def test_what_is_no_source_is_refused_before_anything_is_sent(client: Client, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    wrong: list[tuple[Any, type[Exception], str]] = [
        (io.StringIO("text"), TypeError, "text mode"),
        (open(tmp_path / "text"), TypeError, "text mode"),  # noqa: SIM115
        (open(tmp_path / "text", "wb"), ValueError, "not open for reading"),  # noqa: SIM115
        (io.BytesIO(), ValueError, "closed"),
        (5, TypeError, "Cannot upload int"),
        ({"a": 1}, TypeError, "Cannot upload dict"),
    ]
    wrong[3][0].close()
    before = len(list(client.uploads()))
    for source, kind, text in wrong:
        with pytest.raises(kind, match=text):
            client.upload(source)
        if isinstance(source, io.IOBase):
            source.close()
    assert len(list(client.uploads())) == before


@pytest.mark.parametrize("first", [b"", DATA], ids=["early", "late"])
def test_text_in_an_iterator_is_said(client: Client, first: bytes) -> None:
    given: Any = iter([first, "text"])
    with pytest.raises(TypeError, match=r"gave str, not bytes. Encode it first"):
        client.upload(given)
    assert not open_uploads(client)


@pytest.mark.parametrize("size, text", [(len(DATA) - 1, "more bytes"), (len(DATA) + 1, "ended after")])
def test_another_size_than_was_said_is_an_error(client: Client, size: int, text: str) -> None:
    with pytest.raises(SourceFailed, match=text):
        client.upload(blocks(DATA), size=size)
    assert not open_uploads(client)


@pytest.mark.parametrize("option", [{"base": "1"}, {"delta": True}, {"upload": "1"}])
def test_streams_take_no_options_that_read_them_twice(client: Client, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="read once"):
        client.upload(blocks(DATA), **option)


def test_a_limit_ends_the_stream_and_nothing_is_left(client: Client) -> None:
    asked = 0

    def endless() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield bytes(1 << 20)

    with pytest.raises(NoRoom, match="20971520"):
        client.upload(endless())
    assert asked < 200
    assert not open_uploads(client)


def test_damage_on_the_way_is_found_and_nothing_is_left(proxy: Proxy) -> None:
    def mangle(connection: int, data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if len(data) == 65536 and proxy.passed > 1_000_000 else data

    proxy.mangle = mangle
    with Client(proxy.url) as client:
        with pytest.raises(VerificationFailed, match="cannot be read again"):
            client.upload(blocks(DATA))
        assert not open_uploads(client)


def test_cancelling_removes_what_cannot_be_resumed(client: Client) -> None:
    stop = threading.Event()

    def source() -> Iterator[bytes]:
        yield DATA
        stop.set()
        while True:
            yield b""

    with pytest.raises(Cancelled):
        client.upload(source(), cancelled=stop)
    assert not open_uploads(client)


def test_bytes_whose_upload_fails_leave_nothing(proxy: Proxy) -> None:
    with Client(proxy.url, patience_seconds=0) as client:
        proxy.instead = lambda piece: b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n" if b"commit" in piece else None
        with pytest.raises(Exception, match="400"):
            client.upload(DATA[:1000])
        assert not open_uploads(client)


async def test_an_asynchronous_iterator_is_uploaded(server: ServerProcess) -> None:
    running = asyncio.get_running_loop()

    async def source() -> AsyncIterator[bytes]:
        for block in blocks(DATA, 700_000):
            assert asyncio.get_running_loop() is running
            await asyncio.sleep(0)
            yield block

    async with AsyncClient(server.url) as client:
        result = await client.upload(source(), name="stream")
        assert (result.sha256, result.name) == (sha256(DATA), "stream")
        assert (await client.upload(iter([DATA]))).sha256 == sha256(DATA)


async def test_what_an_asynchronous_iterator_raises_is_the_cause(server: ServerProcess) -> None:
    async def source() -> AsyncIterator[bytes]:
        yield DATA
        raise ZeroDivisionError

    async with AsyncClient(server.url) as client:
        with pytest.raises(SourceFailed, match="ZeroDivisionError") as caught:
            await client.upload(source())
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert not [upload for upload in await client.uploads() if upload.state == "open"]


async def test_cancelling_ends_an_asynchronous_iterator_that_waits(server: ServerProcess) -> None:
    waits, ended = asyncio.Event(), asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        yield DATA
        waits.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with AsyncClient(server.url) as client:
        upload = asyncio.create_task(client.upload(source()))
        await asyncio.wait({upload, asyncio.create_task(waits.wait())}, return_when=asyncio.FIRST_COMPLETED)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        await asyncio.wait([asyncio.create_task(ended.wait())], timeout=10)
        assert ended.is_set()
        assert not [upload for upload in await client.uploads() if upload.state == "open"]
