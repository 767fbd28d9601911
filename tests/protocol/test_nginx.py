"""The site of nginx that the operations guide gives, before a real server: bodies go through it as they come."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import API, Http, ServerProcess, sha256

GUIDE = Path(__file__).parents[2] / "docs" / "operations.md"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = [
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
    pytest.mark.files_only("it looks into the staging file; tests/engines has a balancer before servers on objects"),
]


def site(server_port: int, port: int) -> str:
    """The guide's site on other ports, and without the certificate that a test has not."""
    found = re.search(r"<!-- nginx -->\n```nginx\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found is not None
    text = found[1].replace("127.0.0.1:24817", f"127.0.0.1:{server_port}").replace("443 ssl", f"127.0.0.1:{port}")
    return re.sub(r" *ssl_certificate.*\n", "", text)


@pytest.fixture
def proxy(server: ServerProcess, tmp_path: Path) -> Iterator[int]:
    """The port of nginx before the server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{site(server.port, port)}}}\n"
    )
    assert NGINX is not None
    with subprocess.Popen([NGINX, "-c", str(config), "-p", str(tmp_path)], stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                assert process.poll() is None, process.stderr and process.stderr.read()
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.communicate(timeout=30)


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


def test_refusals_come_through(server: ServerProcess, proxy: int) -> None:
    with Http(proxy) as http:
        href = http.create(10)
        assert http.put(href, 0, b"x" * 5, 11).problem == (400, "bad-content-range")
        assert http("GET", f"{API}uploads/none/").problem == (404, "not-found")
