"""Three servers behind a load balancer, on one PostgreSQL and one object store; one is killed again and again."""

from __future__ import annotations

import http.client
import itertools
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.engines.balancer import balancer, find_nginx
from tests.support.server import Answer, Http, ServerProcess, sha256

pytestmark = [
    pytest.mark.engines,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed"),
]

CHUNK = 200_003
CHUNKS = 24
KILLS = 5


class Cluster:
    """The servers, and the one address that clients know."""

    def __init__(self, servers: list[ServerProcess], port: int) -> None:
        self.servers, self.port = servers, port


@pytest.fixture
def cluster(tmp_path: Path, postgres_url: str, s3_url: str) -> Iterator[Cluster]:
    with ExitStack() as stack:
        servers = [ServerProcess(tmp_path, catalog=postgres_url, storage=s3_url) for _ in range(3)]
        for server in servers:
            stack.enter_context(server)
        port = stack.enter_context(balancer(tmp_path, [server.port for server in servers]))
        yield Cluster(servers, port)


def insist(cluster: Cluster, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """The first answer that is no failure of a server, or of the balancer that found none."""
    deadline = time.monotonic() + 120
    while True:
        try:
            with Http(cluster.port) as connection:
                answer = connection(method, path, body, **headers)
            if answer.status < 500:
                return answer
        except (OSError, http.client.HTTPException):
            pass
        assert time.monotonic() < deadline, "no server answered"
        time.sleep(0.05)


def test_nothing_acknowledged_is_lost_when_servers_are_killed(cluster: Cluster) -> None:
    finished, kills = threading.Event(), itertools.count()
    killed = 0

    def killer() -> None:
        nonlocal killed
        for number in kills:
            if finished.is_set():
                return
            server = cluster.servers[number % 3]
            time.sleep(random.uniform(0.1, 0.6))
            server.kill()
            killed += 1
            server.start()

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        files = 0
        while killed < KILLS or not files:
            upload_and_check(cluster, random.Random(files).randbytes(CHUNK * CHUNKS - 7))
            files += 1
    finally:
        finished.set()
        thread.join()


def upload_and_check(cluster: Cluster, data: bytes) -> None:
    created = insist(cluster, "POST", "/pulp/api/v3/uploads/", {"size": len(data)})
    assert created.status == 201, created.body
    href = created.json["pulp_href"]
    acknowledged: set[int] = set()

    def put(offset: int) -> None:
        content = data[offset : offset + CHUNK]
        fields = {
            "Content_Range": f"bytes {offset}-{offset + len(content) - 1}/{len(data)}",
            "Content_Type": "application/octet-stream",
        }
        answer = insist(cluster, "PUT", href, content, **fields)
        assert answer.status == 200, answer.body
        acknowledged.add(offset)

    offsets = list(range(0, len(data), CHUNK))
    random.Random(len(data)).shuffle(offsets)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, offsets))
    shown = insist(cluster, "GET", href).json
    assert {chunk["offset"] for chunk in shown["chunks"]} == acknowledged
    answer = insist(cluster, "PUT", f"{href}commit", {"sha256": sha256(data)})
    while answer.status == 202:
        answer = insist(cluster, "PUT", f"{href}commit", {"sha256": sha256(data)})
    assert answer.status == 200, answer.body
    # A download that a killed server cut is begun again; what came must be right.
    while True:
        downloaded = insist(cluster, "GET", f"{answer.json['artifact']}download/")
        if downloaded.body == data:
            return
        assert data.startswith(downloaded.body)


def test_a_commit_goes_on_when_its_server_is_killed(cluster: Cluster) -> None:
    data = random.Random(5).randbytes(CHUNK * 4)
    one, two, three = cluster.servers
    with Http(one.port) as http:
        href = http.create(len(data))
        for offset in range(0, len(data), CHUNK):
            http.put(href, offset, data[offset : offset + CHUNK], len(data))
        task = http("POST", f"{href}commit/", {"sha256": sha256(data)})
        assert task.status == 202
    one.kill()
    try:
        deadline = time.monotonic() + 60
        with Http(two.port) as http:
            while (state := http("GET", task.json["task"]).json["state"]) != "completed":
                assert state in ("waiting", "running")
                assert time.monotonic() < deadline
                time.sleep(0.02)
        with Http(three.port) as http:
            shown = http("GET", href).json
            assert http("GET", f"{shown['artifact']}download/").body == data
    finally:
        one.start()


def test_of_two_writers_on_different_servers_the_one_recorded_last_wins(cluster: Cluster) -> None:
    """One has sent half of a range to one server when another sends all of it to the next; then the first goes on."""
    data, other = random.Random(7).randbytes(CHUNK), random.Random(8).randbytes(CHUNK)
    one, two, three = cluster.servers
    with Http(one.port) as http:
        href = http.create(2 * CHUNK)
    slow = HTTPConnection("127.0.0.1", one.port, timeout=60)
    slow.putrequest("PUT", href)
    slow.putheader("Content-Range", f"bytes 0-{CHUNK - 1}/{2 * CHUNK}")
    slow.putheader("Content-Type", "application/octet-stream")
    slow.putheader("Content-Length", str(CHUNK))
    slow.endheaders(data[: CHUNK // 2])
    with Http(two.port) as http:
        assert http.put(href, 0, other, 2 * CHUNK).status == 200
    slow.send(data[CHUNK // 2 :])
    assert Answer(slow.getresponse()).status == 200
    slow.close()
    with Http(three.port) as http:
        assert http.put(href, CHUNK, other, 2 * CHUNK).status == 200
        answer = http.commit(href, data + other)
        assert answer.status == 200, answer.body
        assert http("GET", f"{answer.json['artifact']}download/").body == data + other
