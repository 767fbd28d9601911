"""What operators see and do: logs, figures, a stop with requests in flight."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from partwise.server.limits import LIMITS
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token

pytestmark = pytest.mark.more_engines


class Logged:
    """A server whose standard error is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    def of(self, request: str) -> dict[str, Any]:
        """The line of a request, which may come a moment after its answer."""
        deadline = time.monotonic() + 10
        while True:
            found = [line for line in self.lines() if line.get("request") == request and line["event"] == "request"]
            if found:
                return found[0]
            assert time.monotonic() < deadline, self.path.read_text()
            time.sleep(0.02)


def start(tmp_path: Path, **settings: Any) -> tuple[ServerProcess, Logged]:
    server = ServerProcess(tmp_path / "data", log=tmp_path / "log", **settings)
    return server, Logged(tmp_path / "log")


@pytest.mark.usefixtures("engines")
def test_logs_tell_of_each_request_and_of_no_secret(tmp_path: Path) -> None:
    server, log = start(tmp_path, auth="token", log_level="debug")
    data = os.urandom(200_000)
    with server:
        token = make_token(server, "alice")
        basic = b64encode(f"x:{token}".encode()).decode()
        with Http(server.port) as http:
            answer = http("POST", f"{API}uploads/", {"size": len(data)}, Authorization=f"Bearer {token}")
            href = answer.json["pulp_href"]
            made = answer.headers["X-Request-ID"]
            assert answer.headers["Correlation-ID"] == made
            chunk = http(
                "PUT",
                href,
                data,
                Content_Range=f"bytes 0-{len(data) - 1}/*",
                Authorization=f"Basic {basic}",
                Correlation_ID="my-request.1",
            )
            assert chunk.headers["X-Request-ID"] == "my-request.1"
            refused = http("GET", f"{href}?token={token}", Authorization="Bearer wrong-and-long-enough-to-be-one")
            forged = http("GET", f"{API}uploads/%0a%1b[31m/", Authorization=f"Bearer {token}", X_Request_ID='a"b c')
        line = log.of("my-request.1")
        assert line["method"] == "PUT"
        assert line["path"] == href
        assert (line["status"], line["received"], line["user"], line["client"]) == (200, 200_000, "alice", "127.0.0.1")
        assert 0 < line["seconds"] < 30
        assert line["sent"] == len(chunk.body)
        assert log.of(made)["status"] == 201
        line = log.of(refused.headers["X-Request-ID"])
        assert (line["status"], line["problem"], line.get("user")) == (401, "not-signed-in", None)
        line = log.of(forged.headers["X-Request-ID"])
        assert re.fullmatch("[0-9a-f]{32}", line["request"])
        assert line["path"] == f"{API}uploads/%0a%1b[31m/"
    text = log.path.read_text()
    for secret in (token, basic, "wrong-and-long-enough", "token="):
        assert secret not in text


@pytest.mark.usefixtures("engines")
@pytest.mark.parametrize("workers", [1, 2])
def test_figures_of_all_workers(tmp_path: Path, workers: int) -> None:
    data = os.urandom(300_000)
    with ServerProcess(tmp_path, workers=workers) as server:
        for _ in range(4):  # a connection each, so that every worker gets some
            with Http(server.port) as http:
                href = http.create(len(data))
                assert http.put(href, 0, data, len(data)).status == 200
                assert http("PUT", href, b"xx", Content_Range="bytes 5-6/*").problem == (409, "chunk-overlap")
                assert http.commit(href, data).status == 200
        with Http(server.port) as http:
            http.create(77)
            seen = http.figures()
    assert seen['partwise_requests_total{method="PUT",status="200"}'] == 8
    assert seen['partwise_problems_total{type="chunk-overlap"}'] == 4
    assert seen["partwise_received_bytes_total"] >= 4 * len(data)
    assert seen["partwise_chunk_seconds_count"] == 4
    assert seen["partwise_commit_seconds_count"] == 4
    assert seen["partwise_commit_seconds_sum"] < 60
    assert seen["partwise_requests_in_flight"] == 1
    assert seen["partwise_connections"] >= 1
    assert seen['partwise_limit{setting="max_requests"}'] == 4096 * workers
    assert seen['partwise_limit{setting="max_connections"}'] <= 4096 * workers
    assert seen['partwise_limit{setting="quota"}'] == math.inf
    assert {name for name in seen if name.startswith("partwise_limit_hits_total")} == {
        f'partwise_limit_hits_total{{setting="{setting}"}}' for setting in LIMITS
    }
    assert seen['partwise_uploads{state="completed"}'] == 4
    assert seen['partwise_uploads{state="open"}'] == 1
    assert (seen["partwise_artifacts"], seen["partwise_artifact_bytes"]) == (1, len(data))
    assert seen["partwise_unhashed_bytes"] == 0
    assert seen['partwise_storage_bytes{kind="total"}'] >= seen['partwise_storage_bytes{kind="available"}'] > 0


@pytest.mark.usefixtures("engines")
def test_figures_are_for_admins(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, auth="token") as server, Http(server.port) as http:
        token, admin = make_token(server, "alice"), make_token(server, "root", "--admin")
        assert http("GET", "/metrics").status == 401
        assert http("GET", "/metrics", Authorization=f"Bearer {token}").problem == (403, "admins-only")
        assert http.figures(Authorization=f"Bearer {admin}")


@pytest.mark.usefixtures("engines")
def test_a_stop_drops_what_does_not_end_in_time(tmp_path: Path) -> None:
    data = os.urandom(1000)
    server = ServerProcess(tmp_path, shutdown_seconds=1)
    server.start()
    with Http(server.port) as http:
        href = http.create(len(data))
        assert http.put(href, 0, data[:500], len(data)).status == 200
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\nExpect: 100-continue\r\n"
        connection.sendall(f"{head}Content-Range: bytes 500-999/1000\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(data[500:700])
        began = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        server.stop()
        assert time.monotonic() - began < 20
    with server, Http(server.port) as http:
        assert http("GET", href).json["missing"] == [{"offset": 500, "size": 500}]
        assert http.put(href, 500, data[500:], len(data)).status == 200
        assert http.commit(href, data).json["sha256"] == sha256(data)
