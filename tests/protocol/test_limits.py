"""What keeps clients that are slow, many or greedy from harming the rest."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from partwise.server.handover import SMALLEST
from tests.conftest import Engines
from tests.support.server import API, Answer, Http, ServerProcess

pytestmark = pytest.mark.more_engines


def connect(server: ServerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def answer(connection: socket.socket) -> Answer:
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response)


def hits(http: Http, setting: str) -> float:
    """How often a limit was met."""
    return http.figures()[f'partwise_limit_hits_total{{setting="{setting}"}}']


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Iterator[ServerProcess]:
    """A server that waits a second for headers and for bytes, and wants 10 kB of a body each second."""
    settings: dict[str, Any] = {"header_timeout_seconds": 1, "body_idle_timeout_seconds": 1, "body_min_rate": 10_000}
    with ServerProcess(tmp_path_factory.mktemp("data"), **settings) as process:
        yield process


def drip(connection: socket.socket, data: bytes, pause: float) -> None:
    """Send byte by byte until the other side has had enough."""

    def run() -> None:
        for byte in data:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                return
            time.sleep(pause)

    threading.Thread(target=run, daemon=True).start()


def test_slow_headers_are_cut(hasty: ServerProcess) -> None:
    with connect(hasty) as connection:
        began = time.monotonic()
        drip(connection, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Padding: " + b"x" * 1000, 0.05)
        assert answer(connection).problem == (408, "headers-too-slow")
        assert time.monotonic() - began < 10
    with Http(hasty.port) as http:
        assert hits(http, "header_timeout_seconds") >= 1


def test_slow_headers_of_a_second_request_are_cut(hasty: ServerProcess) -> None:
    with connect(hasty) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer(connection).status == 200
        drip(connection, b"\r\n" * 10 + b"GET /livez HTTP/1.1\r\nX-Padding: " + b"x" * 1000, 0.05)
        assert answer(connection).status == 408


def test_a_client_that_says_nothing_is_cut(hasty: ServerProcess) -> None:
    with connect(hasty) as connection:
        assert connection.recv(100) == b""


def test_pipelined_requests_keep_their_headers(hasty: ServerProcess) -> None:
    request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-One: 1\r\n\r\n"
    with connect(hasty) as connection:
        connection.sendall(request * 2 + request[:30])
        connection.sendall(request[30:])
        got = b""
        while got.count(b"HTTP/1.1 ") < 3 or not got.endswith(b"ok\n"):
            piece = connection.recv(4096)
            assert piece, got
            got += piece
    # Without its Host field a request would be refused.
    assert got.count(b"HTTP/1.1 200 OK") == 3


def send_head(connection: socket.socket, href: str, size: int) -> None:
    """All of a chunk's request but its body, which is the whole file."""
    head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
    connection.sendall(f"{head}Content-Range: bytes 0-{size - 1}/{size}\r\n\r\n".encode())


@pytest.mark.parametrize("size", [20_000, 4 * SMALLEST], ids=["messages", "socket"])
def test_slow_bodies_are_cut(hasty: ServerProcess, size: int) -> None:
    with Http(hasty.port) as client:
        href = client.create(size)
        before = hits(client, "body_min_rate")
    with connect(hasty) as connection:
        send_head(connection, href, size)
        began = time.monotonic()
        drip(connection, bytes(10_000), 0.05)
        late = answer(connection)
        assert late.problem == (408, "body-interrupted")
        assert "10000 bytes per second" in late.json["detail"]
        assert time.monotonic() - began < 10
    with Http(hasty.port) as client:
        assert client("GET", href).json["chunks"] == []
        assert hits(client, "body_min_rate") == before + 1


@pytest.mark.parametrize("size", [20_000, 4 * SMALLEST], ids=["messages", "socket"])
def test_bodies_that_do_not_come_are_cut(hasty: ServerProcess, size: int) -> None:
    with Http(hasty.port) as client:
        href = client.create(size)
        before = hits(client, "body_idle_timeout_seconds")
        with connect(hasty) as connection:
            send_head(connection, href, size)
            late = answer(connection)
        assert late.problem == (408, "body-interrupted")
        assert "for 1 seconds" in late.json["detail"]
        assert hits(client, "body_idle_timeout_seconds") == before + 1


@pytest.mark.parametrize("size", [20_000, SMALLEST], ids=["messages", "socket"])
def test_bodies_at_the_least_rate_come_through(hasty: ServerProcess, size: int) -> None:
    with Http(hasty.port) as client:
        href = client.create(size)
    with connect(hasty) as connection:
        head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
        connection.sendall(f"{head}Content-Range: bytes 0-{size - 1}/{size}\r\n\r\n".encode())
        for offset in range(0, size, size // 20):
            connection.sendall(bytes(min(size // 20, size - offset)))
            time.sleep(0.1)
        assert answer(connection).status == 200


@pytest.mark.parametrize("field", [b"X: " + b"x" * 200_000, b"\r\n".join([b"X: y"] * 60_000)], ids=["long", "many"])
def test_large_headers_are_refused(server: ServerProcess, field: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + field)
        assert answer(connection).problem == (431, "headers-too-large")


def test_trailers_are_not_kept(server: ServerProcess) -> None:
    body = json.dumps({"size": 1}).encode()
    head = f"POST {API}uploads/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    trailers = b"".join(b"Host: evil.example\r\n" for _ in range(1000))
    with connect(server) as connection:
        connection.sendall(head + b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers))
        assert answer(connection).status == 201


def test_what_is_no_http_is_a_problem(server: ServerProcess) -> None:
    with connect(server) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert answer(connection).problem == (400, "bad-http")


@contextmanager
def let_in(server: ServerProcess) -> Iterator[Http]:
    """A connection that the server takes, which may notice a moment later that another one was closed."""
    deadline = time.monotonic() + 10
    while True:
        with Http(server.port) as client:
            if client("GET", "/livez").status == 200:
                yield client
                return
        assert time.monotonic() < deadline


def test_one_connection_too_many(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, max_connections=3) as server:
        held = [connect(server) for _ in range(3)]
        for connection in held:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert answer(connection).status == 200
        with connect(server) as one_more:
            one_more.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            refused = answer(one_more)
            assert refused.problem == (503, "busy")
            assert refused.headers["Retry-After"] == "1"
            assert one_more.recv(10) == b""
        held.pop().close()
        with let_in(server) as client:
            assert hits(client, "max_connections") >= 1
            figures = client.figures()
            assert figures["partwise_connections"] >= figures['partwise_limit{setting="max_connections"}'] == 3
        for connection in held:
            connection.close()


@pytest.mark.usefixtures("engines")
def test_one_request_too_many(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, max_requests=1) as server, Http(server.port) as client:
        href = client.create(10)
        with connect(server) as connection:
            head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n"
            connection.sendall(f"{head}Content-Range: bytes 0-9/10\r\n\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            assert client("GET", href).problem == (503, "busy")
            assert hits(client, "max_requests") == 1
            connection.sendall(b"0123456789")
            assert answer(connection).status == 200
        assert client("GET", href).status == 200


def test_the_disks_floor_is_left_free(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, free_space_floor="1GiB") as server, Http(server.port) as client:
        storage = client("GET", f"{API}status/").json["storage"]
        assert storage["free"] - storage["available"] >= 2**30
        assert client("POST", f"{API}uploads/", {"size": storage["free"] - 2**29}).problem == (507, "out-of-space")
        assert hits(client, "free_space_floor") == 1
        assert client.figures()['partwise_limit{setting="free_space_floor"}'] == 2**30


@pytest.mark.usefixtures("engines")
def test_what_one_user_may_hold(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"max_upload_size": 2000, "quota": 3000, "max_open_uploads": 2, "max_chunks": 1}
    with ServerProcess(tmp_path, **limits) as server, Http(server.port) as client:
        assert client("POST", f"{API}uploads/", {"size": 2001}).problem == (413, "upload-too-large")
        href = client.create(2000)
        assert client("POST", f"{API}uploads/", {"size": 1001}).problem == (413, "quota-exceeded")
        client.create(1000)
        assert client("POST", f"{API}uploads/", {"size": 0}).problem == (413, "too-many-uploads")
        assert client.put(href, 0, b"0").status == 200
        assert client.put(href, 5, b"5").problem == (413, "too-many-chunks")
        figures = client.figures()
        for setting, value in limits.items():
            assert figures[f'partwise_limit{{setting="{setting}"}}'] == value
            assert figures[f'partwise_limit_hits_total{{setting="{setting}"}}'] == 1
