"""The server as a process: several workers, dying workers, stopping, silence, and what it refuses to do."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from partwise.server.run import CannotServe, serve
from partwise.server.settings import Settings
from tests.support.server import API, Http, ServerProcess, sha256

pytestmark = pytest.mark.more_engines


def children(pid: int) -> set[int]:
    """The worker processes of a supervisor."""
    found = set()
    for entry in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (entry / "children").read_text().split()}
    return found


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for a condition of another process."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def answers(server: ServerProcess) -> bool:
    try:
        with Http(server.port) as http:
            return http("GET", "/readyz").status == 200
    except OSError:
        return False


@pytest.mark.usefixtures("engines")
def test_workers_share_one_upload_and_dead_ones_are_replaced(tmp_path: Path) -> None:
    data = os.urandom(600_000)
    with ServerProcess(tmp_path, workers=3) as server:
        workers = children(server.pid)
        assert len(workers) == 3
        with Http(server.port) as http:
            href = http.create(len(data))
        for offset in range(0, len(data), 60_000):
            if offset == 300_000:
                for worker in workers:
                    os.kill(worker, signal.SIGKILL)
                until(lambda: len(children(server.pid) - workers) == 3 and answers(server))
            with Http(server.port) as http:
                assert http.put(href, offset, data[offset : offset + 60_000]).status == 200
        with Http(server.port) as http:
            assert http.commit(href, data).json["sha256"] == sha256(data)


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, workers=2)
    server.start()
    workers = children(server.pid)
    server.kill()
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_lets_a_request_in_flight_finish(tmp_path: Path, workers: int) -> None:
    with ServerProcess(tmp_path, workers=workers) as server:
        with Http(server.port) as http:
            href = http.create(10)
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n"
            connection.sendall(f"{head}Content-Range: bytes 0-9/10\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            os.kill(server.pid, signal.SIGTERM)
            connection.sendall(b"01234")
            until(lambda: not answers(server))
            connection.sendall(b"56789")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.usefixtures("engines")
def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    server = ServerProcess(tmp_path)
    server.start()
    with Http(server.port) as http:
        href = http.create(len(data))
        assert http.put(href, 0, data[:100_000]).status == 200
    server.kill()
    with server, Http(server.port) as http:
        assert http("GET", href).json["missing"] == [{"offset": 100_000, "size": 100_000}]
        assert http.put(href, 100_000, data[100_000:]).status == 200
        assert http.commit(href, data).status == 200


@pytest.mark.usefixtures("engines")
def test_a_silent_body_is_given_up(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, body_idle_timeout_seconds=0.3) as server:
        with Http(server.port) as http:
            href = http.create(10)
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            head = (
                f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/10\r\n\r\n"
            )
            connection.sendall(head.encode() + b"01234")
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"body-interrupted" in answer
        with Http(server.port) as http:
            assert http("GET", href).json["chunks"] == []


@pytest.mark.usefixtures("engines")
def test_limits(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_upload_size": "1MiB", "quota": "1100KiB", "max_open_uploads": 2, "max_chunks": 2}
    with ServerProcess(tmp_path, **settings) as server, Http(server.port) as http:
        refused = http("POST", f"{API}uploads/", {"size": 2**20 + 1})
        assert refused.problem == (413, "upload-too-large")
        assert refused.json["limit"] == 2**20
        href = http.create(2**20)
        assert http("POST", f"{API}uploads/", {"size": 2**20}).problem == (413, "quota-exceeded")
        http.create(10)
        assert http("POST", f"{API}uploads/", {"size": 1}).problem == (413, "too-many-uploads")
        for offset in (0, 10):
            assert http.put(href, offset, b"0123456789").status == 200
        assert http.put(href, 20, b"0123456789").problem == (413, "too-many-chunks")


def test_another_prefix(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, api_prefix="api/v1") as server, Http(server.port) as http:
        href = http("POST", "/api/v1/uploads/", {"size": 0}).json["pulp_href"]
        assert href.startswith("/api/v1/uploads/")
        assert http("GET", href).status == 200


def test_a_host_that_others_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match=r"--host 127\.0\.0\.1"):
        serve(Settings(host="0.0.0.0", port=0, data=tmp_path))


def test_a_host_that_others_reach_needs_tokens(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotServe, match="data folder"):  # it went on to the next check
        serve(Settings(host="0.0.0.0", port=0, auth="token", data=tmp_path / "file" / "data"))


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotServe, match="in use"):
        serve(Settings(port=taken.getsockname()[1], data=tmp_path / "data"))
    assert not (tmp_path / "data").exists(), "the port comes first: nothing was made or migrated"


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with ServerProcess(tmp_path / "data", workers=2):
            assert systemd.recv(100) == b"READY=1"
        assert systemd.recv(100) == b"STOPPING=1"


def test_a_data_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotServe, match="data folder"):
        serve(Settings(port=0, data=tmp_path / "file" / "data"))
