"""What the Python client downloads to: paths, file objects, memory and iterators."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from partwise.client import (
    AsyncClient,
    Cancelled,
    Client,
    ClientError,
    LocalFileError,
    TargetFailed,
    VerificationFailed,
)
from tests.conftest import Engines
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess, sha256

pytestmark = pytest.mark.more_engines

DATA = os.urandom(3 * 1024 * 1024 + 4321)
DIGEST = sha256(DATA)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data")) as process:
        with Client(process.url) as client:
            client.upload(DATA, name="data")
            client.upload(b"", name="empty")
        yield process


def cut_answers(proxy: Proxy, *after: int) -> None:
    """Cut the connection when the server has sent so many bytes since the last cut."""
    left = list(after)
    sent = 0

    def answer(connection: int, data: bytes) -> bytes:
        nonlocal sent
        sent += len(data)
        if left and sent > left[0]:
            left.pop(0)
            sent = 0
            raise ConnectionError
        return data

    proxy.mangle_answer = answer


class Slow(io.RawIOBase):
    """Takes few bytes at once."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data[:100_003]
        return min(len(data), 100_003)


def test_a_file_object_gets_all_bytes_and_stays_open(client: Client, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as file:
        file.write(b"before ")
        result = client.download(DIGEST, file)
        file.write(b" behind")
    assert (tmp_path / "out").read_bytes() == b"before " + DATA + b" behind"
    assert (result.size, result.bytes_received, result.sha256) == (len(DATA), len(DATA), DIGEST)
    slow = Slow()
    client.download(DIGEST, slow)
    assert slow.data == DATA


def test_bytes_and_iterators(client: Client) -> None:
    assert client.read(DIGEST) == DATA
    assert client.read(sha256(b"")) == b""
    blocks = list(client.stream(DIGEST))
    assert b"".join(blocks) == DATA
    assert max(map(len, blocks)) <= 1 << 20


def test_more_than_is_wanted_is_refused_before_it_is_sent(client: Client) -> None:
    with pytest.raises(ClientError, match=f"{len(DATA)} bytes, and max_size is 1000"):
        client.read(DIGEST, max_size=1000)


def test_cuts_are_gone_on_from(proxy: Proxy) -> None:
    cut_answers(proxy, 500_000, 1_000_000)
    with Client(proxy.url, patience_seconds=10) as client:
        seen: list[tuple[int, int | None]] = []
        file = io.BytesIO()
        result = client.download(DIGEST, file, progress=lambda done, total: seen.append((done, total)))
    assert file.getvalue() == DATA
    assert result.bytes_received == len(DATA)
    assert seen[-1] == (len(DATA), len(DATA))
    assert seen == sorted(seen)


def damage(proxy: Proxy) -> None:
    proxy.mangle_answer = lambda connection, data: data[:-1] + bytes([data[-1] ^ 1]) if len(data) > 4096 else data


def test_wrong_bytes_are_told_at_the_end(proxy: Proxy, tmp_path: Path) -> None:
    damage(proxy)
    with Client(proxy.url) as client:
        blocks: list[bytes] = []
        with pytest.raises(VerificationFailed, match="Discard"):
            blocks.extend(client.stream(DIGEST))
        assert sum(map(len, blocks)) == len(DATA)
        with pytest.raises(VerificationFailed):
            client.read(DIGEST)
        with pytest.raises(VerificationFailed):
            client.download(DIGEST, io.BytesIO())
        with pytest.raises(VerificationFailed):
            client.download(DIGEST, tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_an_iterator_that_is_left_closes_its_connection(client: Client) -> None:
    blocks = client.stream(DIGEST)
    assert DATA.startswith(next(blocks))
    blocks.close()  # the fixture of all tests fails for a socket that is left open
    assert client.read(DIGEST) == DATA


def test_what_exists_is_replaced_only_when_asked(client: Client, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="already exists") as caught:
        client.download(DIGEST, target)
    assert isinstance(caught.value, LocalFileError)
    assert (os.listdir(tmp_path), target.read_bytes()) == (["out"], b"mine")
    client.download(DIGEST, target, overwrite=True)
    assert (os.listdir(tmp_path), target.read_bytes()) == (["out"], DATA)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_somebody_makes_meanwhile_stays(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    target = tmp_path / "out"
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "Operation not permitted")))
    client.download(DIGEST, tmp_path / "other")
    with pytest.raises(FileExistsError):
        client.download(DIGEST, target, progress=lambda done, total: target.write_bytes(b"theirs"))
    assert target.read_bytes() == b"theirs"
    # What was received is kept for a call that may replace it.
    assert client.download(DIGEST, target, overwrite=True, delta=False).bytes_received == 0
    assert sorted(os.listdir(tmp_path)) == ["other", "out"]


def test_what_is_no_target_is_refused(client: Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    wrong: list[tuple[Any, type[Exception], str]] = [
        (io.StringIO(), TypeError, "text mode"),
        (open(tmp_path / "file", "rb"), ValueError, "not open for writing"),  # noqa: SIM115
        (io.BytesIO(), ValueError, "closed"),
        (5, TypeError, "Cannot download to int"),
    ]
    wrong[2][0].close()
    for target, kind, text in wrong:
        with pytest.raises(kind, match=text):
            client.download(DIGEST, target)
        if isinstance(target, io.IOBase):
            target.close()


def test_what_a_file_object_raises_is_the_cause(client: Client) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(TargetFailed, match="No space left") as caught:
        client.download(DIGEST, Full())
    assert isinstance(caught.value.__cause__, OSError)


def test_cancelling_stops_an_iterator(client: Client) -> None:
    stop = threading.Event()
    blocks = client.stream(DIGEST, cancelled=stop)
    next(blocks)
    stop.set()
    with pytest.raises(Cancelled):
        next(blocks)


async def test_the_same_for_asynchronous_code(server: ServerProcess) -> None:
    async with AsyncClient(server.url) as client:
        assert await client.read(DIGEST) == DATA
        assert b"".join([block async for block in client.stream(DIGEST)]) == DATA
        file = io.BytesIO()
        await client.download(DIGEST, file)
        assert file.getvalue() == DATA
        left = client.stream(DIGEST)
        await anext(left)
        await left.aclose()


async def test_cancelling_a_task_ends_its_iterator(proxy: Proxy) -> None:
    begun = asyncio.Event()
    async with AsyncClient(proxy.url) as client:

        async def consume() -> None:
            async for _ in client.stream(DIGEST):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(consume())
        await asyncio.wait({task, asyncio.create_task(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
