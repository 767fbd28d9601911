"""A slow line that breaks again and again: the command gets a file through all the same."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256

RATE = 150_000
SIZE = 2_000_000


@contextmanager
def breaking(proxy: Proxy, seconds: float, rate: int = RATE) -> Iterator[None]:
    """Each connection moves ``rate`` bytes a second, and all are cut every so many seconds."""

    def slow(_connection: int, piece: bytes) -> bytes:
        time.sleep(len(piece) / rate)
        return piece

    over = threading.Event()

    def cut() -> None:
        while not over.wait(seconds):
            proxy.cut()

    cutter = threading.Thread(target=cut)
    proxy.mangle = slow
    cutter.start()
    try:
        yield
    finally:
        over.set()
        cutter.join()


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.mark.timeout(240)
def test_a_line_that_is_cut_before_a_large_part_is_through(
    cli: Cli, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    """With the server's advice of 16 MiB a part nothing would ever arrive."""
    path = tmp_path / "slow.bin"
    path.write_bytes(os.urandom(SIZE))
    with breaking(proxy, 3):
        result = cli("upload", path, "--server", proxy.url, "--json").json
    assert result["sha256"] == sha256(path.read_bytes())
    assert result["bytes_sent"] < 3 * SIZE, "most of what went out was kept"
    with Http(server.port) as http:
        [upload] = http("GET", f"{API}uploads/?search=slow.bin").json["results"]
        assert upload["state"] == "completed"


@pytest.mark.timeout(240)
def test_a_part_that_the_user_chose_too_large_arrives_piece_by_piece(cli: Cli, proxy: Proxy, tmp_path: Path) -> None:
    """It never gets through between two cuts; the server keeps what came of it."""
    path = tmp_path / "large-part.bin"
    path.write_bytes(os.urandom(SIZE))
    with breaking(proxy, 1.5, 4 * RATE):
        result = cli("upload", path, "--server", proxy.url, "--chunk-size", "16MiB", "--parallel", "1", "--json").json
    assert result["sha256"] == sha256(path.read_bytes())
    assert result["retries"] >= 2
