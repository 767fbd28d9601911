"""Resumable uploads on a server that is killed, has users and limits, or is below a path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from partwise.engine.receiver import SEGMENT
from tests.protocol.resumable.client import PARTIAL, ROOT, Client
from tests.protocol.resumable.sentences import must
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token
from tests.support.tus import repr_digest
from tests.support.until import wait_until

DATA = os.urandom(300_000)


class CrashServer(ServerProcess):
    """One that kills itself at a point."""

    program = ("-m", "tests.crash.server")


@pytest.mark.parametrize("point", ["chunk.recorded", "commit.begun", "publish.linked", "commit.recorded"])
def test_killed_before_the_final_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """The request said that its content is the end: the server completes the upload by itself once it runs again."""
    monkeypatch.setenv("CRASH_POINT", point)
    monkeypatch.setenv("CRASH_PASS", "1")
    monkeypatch.setenv("CRASH_ONCE", str(tmp_path / "died"))
    with CrashServer(tmp_path / "data", dialects="pulp,resumable") as server:
        with Client(server.port) as client:
            path = client.created(b"", Upload_Length=str(len(DATA)), Repr_Digest=repr_digest(DATA))
            with suppress(AssertionError, OSError):
                client.append(path, 0, DATA, complete=True)
        assert (tmp_path / "died").exists()
        server.kill()
        server.start()
        with Client(server.port) as client, Http(server.port) as http:
            wait_until(lambda: client.state(path) == (len(DATA), True), "a completion")
            [artifact] = http("GET", f"{API}artifacts/").json["results"]
            assert http("GET", artifact["file"]).body == DATA
            assert client.append(path, len(DATA), b"", complete=True).json["sha256"] == sha256(DATA)


@must("offset-kept", "usable")
def test_killed_in_the_middle(tmp_path: Path) -> None:
    """What 104 told of is there after kill -9: the client may have forgotten it."""
    data = os.urandom(1 << 20) * (SEGMENT * 3 // 2 >> 20)
    with ServerProcess(tmp_path, dialects="resumable") as server:
        with Client(server.port) as client:
            client.begin("POST", ROOT, ("Content-Length", str(len(data) + 10)), Upload_Complete="?1")
            path = client.read().headers["location"]
            client.send(data)
            told = int(client.read().headers["upload-offset"])
            server.kill()
        assert told >= SEGMENT
        server.start()
        with Client(server.port) as client:
            offset, complete = client.state(path)
            assert (told <= offset <= len(data), complete) == (True, False)
            done = client.append(path, offset, data[offset:] + b"0123456789", complete=True)
            assert done.json["sha256"] == sha256(data + b"0123456789")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("guarded")
    settings: dict[str, Any] = {"auth": "token", "quota": 500_000, "cors_origins": "https://friend.example.org"}
    with ServerProcess(folder, dialects="pulp,resumable", **settings) as server:
        yield server


@must("authorized")
def test_owners(guarded: ServerProcess) -> None:
    hers, his = (f"Bearer {make_token(guarded, name)}" for name in ("alice", "bob"))
    with Client(guarded.port) as nobody, Client(guarded.port, Authorization=hers) as alice:
        refused = nobody.create(b"abc")
        assert (refused.status, refused.interim) == (401, [])
        path = alice.created(b"abc")
        final = alice.create(b"abc", complete=True)
        with Client(guarded.port, Authorization=his) as bob:
            assert bob("HEAD", path).status == bob("DELETE", path).status == 404
            assert bob.append(path, 3, b"d").status == bob("GET", final.json["file"]).status == 404
            assert "upload-offset" not in bob.append(path, 0, b"d").headers
            assert bob.create(bytes(500_001)).status == 413
            assert bob.create(bytes(500_001), chunked=True).status == 413
        assert alice.state(path) == (3, False)
        assert alice("GET", final.json["file"]).body == b"abc"
        assert nobody("HEAD", path).status == 401


def test_tickets_and_scopes(guarded: ServerProcess) -> None:
    admin = f"Bearer {make_token(guarded, 'app', '--admin')}"
    reader = f"Bearer {make_token(guarded, 'reader', '--scope', 'read')}"
    writer = f"Bearer {make_token(guarded, 'writer', '--scope', 'upload')}"
    with Http(guarded.port) as http:
        wish = {"size": 6, "user": "ann", "ticket": True}
        made = http("POST", f"{API}uploads/", wish, Authorization=admin).json
    path = ROOT + made["pulp_href"].split("/")[-2]
    with Client(guarded.port, Authorization=f"Bearer {made['ticket']}") as ticketed:
        assert ticketed.create(b"abc").status == ticketed("DELETE", path).status == 403
        assert ticketed.append(path, 0, b"abc").status == 204
        assert ticketed.state(path) == (3, False)
        assert ticketed.append(path, 3, b"def", complete=True).json["sha256"] == sha256(b"abcdef")
    with Client(guarded.port, Authorization=reader) as client:
        assert client.create(b"abc").status == 403
        assert client("OPTIONS", ROOT).status == 204
    with Client(guarded.port, Authorization=writer) as client:
        final = client.create(b"abc", complete=True)
        assert final.status == 201
        assert client("GET", final.json["file"]).status == 403


def test_pages_of_other_origins(guarded: ServerProcess) -> None:
    origin = "https://friend.example.org"
    with Http(guarded.port) as http:
        fields = "authorization, upload-complete, upload-offset, upload-draft-interop-version, content-disposition"
        wish = {"Access_Control_Request_Method": "PATCH", "Access_Control_Request_Headers": fields}
        assert http("OPTIONS", f"{ROOT}x", Origin=origin, **wish).status == 200
        exposed = http("HEAD", f"{ROOT}x", Origin=origin).headers["Access-Control-Expose-Headers"]
        assert {"Upload-Offset", "Upload-Complete", "Upload-Limit", "Location"} <= set(exposed.split(", "))


@pytest.mark.parametrize(
    "settings, prefix",
    [
        ({"base_path": "/up"}, "/up/resumable/"),
        ({"public_url": "https://files.example.org/up", "base_path": "/up"}, "https://files.example.org/up/resumable/"),
    ],
)
def test_below_a_path(tmp_path: Path, settings: dict[str, Any], prefix: str) -> None:
    """Addresses are absolute where the server knows its own, and lead to it."""
    with ServerProcess(tmp_path, dialects="resumable", **settings) as server, Client(server.port) as client:
        answer = client.create(b"abc", path="/up/resumable/")
        location = answer.headers["location"]
        assert answer.interim[0].headers["location"] == location
        assert location.startswith(prefix)
        path = location.removeprefix("https://files.example.org")
        assert client.state(path) == (3, False)
        final = client.append(path, 3, b"d", complete=True)
        assert client("GET", final.json["file"]).body == b"abcd"


def test_switched_off(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, Client(server.port) as client:
        assert client.create(b"abc").status == 404
        assert client("PATCH", f"{ROOT}x", b"", Content_Type=PARTIAL).status == 404
