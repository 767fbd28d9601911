"""A dialect is one folder and one line: what it did not write itself, it has all the same."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from partwise.core.digests import format_digest_field
from partwise.server.run import CannotServe, serve
from partwise.server.settings import Settings
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token

DATA = os.urandom(300_000)
FRIEND = "https://files.example.org"


class SimpleServer(ServerProcess):
    """A server that speaks it."""

    program = ("-m", "tests.protocol.simple.server")

    def __init__(self, data: Path, **settings: object) -> None:
        super().__init__(data, **{"dialects": "pulp,simple", **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with SimpleServer(tmp_path_factory.mktemp("data"), auth="token", quota=400_000, cors_origins=FRIEND) as server:
        yield server


def test_a_file_becomes_an_artifact(tmp_path: Path) -> None:
    with SimpleServer(tmp_path) as server, Http(server.port) as http:
        answer = http("PUT", "/simple/a.bin", DATA)
        assert (answer.status, answer.headers["Repr-Digest"]) == (201, format_digest_field(sha256(DATA)))
        [artifact] = http("GET", f"{API}artifacts/?sha256={sha256(DATA)}").json["results"]
        assert artifact["filename"] == "a.bin"
        assert http("GET", artifact["file"]).body == DATA
        assert http("GET", f"{API}uploads/").json["count"] == 0


def test_problems_are_told_in_its_way(tmp_path: Path) -> None:
    with SimpleServer(tmp_path) as server, Http(server.port) as http:
        wrong = format_digest_field(sha256(b"other"))
        for answer, status, name in (
            (http("PUT", "/simple/a", DATA, Content_Digest=wrong), 400, "chunk-digest-mismatch"),
            (http("PUT", "/simple/a", DATA, Content_Encoding="gzip"), 415, "unsupported-media-type"),
            (http("PUT", "/simple/a", iter([DATA])), 411, "length-required"),
            (http("GET", "/simple/a"), 405, "method-not-allowed"),
            (http("PUT", "/simple/a/b", DATA), 404, "no-such-path"),
            (http("PUT", "/simple/a", DATA, Origin="https://evil.example.org"), 403, "foreign-origin"),
        ):
            assert (answer.status, answer.headers["X-Simple"]) == (status, "no")
            assert answer.body.decode().startswith(f"{name}: ")
        assert http("GET", f"{API}artifacts/").json["count"] == 0
        assert http("GET", f"{API}nothing").problem == (404, "no-such-path")


def test_owners_limits_and_origins_are_those_of_all(guarded: ServerProcess) -> None:
    alice, bob = (f"Bearer {make_token(guarded, name)}" for name in ("alice", "bob"))
    with Http(guarded.port) as http:
        refused = http("PUT", "/simple/a", DATA)
        assert (refused.status, refused.headers["X-Simple"]) == (401, "no")
        assert http("PUT", "/simple/a", DATA, Authorization=alice).status == 201
        assert http("GET", f"{API}artifacts/", Authorization=alice).json["count"] == 1
        assert http("GET", f"{API}artifacts/", Authorization=bob).json["count"] == 0
        full = http("PUT", "/simple/b", DATA[:-1], Authorization=alice)
        assert (full.status, full.body.partition(b":")[0]) == (413, b"quota-exceeded")
        assert http("PUT", "/simple/b", DATA[:-1], Authorization=bob).status == 201
        wish = {"Access_Control_Request_Method": "PUT", "Access_Control_Request_Headers": "x-simple-wish"}
        assert http("OPTIONS", "/simple/a", Origin=FRIEND, **wish).status == 200
        answer = http("PUT", "/simple/a", DATA, Authorization=bob, Origin=FRIEND)
        assert "X-Simple" in answer.headers["Access-Control-Expose-Headers"]


def test_its_requests_are_counted(tmp_path: Path) -> None:
    with SimpleServer(tmp_path, max_upload_size=400_000) as server, Http(server.port) as http:
        before = http.figures()
        assert http("PUT", "/simple/a", DATA).status == 201
        assert http("PUT", "/simple/a", bytes(400_001)).status == 413
        after = http.figures()

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('partwise_requests_total{method="PUT",status="201"}') == 1
    assert grown("partwise_received_bytes_total") == len(DATA)
    assert grown('partwise_limit_hits_total{setting="max_upload_size"}') == 1


@pytest.mark.parametrize("point", ["chunk.written", "chunk.recorded", "publish.linked", "commit.recorded"])
def test_killed_at_a_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """What was not acknowledged may be there or not, never in part, and the room is given back."""
    monkeypatch.setenv("CRASH_POINT", point)
    monkeypatch.setenv("CRASH_PASS", "1")
    monkeypatch.setenv("CRASH_ONCE", str(tmp_path / "died"))
    with SimpleServer(tmp_path / "data", quota=2 * len(DATA)) as server:
        with Http(server.port) as connection, suppress(OSError, http.client.HTTPException):
            connection("PUT", "/simple/a", DATA)
        assert (tmp_path / "died").exists()
        server.kill()
        server.start()
        with Http(server.port) as connection:
            assert connection("PUT", "/simple/a", DATA).status == 201
            [artifact] = connection("GET", f"{API}artifacts/").json["results"]
            assert sha256(connection("GET", artifact["file"]).body) == sha256(DATA)


@pytest.mark.parametrize("on, off", [("pulp", "/tus/"), ("tus", f"{API}uploads/")])
def test_what_is_switched_off_is_not_there(tmp_path: Path, on: str, off: str) -> None:
    with ServerProcess(tmp_path, dialects=on) as server, Http(server.port) as http:
        assert http("POST", off, {"size": 1}, Upload_Length="1", Tus_Resumable="1.0.0").status == 404


def test_a_dialect_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match=r"Unknown dialect 'box9'.*pulp, tus"):
        serve(Settings(port=0, data=tmp_path, dialects="pulp,box9"))
