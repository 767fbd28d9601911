"""The feed as Server-Sent Events, from a real server, by itself and behind nginx."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Engines
from tests.protocol.test_events import cursor, since
from tests.support.nginx import NGINX, free_port, nginx, plain_site
from tests.support.server import API, Http, ServerProcess
from tests.support.sse import Stream, stream
from tests.support.tokens import make_token
from tests.support.until import wait_until

FEED = f"{API}events/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Iterator[ServerProcess]:
    """A server of the module's own: the feed of a shared one may have late events of other tests."""
    with ServerProcess(tmp_path_factory.mktemp("events")) as process:
        yield process


def next_event(opened: Stream) -> dict[str, Any]:
    block = opened.event()
    assert block is not None, "the stream ended"
    assert block.fields["event"] == block.json["type"]
    assert block.fields["id"] == block.json["cursor"]
    return dict(block.json)


def test_events_come_as_they_happen_and_a_reader_goes_on(server: ServerProcess, http: Http) -> None:
    start = cursor(http)
    with stream(server.port, f"{FEED}?after={start}") as opened:
        assert opened.status == 200
        assert opened.headers["Content-Type"].startswith("text/event-stream")
        assert opened.headers["Cache-Control"] == "no-store"
        assert opened.headers["X-Accel-Buffering"] == "no"
        first = opened.block()
        assert first is not None
        assert 1000 <= int(first.fields["retry"]) <= 3000
        # Whoever loses the connection before the first event goes on from here, also with after=now.
        assert (first.fields["id"], first.comments) == (start, 1)
        uploads = [http.store(os.urandom(10))["pulp_href"] for _ in range(2)]
        seen = [next_event(opened), next_event(opened)]
    assert seen == since(http, start)
    assert [event["data"]["upload"] for event in seen] == [href.split("/")[-2] for href in uploads]
    # The URL stays that of the first request: the field counts.
    again = {"Last_Event_ID": str(seen[0]["cursor"])}
    with stream(server.port, f"{FEED}?after={start}", **again) as opened:
        assert next_event(opened) == seen[1]
    with stream(server.port, f"{FEED}?after={start}&types=upload.removed") as opened:
        assert http("DELETE", uploads[0]).status == 204
        assert next_event(opened)["type"] == "upload.removed"


def test_silence_is_broken_by_comments(server: ServerProcess, http: Http) -> None:
    with stream(server.port, f"{FEED}?after=now&wait=1&types=artifact.released") as opened:
        first = opened.block()
        http.store(os.urandom(10))  # of another type
        second = opened.block()
        assert first is not None
        assert second is not None
        assert second.comments == 1
        # Who has no events for a month is not behind the horizon.
        assert int(second.fields["id"]) > int(first.fields["id"])


def test_curl_reads_it(server: ServerProcess, http: Http) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    command = [curl, "-sN", "-H", "Accept: text/event-stream", f"{server.url}{FEED}?after={cursor(http)}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline().startswith("retry: ")
        http.store(b"0123456789")
        try:
            assert "event: upload.completed\n" in iter(reader.stdout.readline, "")
        finally:
            reader.terminate()


def test_behind_the_horizon_it_says_so_and_begins_anew(server: ServerProcess, http: Http) -> None:
    http.store(os.urandom(10))
    with stream(server.port, FEED, Last_Event_ID="999999999") as opened:
        assert opened.status == 200, "any other status would end an EventSource for good"
        block = opened.event()
        assert block is not None
        assert block.fields["event"] == "cursor-expired"
        assert "id" not in block.fields
        assert block.json["status"] == 410
        assert next_event(opened) == http("GET", f"{FEED}?limit=1").json["events"][0]


@pytest.mark.parametrize("value", ["abc", "-1", "1" * 5000, "1 2", "%31", "\xb2"])
def test_bad_cursors(server: ServerProcess, value: str) -> None:
    with stream(server.port, FEED, Last_Event_ID=value) as opened:
        assert opened.status == 400


def test_a_head_has_no_stream(http: Http) -> None:
    answer = http("HEAD", FEED, Accept="text/event-stream")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")


@pytest.mark.parametrize("accept", ["text/event-stream;q=0", "text/event-stream;q=0.5, application/json", "*/*"])
def test_who_prefers_a_page_gets_one(http: Http, accept: str) -> None:
    answer = http("GET", f"{FEED}?limit=1", Accept=accept)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")


@pytest.mark.parametrize("drain_seconds", [0, 600])
def test_streams_end_before_the_server(tmp_path: Path, drain_seconds: int) -> None:
    with (
        ServerProcess(tmp_path / "data", drain_seconds=drain_seconds) as server,
        stream(server.port, f"{FEED}?wait=55") as opened,
        Http(server.port) as http,
    ):
        assert opened.block() is not None
        # With a time to drain, it is the first signal that ends streams, and the second one that ends the server.
        os.kill(server.pid, signal.SIGTERM)
        assert opened.event() is None
        if drain_seconds:
            assert http("GET", f"{API}status/").status == 200
            with stream(server.port, f"{FEED}?wait=55") as late:
                assert late.event() is None
        assert server.stop() == 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with tokens and few streams."""
    data = tmp_path_factory.mktemp("shared")
    with ServerProcess(data, auth="token", max_event_streams=2) as process:
        yield process


def test_own_events_alone_and_not_too_many_streams(shared: ServerProcess) -> None:
    ann, bob = ({"Authorization": f"Bearer {make_token(shared, name)}"} for name in ("ann", "bob"))
    with Http(shared.port) as http, stream(shared.port, FEED, **ann) as one:
        for user in (bob, ann):
            href = http("POST", f"{API}uploads/", {"size": 0}, **user).json["pulp_href"]
            assert http("DELETE", href, **user).status == 204
        assert next_event(one)["data"]["user"] == "ann"
        with stream(shared.port, FEED, **ann) as two, stream(shared.port, FEED, **ann) as three:
            assert (two.status, three.status) == (200, 429)
            assert three.headers["Retry-After"]
            assert b"too-many-streams" in three.response.read()
            with stream(shared.port, FEED, **bob) as other:
                assert other.status == 200

        def admitted() -> bool:
            with stream(shared.port, FEED, **ann) as next_one:
                return next_one.status == 200

        wait_until(admitted, "a stream that its client left counts no more")
        assert http("GET", FEED, Accept="text/event-stream").status == 401
        ticket = http("POST", f"{API}uploads/", {"size": 1, "ticket": True}, **ann).json["ticket"]
        with stream(shared.port, FEED, Authorization=f"Bearer {ticket}") as opened:
            assert opened.status == 403


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_nginx_passes_events_on_at_once(server: ServerProcess, http: Http, tmp_path: Path) -> None:
    """Also one that buffers answers, as it does unless it is told otherwise."""
    port = free_port()
    with (
        nginx(tmp_path, port, plain_site(server.port, f"listen 127.0.0.1:{port}")),
        stream(port, f"{FEED}?after={cursor(http)}") as opened,
    ):
        assert opened.block() is not None
        http.store(os.urandom(10))
        assert next_event(opened)["type"] == "upload.completed"
