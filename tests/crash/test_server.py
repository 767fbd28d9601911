"""A real server, of one or two processes, killed in the middle of a parallel upload: the client finishes."""

from __future__ import annotations

import http.client
import os
import random
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.engines import CATALOG, new_data_folder
from tests.support.folders import fast_folder
from tests.support.server import API, Answer, Http, ServerProcess, sha256

_SIZE, _CHUNK = 2 << 20, 128 << 10
_PATIENCE = 120.0


class CrashingServer(ServerProcess):
    """A server that dies at a point."""

    program = ("-m", "tests.crash.server")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as name:
        new_data_folder(Path(name) / "data")
        yield Path(name)


class Client:
    """Sends chunks over several connections, tries again while the server is away, and remembers what it was told."""

    def __init__(self, server: ServerProcess, seed: int) -> None:
        self.server = server
        self.data = random.Random(seed).randbytes(_SIZE)
        self.acknowledged: set[int] = set()
        self.href = ""
        self.commit_answered = False

    def run(self) -> str:
        """Upload the file and commit it; its SHA-256 as the server tells it."""
        self.href = str(self._insist("POST", f"{API}uploads/", {"size": _SIZE}).json["pulp_href"])
        offsets = list(range(0, _SIZE, _CHUNK))
        random.Random(1).shuffle(offsets)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._put, offsets))
        answer = self._insist("PUT", f"{self.href}commit", {"sha256": sha256(self.data)})
        while answer.status == 202:
            time.sleep(0.1)
            answer = self._insist("PUT", f"{self.href}commit", {"sha256": sha256(self.data)})
        assert answer.status == 200, answer.body
        self.commit_answered = True
        return str(answer.json["sha256"])

    def _put(self, offset: int) -> None:
        piece = self.data[offset : offset + _CHUNK]
        span = f"bytes {offset}-{offset + len(piece) - 1}/{_SIZE}"
        answer = self._insist("PUT", self.href, piece, Content_Range=span)
        assert answer.status == 200, answer.body
        self.acknowledged.add(offset)

    def _insist(self, method: str, path: str, body: object, **headers: str) -> Answer:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                with Http(self.server.port) as connection:
                    answer = connection(method, path, body, **headers)
            except (OSError, http.client.HTTPException):
                assert time.monotonic() < deadline, "the server does not come back"
                time.sleep(0.05)
                continue
            if answer.status == 409 and "Retry-After" in answer.headers:
                time.sleep(0.1)
                continue
            return answer

    def check(self) -> None:
        """What was acknowledged is there."""
        if not self.href or self.commit_answered:
            return
        acknowledged = set(self.acknowledged)
        with Http(self.server.port) as connection:
            shown = connection("GET", self.href).json
        if shown["state"] == "open":
            assert acknowledged <= {chunk["offset"] for chunk in shown["chunks"]}


def finish(client: Client, folder: Path) -> None:
    """The artifact is the file, and nothing is left over."""
    digest = sha256(client.data)
    with Http(client.server.port) as connection:
        [artifact] = connection("GET", f"{API}artifacts/?sha256={digest}").json["results"]
        assert sha256(connection("GET", f"{artifact['pulp_href']}download/").body) == digest
    deadline = time.monotonic() + 20
    while (left := list((folder / "data" / "staging").iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "workers, point, count",
    [
        (1, "create.reserved", 1),
        (1, "write.block", 5),
        (1, "chunk.recorded", 4),
        (1, "publish.linked", 1),
        (1, "commit.recorded", 1),
        (2, "chunk.written", 2),
        (2, "commit.published", 1),
    ],
)
def test_killed_at_a_point(folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int, point: str, count: int) -> None:
    once = folder / "died"
    for name, value in {"CRASH_POINT": point, "CRASH_PASS": str(count), "CRASH_ONCE": str(once)}.items():
        monkeypatch.setenv(name, value)
    with CrashingServer(folder / "data", workers=workers) as server:
        client = Client(server, seed=count)
        keeper = threading.Thread(target=_restart_when_dead, args=(server, once, client, workers))
        keeper.start()
        assert client.run() == sha256(client.data)
        keeper.join(_PATIENCE)
        assert once.exists(), "nobody died"
        finish(client, folder)


def _restart_when_dead(server: ServerProcess, once: Path, client: Client, workers: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not once.exists() and not client.commit_answered and time.monotonic() < deadline:
        time.sleep(0.01)
    if workers == 1 and once.exists():  # else its supervisor starts another
        server.kill()
        server.start()
        client.check()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_moment_again_and_again(folder: Path, workers: int) -> None:
    rng = random.Random(workers)
    with ServerProcess(folder / "data", workers=workers) as server:
        client = Client(server, seed=workers)
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(client.run)
            for _ in range(3):
                time.sleep(rng.uniform(0.0, 0.15))
                with suppress(ProcessLookupError):
                    os.kill(server.pid, signal.SIGKILL)
                server.kill()
                server.start()
                client.check()
            assert done.result(_PATIENCE) == sha256(client.data)
        finish(client, folder)


def test_a_start_after_a_power_loss_reports_what_was_not_on_disk_as_missing(folder: Path) -> None:
    server, data = ServerProcess(folder / "data"), os.urandom(2000)
    with server, Http(server.port) as connection:
        href = connection.create(len(data))
        for offset in (0, 1000):
            assert connection.put(href, offset, data[offset : offset + 1000]).status == 200
    # As if the second chunk had not been flushed, and the machine had been started since.
    with closing(sqlite3.connect(folder / "data" / CATALOG)) as database, database:
        database.execute("UPDATE uploads SET durable_seq = 1")
    with server, Http(server.port) as connection:
        assert connection("GET", href).json["missing"] == [], "the same boot has all of it in memory"
    with closing(sqlite3.connect(folder / "data" / CATALOG)) as database, database:
        database.execute("UPDATE uploads SET durable_seq = 1")
        database.execute("UPDATE meta SET value = 'before' WHERE key = 'boot_id'")
    with server, Http(server.port) as connection:
        assert connection("GET", href).json["missing"] == [{"offset": 1000, "size": 1000}]
        assert connection.put(href, 1000, data[1000:]).status == 200
        assert connection.commit(href, data).status == 200
