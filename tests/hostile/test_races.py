"""What many do at once: the same range, the same commit, the last bytes of a quota, the last descriptor."""

from __future__ import annotations

import os
import resource
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.engines import new_data_folder
from tests.support.folders import fast_folder
from tests.support.server import API, Answer, Http, ServerProcess, sha256
from tests.support.until import wait_until


def at_once(server: ServerProcess, calls: list[Callable[[Http], Answer]]) -> list[Answer]:
    """Make all calls at the same moment, each on a connection of its own."""
    gate = threading.Barrier(len(calls))

    def call(function: Callable[[Http], Answer]) -> Answer:
        with Http(server.port) as http:
            http("GET", "/livez")
            gate.wait(30)
            return function(http)

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two processes"])
def racing(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        data = new_data_folder(Path(folder) / "data")
        with ServerProcess(data, workers=request.param, quota="1MiB", max_open_uploads=1000) as server:
            yield server


def test_writers_of_one_range(racing: ServerProcess) -> None:
    variants = [bytes([letter]) * 50_000 for letter in b"abcd"]
    with Http(racing.port) as http:
        href = http.create(50_000)
        answers = at_once(racing, [lambda h, v=v: h.put(href, 0, v) for v in variants])  # type: ignore[misc]
        assert {answer.status for answer in answers} <= {200, 409}
        assert any(answer.status == 200 for answer in answers)
        stored = http("GET", f"{href}?digests=true").json["chunks"]
        assert [chunk["sha256"] for chunk in stored] <= [sha256(v) for v in variants] or len(stored) == 1
        winner = next(v for v in variants if sha256(v) == stored[0]["sha256"])
        assert http.commit(href, winner).status == 200
        http("DELETE", href)
        remove(http, sha256(winner))


def remove(http: Http, digest: str) -> None:
    for artifact in http("GET", f"{API}artifacts/?sha256={digest}").json["results"]:
        assert http("DELETE", artifact["pulp_href"]).status == 204


def test_commits_writes_and_deletions_of_one_upload(racing: ServerProcess) -> None:
    for number in range(8):
        data = os.urandom(20_000)
        with Http(racing.port) as http:
            href = http.create(len(data))
            assert http.put(href, 0, data).status == 200
        calls: list[Callable[[Http], Answer]] = [lambda h: h.commit(href, data)] * 3  # noqa: B023
        calls.append(lambda h: h.put(href, 0, os.urandom(20_000)))  # noqa: B023
        if number % 2:
            calls.append(lambda h: h("DELETE", href))  # noqa: B023
        answers = at_once(racing, calls)
        assert all(answer.status < 500 for answer in answers), [answer.body for answer in answers]
        with Http(racing.port) as http:
            found = http("GET", f"{API}artifacts/?sha256={sha256(data)}").json["results"]
            if any(answer.status == 200 for answer in answers[:3]):
                assert len(found) == 1
            for artifact in found:
                assert sha256(http("GET", f"{artifact['pulp_href']}download/").body) == sha256(data)
            http("DELETE", href)
            remove(http, sha256(data))


def test_creations_do_not_race_past_the_quota(racing: ServerProcess) -> None:
    answers = at_once(racing, [lambda h: h("POST", f"{API}uploads/", {"size": 300_000})] * 10)
    assert Counter(answer.status for answer in answers) == {201: 3, 413: 7}
    with Http(racing.port) as http:
        for answer in answers:
            if answer.status == 201:
                assert http("DELETE", answer.json["pulp_href"]).status == 204


def test_used_up_descriptors_are_no_end() -> None:
    """With too few for all who connect, the server refuses some, loses nothing, and serves again afterwards."""
    data = os.urandom(100_000)
    with (
        tempfile.TemporaryDirectory(dir=fast_folder()) as folder,
        ServerProcess(new_data_folder(Path(folder) / "data")) as server,
    ):
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (120, 120))
        with Http(server.port) as http:
            href = http.create(len(data))
            assert http.put(href, 0, data[:50_000]).status == 200
            crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(150)]
            # Whatever it can do on the connection that it has: an answer, and no wrong one.
            assert http("GET", href).json["received"] == 50_000
            refused = http.put(href, 50_000, data[50_000:])
            assert refused.status in {200, 500, 503, 507}
            for connection in crowd:
                connection.close()

        def is_served() -> bool:
            """A connection that comes before the server has closed those of the crowd is closed at once."""
            try:
                with Http(server.port) as http:
                    return http.put(href, 50_000, data[50_000:]).status == 200
            except ConnectionError:
                return False

        wait_until(is_served)
        with Http(server.port) as http:
            assert http.commit(href, data).status == 200
