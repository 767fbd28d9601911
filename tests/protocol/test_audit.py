"""The audit trail: each change of state is one line that says who did what, with which token, from where."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token, partwise_token
from tests.support.until import wait_until

DATA = b"the contents of a file"


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture(params=[1, 2])
def server(request: pytest.FixtureRequest, tmp_path: Path, trail: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(
        tmp_path / "data",
        workers=request.param,
        auth="token",
        audit_file=trail,
        log_level="error",
        log=tmp_path / "log",
        log_format="json",
        trusted_proxies="127.0.0.1",
    )
    with server:
        yield server


def lines(trail: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in trail.read_text().splitlines()]


def test_who_deleted_this_file_is_one_grep(server: ServerProcess, trail: Path, tmp_path: Path) -> None:
    ann, bob = make_token(server, "ann-laptop", "--user", "ann"), make_token(server, "bob", "--admin")
    with Http(server.port) as http:
        stored = http_store(http, ann, filename="disk image.iso")
        artifact = stored["artifact"].split("/")[-2]
        fields = {"Authorization": f"Bearer {bob}", "X_Request_ID": "req-42", "X_Forwarded_For": "203.0.113.9"}
        assert http("DELETE", stored["artifact"], **fields).status == 204
    wait_until(lambda: "artifact.deleted" in trail.read_text(), "the line is written")
    found = subprocess.run(
        ["grep", "artifact.deleted.*disk image.iso", str(trail)], capture_output=True, text=True, check=True
    )
    (line,) = [json.loads(text) for text in found.stdout.splitlines()]
    assert (
        line
        | {
            "event": "audit",
            "action": "artifact.deleted",
            "user": "bob",
            "token": "bob",
            "owner": "ann",
            "artifact": artifact,
            "sha256": sha256(DATA),
            "file": "disk image.iso",
            "size": len(DATA),
            "request": "req-42",
            "client": "203.0.113.9",
        }
        == line
    )
    # The log has it too, also where it tells errors alone.
    assert '"artifact.deleted"' in (tmp_path / "log").read_text()


def http_store(http: Http, token: str, **members: object) -> dict[str, Any]:
    who = {"Authorization": f"Bearer {token}"}
    href = http("POST", f"{API}uploads/", {"size": len(DATA), **members}, **who).json["pulp_href"]
    assert http.put(href, 0, DATA, **who).status == 200
    answer = http("PUT", f"{href}commit", {"sha256": sha256(DATA)}, **who)
    assert answer.status == 200, answer.body
    return dict(answer.json)


def test_every_change_has_its_line(server: ServerProcess, trail: Path) -> None:
    token = make_token(server, "laptop", "--user", "ann")
    who = {"Authorization": f"Bearer {token}"}
    with Http(server.port) as http:
        stored = http_store(http, token, filename="a")
        http("GET", f"{stored['artifact']}download/", **who)
        http("GET", f"{stored['artifact']}download/", Range="bytes=0-3", **who)
        http("HEAD", f"{stored['artifact']}download/", **who)
        http("POST", f"{API}uploads/", {"size": len(DATA), "sha256": sha256(DATA), "filename": "b"}, **who)
        assert http("DELETE", stored["pulp_href"], **who).status == 204
        assert http("DELETE", stored["artifact"], **who).status == 204
    partwise_token(server, "revoke", "laptop")
    wait_until(lambda: "token.revoked" in trail.read_text() and "artifact.deleted" in trail.read_text())
    told = lines(trail)
    upload, artifact = stored["pulp_href"].split("/")[-2], stored["artifact"].split("/")[-2]
    assert [line["action"] for line in told if line.get("upload") == upload] == [
        "upload.created",
        "upload.committed",
        "artifact.created",
        "upload.deleted",
    ]
    assert [(line["action"], line.get("range")) for line in told if line.get("artifact") == artifact] == [
        ("upload.committed", None),
        ("artifact.created", None),
        ("artifact.downloaded", None),
        ("artifact.downloaded", "0-3"),
        ("upload.committed", None),
        ("artifact.deleted", None),
    ]
    assert [line["action"] for line in told if line.get("file") == "b"] == [
        "upload.created",
        "upload.committed",
    ], "its owner has this content already"
    assert [line["action"] for line in told if line["action"].startswith("token")] == ["token.created", "token.revoked"]
    for line in told:
        if not line["action"].startswith("token"):
            assert (line["user"], line["token"], line["owner"]) == ("ann", "laptop", "ann")
            assert line["client"] == "127.0.0.1"
            assert line["request"]
            assert line["timestamp"]
    assert token not in trail.read_text()


def test_a_rotated_file_is_begun_anew(server: ServerProcess, trail: Path) -> None:
    token = make_token(server, "ann")
    with Http(server.port) as http:
        http_store(http, token)
        trail.rename(trail.with_suffix(".1"))
        http_store(http, token)
    wait_until(lambda: trail.exists() and "upload.committed" in trail.read_text(), "the new file has the lines")
    assert {line["action"] for line in lines(trail)} <= {"upload.created", "upload.committed"}


def test_a_file_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    import sys

    environment = os.environ | {"PARTWISE_AUDIT_FILE": str(tmp_path / "none" / "audit"), "PARTWISE_PORT": "0"}
    environment["PARTWISE_DATA"] = str(tmp_path / "data")
    done = subprocess.run(
        [sys.executable, "-m", "partwise.cli", "serve"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "audit file cannot be written" in done.stderr
    assert "[Errno" not in done.stderr
