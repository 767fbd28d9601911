"""The end of a server: a time in which it says that it is going away, and what becomes of requests in flight."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support.server import API, Http, ServerProcess
from tests.support.until import wait_until


def readiness(port: int) -> int:
    """The status of ``/readyz`` on a connection of its own."""
    with Http(port) as http:
        return http("GET", "/readyz").status


@pytest.mark.parametrize("workers", [1, 2])
def test_it_says_that_it_will_stop_before_it_does(tmp_path: Path, workers: int) -> None:
    with ServerProcess(tmp_path, workers=workers, drain_seconds=600) as server:
        assert readiness(server.port) == 200
        os.kill(server.pid, signal.SIGTERM)
        wait_until(lambda: readiness(server.port) == 503, "it says so")
        with Http(server.port) as http:
            http.store(b"it goes on meanwhile")
            assert http("GET", "/livez").status == 200
        # The second one does not wait any longer.
        server.stop()


def test_it_stops_by_itself_after_that(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, drain_seconds=0.2)
    server.start()
    assert server.stop() == 0


def begun(port: int, request: str, body: bytes) -> socket.socket:
    """A connection whose request has begun to be received, and is not at its end."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(f"{request}Host: localhost\r\nExpect: 100-continue\r\n\r\n".encode())
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    connection.sendall(body)
    return connection


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_that_takes_too_long_is_told_to_come_again(tmp_path: Path, workers: int) -> None:
    log = tmp_path / "log"
    server = ServerProcess(tmp_path / "data", workers=workers, log=log, log_format="json", shutdown_seconds=1)
    server.start()
    with Http(server.port) as http:
        chunk = http.create(10)
        unknown = http("POST", f"{API}uploads/", {"size": "unknown"}).json["pulp_href"]
    file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(200_000)
    connections = [
        begun(server.port, f"PUT {chunk} HTTP/1.1\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/10\r\n", b"01234"),
        begun(server.port, f"PUT {unknown} HTTP/1.1\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/*\r\n", b"01"),
        # It tidies up what it has begun.
        begun(
            server.port,
            f"POST {API}artifacts/ HTTP/1.1\r\nContent-Length: 500000\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n",
            file,
        ),
    ]
    assert server.stop() == 0
    for connection in connections:
        answer = b""
        with connection:
            while piece := connection.recv(4096):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 "), answer
        assert b"application/problem+json" in head
        assert b"retry-after: 2" in head.lower()
        assert json.loads(body)["type"].endswith("#busy")
    assert "Traceback" not in log.read_text(), log.read_text()
