"""The examples in real servers: uploads below /files, under the host's own users and rules."""

from __future__ import annotations

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from partwise.client import Client
from partwise.embed import BoundedProtocol, GunicornWorker
from tests.embed.conftest import EXAMPLES, django_session, hosted
from tests.support.server import Http, sha256
from tests.support.sse import Block, stream
from tests.support.until import wait_until

FILES = "/files/pulp/api/v3/"
#: So large that the socket is handed over, where the server can.
LARGE = 3 << 20


def cookie(http: Http, name: str) -> str:
    answer = http("POST", f"/login/{name}")
    assert answer.status == 200, answer.body
    return str(answer.headers["Set-Cookie"].partition(";")[0])


@pytest.mark.parametrize("server", ["bypass", "gunicorn", "uvicorn", "hypercorn", "granian"])
def test_fastapi(tmp_path: Path, server: str) -> None:
    data = os.urandom(LARGE)
    with hosted(EXAMPLES / "fastapi", "app", tmp_path / "data", server) as port, Http(port) as http:
        assert http("GET", f"{FILES}uploads/").status == 401
        ann, bob = ({"Cookie": cookie(http, name)} for name in ("ann", "bob"))
        created = http("POST", f"{FILES}uploads/", {"size": LARGE, "filename": "a.iso"}, **ann)
        assert created.status == 201, created.body
        href = created.json["pulp_href"]
        assert href == created.headers["Location"]
        assert href.startswith(FILES)
        assert http("GET", href, **bob).status == 404
        for offset in (0, 1 << 20):
            piece = data[offset : 1 << 20] if offset == 0 else data[offset:]
            assert http.put(href, offset, piece, LARGE, **ann).status == 200
        done = http("PUT", f"{href}commit", {"sha256": sha256(data)}, **ann)
        assert (done.status, done.json["sha256"]) == (200, sha256(data))
        assert http("GET", f"{done.json['artifact']}download/", **ann).body == data
        wait_until(lambda: http("GET", "/documents", **ann).json, "the host heard of it")
        [document] = http("GET", "/documents", **ann).json
        assert document == {"artifact": done.json["artifact"].split("/")[-2], "name": "a.iso"}
        assert http("GET", "/documents", **bob).json == []

        denied = http("POST", f"{FILES}uploads/", {"size": 1, "filename": "a.exe"}, **ann)
        assert denied.problem == (403, "denied")
        assert denied.json["detail"] == "Programs are not taken here."
        assert denied.json["type"] == "/files/docs/errors#denied"
        assert http("GET", denied.json["type"].partition("#")[0]).status == 200
        too_large = http("POST", f"{FILES}uploads/", {"size": (1 << 30) + 1}, **ann)
        assert too_large.problem == (413, "upload-too-large")
        # The host's cookie is sent along with other sites' requests too.
        foreign = http("POST", f"{FILES}uploads/", {"size": 1}, Origin="https://elsewhere.example", **ann)
        assert foreign.problem == (403, "foreign-origin")
        own = http("POST", f"{FILES}uploads/", {"size": 1}, Origin=f"http://127.0.0.1:{port}", **ann)
        assert own.status == 201


@pytest.mark.parametrize("server", ["gunicorn", "hypercorn"])
def test_starlette_with_a_middleware_that_reads_bodies(tmp_path: Path, server: str) -> None:
    data, ann = os.urandom(LARGE), {"X_API_Key": "key-of-ann"}
    with hosted(EXAMPLES / "starlette", "app", tmp_path / "data", server) as port, Http(port) as http:
        assert http("GET", "/files/").status == 200  # the page
        for headers in ({}, {"X_Audit": "yes"}):
            created = http("POST", f"{FILES}uploads/", {"size": LARGE}, **ann)
            href = created.json["pulp_href"]
            answer = http.put(href, 0, data, LARGE, **ann, **headers)
            assert answer.status == 200, answer.body
            assert http("PUT", f"{href}commit", {"sha256": sha256(data)}, **ann).status == 200
            assert http("DELETE", href, **ann).status == 204
        wait_until(lambda: len(http("GET", "/events").json) == 4, "the host heard of all")


@pytest.mark.parametrize("server", ["gunicorn-workers", "uvicorn-workers"])
def test_several_workers_of_the_hosts_server(tmp_path: Path, server: str) -> None:
    """All of them prepare an empty folder at once, and go on with each other's uploads."""
    data, ann = os.urandom(LARGE), {"X_API_Key": "key-of-ann"}
    with hosted(EXAMPLES / "starlette", "app", tmp_path / "data", server) as port:
        with Http(port) as http:
            href = http("POST", f"{FILES}uploads/", {"size": LARGE}, **ann).json["pulp_href"]
        for offset in range(0, LARGE, LARGE // 4):
            with Http(port) as http:
                piece = data[offset : offset + LARGE // 4]
                assert http.put(href, offset, piece, LARGE, **ann).status == 200
        with Http(port) as http:
            assert http("PUT", f"{href}commit", {"sha256": sha256(data)}, **ann).status == 200


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "bypass"])
def test_a_stop_does_not_wait_for_those_who_wait_for_events(tmp_path: Path, server: str) -> None:
    events, begun = f"{FILES}events/?after=now", Event()

    def listen(port: int) -> Block | None:
        with stream(port, events, X_API_Key="key-of-ann") as opened:
            begun.set()
            return opened.event()

    with ThreadPoolExecutor() as pool:
        with hosted(EXAMPLES / "starlette", "app", tmp_path / "data", server) as port:
            poll = HTTPConnection("127.0.0.1", port, timeout=60)
            poll.request("GET", f"{events}&wait=25", headers={"X-API-Key": "key-of-ann"})  # before the stream's request
            heard = pool.submit(listen, port)
            assert begun.wait(20)
            stopped_at = time.monotonic()
        with closing(poll):
            assert poll.getresponse().status == 200
        assert heard.result() is None, "the stream ended without an event"
        assert time.monotonic() - stopped_at < 20, "the stop waited for the end of the poll"


def test_gunicorn_has_the_bypass() -> None:
    assert GunicornWorker.CONFIG_KWARGS["http"] is BoundedProtocol


def test_a_ticket_from_the_host(tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    with hosted(EXAMPLES / "starlette", "app", tmp_path / "data") as port, Http(port) as http:
        made = http("POST", "/uploads", {"size": LARGE, "name": "a.bin"}, X_API_Key="key-of-ann").json
        href, bearer = f"{FILES}uploads/{made['upload']}/", {"Authorization": f"Bearer {made['ticket']}"}
        assert http.put(href, 0, data, LARGE, **bearer).status == 200
        assert http("PUT", f"{href}commit", {"sha256": sha256(data)}, **bearer).status == 200
        assert http("GET", f"{FILES}uploads/", **bearer).problem == (403, "ticket-only")
        assert http("GET", href, Authorization="Bearer partwise_ticket_" + "x" * 43).status == 401
        wait_until(lambda: http("GET", "/events").json, "the host heard of it")
        [event] = http("GET", "/events").json
        assert (event["user"], event["metadata"], event["filename"]) == ("ann", {"from": "host"}, "a.bin")


@pytest.mark.parametrize("server", ["bypass", "granian"])
def test_django(tmp_path: Path, server: str) -> None:
    data = os.urandom(LARGE)
    folder, place = EXAMPLES / "django", tmp_path / "data"
    place.mkdir()
    session = django_session(place)
    with hosted(folder, "project", place, server) as port, Http(port) as http:
        ann = {"Cookie": f"sessionid={session}"}
        assert http("GET", "/documents").status == 401
        made = http("POST", "/documents", {"size": LARGE, "name": "a.bin"}, **ann)
        assert made.status == 201, made.body
        assert [row["artifact"] for row in http("GET", "/documents", **ann).json["documents"]] == [""]
        href, bearer = f"{FILES}uploads/{made.json['upload']}/", {"Authorization": f"Bearer {made.json['ticket']}"}
        assert http.put(href, 0, data, LARGE, **bearer).status == 200
        assert http("PUT", f"{href}commit", {"sha256": sha256(data)}, **bearer).status == 200

        def arrived() -> Any:
            return http("GET", "/documents", **ann).json["documents"][0]["artifact"]

        wait_until(arrived, "the row is filled in")
        [row] = http("GET", "/documents", **ann).json["documents"]
        assert (row["name"], row["sha256"]) == ("a.bin", sha256(data))
        # Django's own session opens what belongs to its user.
        download = f"{FILES}artifacts/{row['artifact']}/download/"
        assert http("GET", download, **ann).body == data
        assert http("GET", download).status == 401
        page = http("GET", "/admin/documents/document/", **ann).body.decode()
        assert re.search(r"a\.bin", page)
        assert row["sha256"] in page


def test_our_client_works_below_a_path(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(os.urandom(LARGE))
    with hosted(EXAMPLES / "starlette", "app", tmp_path / "data") as port, Http(port) as http:
        made = http("POST", "/uploads", {"size": LARGE, "name": "a.bin"}, X_API_Key="key-of-ann").json
        with Client(f"http://127.0.0.1:{port}{FILES}", token=made["ticket"]) as client:
            assert client.upload_info(made["upload"]).size == LARGE
