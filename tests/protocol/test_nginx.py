"""The site of nginx that the operations guide gives, before a real server: bodies go through it as they come."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nginx import NGINX, free_port, guide_site, nginx
from tests.support.server import API, Http, ServerProcess, sha256

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
    pytest.mark.files_only("it looks into the staging file; tests/engines has a balancer before servers on objects"),
]


@pytest.fixture
def proxy(server: ServerProcess, tmp_path: Path) -> Iterator[int]:
    """The port of nginx before the server."""
    port = free_port()
    with nginx(tmp_path, port, guide_site(server.port, f"listen 127.0.0.1:{port}")):
        yield port


def test_an_upload_goes_through_as_it_comes(server: ServerProcess, proxy: int, tmp_path: Path) -> None:
    data = os.urandom(5 << 20)
    with Http(proxy) as http, Http(server.port) as direct:
        href = http.create(len(data))
        answer = http.put(href, 0, data[: 3 << 20], len(data))
        assert answer.status == 200
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])
        # The server has the first bytes of a body before the last one was sent.
        with socket.create_connection(("127.0.0.1", proxy), timeout=30) as slow:
            rest = data[3 << 20 :]
            head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(rest)}\r\n"
            slow.sendall(
                f"{head}Content-Range: bytes {3 << 20}-{len(data) - 1}/{len(data)}\r\n\r\n".encode() + rest[:-10]
            )
            staged = server.data / "staging" / href.split("/")[-2]
            deadline = time.monotonic() + 30
            while rest[:100_000] not in staged.read_bytes():
                assert time.monotonic() < deadline, "nginx holds the body back"
                time.sleep(0.05)
            assert direct("GET", href).json["missing_count"] == 1
            slow.sendall(rest[-10:])
            assert slow.recv(1000).startswith(b"HTTP/1.1 200 ")
        done = http.commit(href, data)
        assert done.json["sha256"] == sha256(data)
        assert http("GET", f"{done.json['artifact']}download/").body == data
        assert http("GET", f"{done.json['artifact']}download/", Range="bytes=5-9").body == data[5:10]
    assert not any((tmp_path / "client_body").rglob("*")), "nginx wrote a body to a file"
    assert not [path for path in (tmp_path / "proxy").rglob("*") if path.is_file()]


@pytest.mark.parametrize("form", [False, True], ids=["raw", "form"])
def test_a_newer_request_wins_over_its_dead_twin(server: ServerProcess, proxy: int, form: bool) -> None:
    """The client lost its network in the middle; nginx, which cannot know, still holds the old request open."""
    data = os.urandom(3 << 20)
    kind = "multipart/form-data; boundary=B" if form else "application/octet-stream"
    start = b'--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' if form else b""
    end = b"\r\n--B--\r\n" if form else b""
    length = len(start) + len(data) + len(end)
    with Http(proxy) as http:
        href = http.create(len(data))
        head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nContent-Type: {kind}\r\n"
        with socket.create_connection(("127.0.0.1", proxy), timeout=30) as dead:
            span = f"Content-Range: bytes 0-{len(data) - 1}/{len(data)}\r\n\r\n"
            dead.sendall((head + span).encode() + start + data[: 2 << 20])
            staged = server.data / "staging" / href.split("/")[-2]
            deadline = time.monotonic() + 30
            while data[:100_000] not in staged.read_bytes():
                assert time.monotonic() < deadline, "the first request does not write"
                time.sleep(0.05)
            put = http.put_form if form else http.put
            assert put(href, 0, data, len(data)).status == 200
            assert dead.recv(1000).split(b" ")[1:2] in ([b"409"], [b"502"], [])  # whatever nginx makes of it
        done = http.commit(href, data)
        assert done.json["sha256"] == sha256(data)
        assert http("GET", f"{done.json['artifact']}download/").body == data


def test_refusals_come_through(server: ServerProcess, proxy: int) -> None:
    with Http(proxy) as http:
        href = http.create(10)
        assert http.put(href, 0, b"x" * 5, 11).problem == (400, "bad-content-range")
    with Http(proxy) as http:  # nginx may close a connection whose body it did not need, without saying so
        assert http("GET", f"{API}uploads/none/").problem == (404, "not-found")
