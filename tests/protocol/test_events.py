"""The feed of events over HTTP, from a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Engines
from tests.support.server import API, Answer, Http, ServerProcess, form, sha256
from tests.support.tokens import make_token
from tests.support.tus import Tus
from tests.support.until import wait_until

FEED = f"{API}events/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Iterator[ServerProcess]:
    """A server of the module's own: the feed of a shared one may have late events of other tests."""
    with ServerProcess(tmp_path_factory.mktemp("events")) as process:
        yield process


def cursor(http: Http) -> str:
    """Where the feed ends now."""
    answer = http("GET", f"{FEED}?after=now")
    assert (answer.status, answer.json["events"]) == (200, [])
    return str(answer.json["cursor"])


def since(http: Http, start: str) -> list[dict[str, Any]]:
    answer = http("GET", f"{FEED}?after={start}")
    assert answer.status == 200, answer.body
    return list(answer.json["events"])


def test_an_upload_is_told_when_its_file_can_be_read(http: Http) -> None:
    start, data = cursor(http), os.urandom(3000)
    upload = http.store(data, filename="a.bin", media_type="text/plain")
    [event] = since(http, start)
    assert event["type"] == "upload.completed"
    assert event["data"] == {
        "upload": upload["pulp_href"].split("/")[-2],
        "artifact": upload["artifact"].split("/")[-2],
        "user": "local",
        "size": 3000,
        "sha256": sha256(data),
        "filename": "a.bin",
        "media_type": "text/plain",
        "state": "completed",
        "metadata": {},
    }
    assert event["timestamp"] == upload["completed"]
    assert http("GET", f"{API}artifacts/{event['data']['artifact']}/download/").body == data
    assert since(http, event["cursor"]) == []
    # The same commit again, and the same content again.
    assert http.commit(upload["pulp_href"], data).status == 200
    again = http("POST", f"{API}uploads/", {"size": 3000, "sha256": sha256(data)}).json
    assert [found["data"]["upload"] for found in since(http, event["cursor"])] == [again["pulp_href"].split("/")[-2]]


def test_failures_and_removals_are_told(http: Http) -> None:
    start = cursor(http)
    href = http.create(3)
    assert http.put(href, 0, b"abc").status == 200
    assert http.commit(href, b"other").status == 400
    assert http("DELETE", href).status == 204
    upload = http.store(os.urandom(10))
    assert http("DELETE", upload["artifact"]).status == 204
    types = ["upload.failed", "upload.removed", "upload.completed", "artifact.deleted"]
    found = since(http, start)
    assert [event["type"] for event in found] == types
    assert found[0]["data"]["found_sha256"] == sha256(b"abc")
    assert len({event["id"] for event in found}) == 4
    chosen = http("GET", f"{FEED}?after={start}&types=upload.failed,artifact.deleted").json
    assert [event["type"] for event in chosen["events"]] == [types[0], types[3]]
    page = http("GET", f"{FEED}?after={start}&limit=3").json
    assert (len(page["events"]), page["more"]) == (3, True)
    assert [event["type"] for event in since(http, page["cursor"])] == types[3:]


def test_a_file_in_one_request_is_told_as_an_upload(http: Http) -> None:
    start, data = cursor(http), os.urandom(50)
    body, kind = form(data)
    made = http("POST", f"{API}artifacts/", body, Content_Type=kind)
    again = http("POST", f"{API}artifacts/", body, Content_Type=kind)
    assert (made.status, again.status, again.json) == (201, 201, made.json)
    body, kind = form(data, sha256="0" * 64)
    assert http("POST", f"{API}artifacts/", body, Content_Type=kind).status == 400
    told = since(http, start)
    assert [event["type"] for event in told] == ["upload.completed"] * 2
    for event in told:
        assert event["data"]["sha256"] == sha256(data)
        assert f"{API}artifacts/{event['data']['artifact']}/" == made.json["pulp_href"]
        # The upload was there for the request alone.
        assert http("GET", f"{API}uploads/{event['data']['upload']}/").problem == (404, "not-found")


def test_parts_are_not_told_the_whole_is(http: Http) -> None:
    start, tus = cursor(http), Tus(http)
    parts = [tus.create(4, Upload_Concat="partial") for _ in range(3)]
    for part in parts[:2]:
        assert tus.patch(part, 0, b"abcd").status == 204
    assert tus("DELETE", parts[2]).status == 204
    final = tus("POST", "/tus/", Upload_Concat=f"final;{parts[0]} {parts[1]}")
    assert final.status == 201, final.body
    found = since(http, start)
    assert [(event["type"], event["data"]["size"]) for event in found] == [("upload.completed", 8)]


def test_a_wait_ends_with_the_next_event(server: ServerProcess, http: Http) -> None:
    start = cursor(http)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_wait, server.port, f"{FEED}?after={start}&wait=50")
        wait_until(lambda: _in_flight(http) >= 2, "the request waits")
        assert not waiting.done()
        upload = http.store(os.urandom(10))
        [event] = waiting.result(30).json["events"]
    assert event["data"]["upload"] in upload["pulp_href"]


def test_a_wait_without_an_event_ends_by_itself(http: Http) -> None:
    start = cursor(http)
    answer = http("GET", f"{FEED}?after={start}&wait=1")
    assert (answer.status, answer.json) == (200, {"events": [], "cursor": start, "more": False})


def _wait(port: int, path: str, **headers: str) -> Answer:
    with Http(port) as connection:
        return connection("GET", path, **headers)


def _in_flight(http: Http) -> float:
    return http.figures()["partwise_requests_in_flight"]


def test_a_stop_does_not_wait_for_those_who_wait(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, Http(server.port) as http, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_wait, server.port, f"{FEED}?wait=50")
        wait_until(lambda: _in_flight(http) >= 2, "the request waits")
        assert server.stop() == 0
        assert waiting.result(60).json["events"] == []
        server.start()


@pytest.mark.parametrize(
    "query, problem",
    [
        ("after=abc", (400, "bad-request")),
        ("after=-1", (400, "bad-request")),
        ("wait=x", (400, "bad-request")),
        ("limit=x", (400, "bad-request")),
        ("types=upload.begun", (400, "bad-request")),
        ("after=999999999", (410, "cursor-expired")),
    ],
)
def test_bad_queries(http: Http, query: str, problem: tuple[int, str]) -> None:
    assert http("GET", f"{FEED}?{query}").problem == problem


def test_events_that_are_too_old_are_gone(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", event_days=1e-6, idle_expiry_days=1e-5) as server, Http(server.port) as http:
        start = cursor(http)
        for _ in range(3):
            http.store(os.urandom(10))
        wait_until(lambda: http("GET", f"{FEED}?after={start}").status == 410, "the events are pruned")
        assert http("GET", f"{FEED}?after={start}").problem == (410, "cursor-expired")
        # The newest stays.
        last = http("GET", FEED).json
        assert len(last["events"]) >= 1
        assert since(http, last["cursor"]) == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two processes with tokens."""
    with ServerProcess(tmp_path_factory.mktemp("shared"), workers=2, auth="token") as process:
        yield process


def test_each_sees_the_own_and_admins_all(shared: ServerProcess) -> None:
    bearers = {name: f"Bearer {make_token(shared, name)}" for name in ("ann", "bob")}
    bearers["root"] = f"Bearer {make_token(shared, 'root', '--admin')}"
    with Http(shared.port) as http:
        start = http("GET", f"{FEED}?after=now", Authorization=bearers["root"]).json["cursor"]
        for name in ("ann", "bob"):
            mine = {"Authorization": bearers[name]}
            answer = http("POST", f"{API}uploads/", {"size": 0}, **mine)
            assert http("PUT", f"{answer.json['pulp_href']}commit", {"sha256": sha256(b"")}, **mine).status == 200
        seen = {
            name: [
                event["data"]["user"]
                for event in http("GET", f"{FEED}?after={start}", Authorization=bearer).json["events"]
            ]
            for name, bearer in bearers.items()
        }
        assert http("GET", FEED).status == 401
    assert seen == {"ann": ["ann"], "bob": ["bob"], "root": ["ann", "bob"]}


def test_a_wait_hears_of_other_processes(shared: ServerProcess) -> None:
    """Several wait, on both workers, most likely; each is told of what any worker commits."""
    bearer = f"Bearer {make_token(shared, 'carl')}"
    with Http(shared.port) as http, ThreadPoolExecutor(6) as pool:
        start = http("GET", f"{FEED}?after=now", Authorization=bearer).json["cursor"]
        path = f"{FEED}?after={start}&wait=50"
        waiting = [pool.submit(_wait, shared.port, path, Authorization=bearer) for _ in range(6)]
        href = http("POST", f"{API}uploads/", {"size": 0}, Authorization=bearer).json["pulp_href"]
        assert http("DELETE", href, Authorization=bearer).status == 204
        for one in waiting:
            [event] = one.result(30).json["events"]
            assert (event["type"], event["data"]["reason"]) == ("upload.removed", "deleted")
