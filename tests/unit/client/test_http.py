"""Addresses, credentials, proxies, and answers that send the client somewhere else."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from partwise.client import AnswerError, CannotReachServer, Client, ClientError
from tests.unit.client.fake_server import Answer, FakeServer, running

DATA = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def elsewhere() -> Iterator[FakeServer]:
    """Another server, such as an object store."""
    with running() as server:
        yield server


@pytest.mark.parametrize(
    "server", ["ftp://x", "http://", "http://:80", "http://x:port", "http://ann:secret@x:99999", "http://[::1"]
)
def test_what_is_no_address_is_refused_without_its_password(server: str) -> None:
    with pytest.raises(ClientError, match="not a server address") as raised:
        Client(server)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("token", ["secret\n", "sec ret", "secr\u00e9t", "secret\x7f"])
def test_a_token_that_no_header_can_carry_is_refused_unseen(token: str) -> None:
    with pytest.raises(ClientError, match="Copy it again") as raised:
        Client("http://127.0.0.1:1", token=token)
    assert "sec" not in str(raised.value)


def test_a_name_and_password_in_the_address_are_sent(fake: FakeServer) -> None:
    fake.artifacts[DIGEST] = DATA
    with Client(fake.url.replace("http://", "http://ann:p%40ss@")) as client:
        client.artifact(DIGEST)
    kind, _, value = fake.headers[-1]["Authorization"].partition(" ")
    assert (kind, b64decode(value)) == ("Basic", b"ann:p@ss")
    with Client(fake.url.replace("http://", "http://ann@"), token="t0ken") as client:
        client.artifact(DIGEST)
    assert fake.headers[-1]["Authorization"] == "Bearer t0ken"


def test_bytes_that_are_elsewhere_are_fetched_there_without_credentials(
    fake: FakeServer, elsewhere: FakeServer, tmp_path: Path
) -> None:
    fake.artifacts[DIGEST] = DATA
    place = f"{elsewhere.url}/bucket/object?signature=x"

    def to_elsewhere(method: str, path: str, body: bytes) -> Answer | None:
        return (307, {}, {"Location": place}) if path.endswith("download/") else None

    def give(method: str, path: str, body: bytes) -> Answer:
        begin = elsewhere.headers[-1].get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
        span = {"Content-Range": f"bytes {begin}-{len(DATA) - 1}/{len(DATA)}"}
        status = 206 if "Range" in elsewhere.headers[-1] else 200
        return status, DATA[int(begin) :], span  # type: ignore[return-value]

    fake.fault, elsewhere.fault = to_elsewhere, give
    with Client(fake.url, token="t0ken") as client:
        client.download(DIGEST, tmp_path / "out")
        (tmp_path / f"more.{DIGEST[:12]}.part").write_bytes(DATA[:4000])
        client.download(DIGEST, tmp_path / "more")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "more").read_bytes() == DATA
    assert elsewhere.requests == [("GET", "/bucket/object?signature=x")] * 2
    assert all("Authorization" not in headers and "If-Range" not in headers for headers in elsewhere.headers)
    assert elsewhere.headers[-1]["Range"] == "bytes=4000-"


def test_a_place_that_is_no_address_is_refused(client: Client, fake: FakeServer, tmp_path: Path) -> None:
    fake.artifacts[DIGEST] = DATA

    def astray(method: str, path: str, body: bytes) -> Answer | None:
        return (307, {}, {"Location": "file:///etc/passwd"}) if path.endswith("download/") else None

    fake.fault = astray
    with pytest.raises(ClientError, match="without a target"):
        client.download(DIGEST, tmp_path / "out")


@pytest.mark.parametrize(
    "answer, sentence",
    [
        ((301, {}, {"Location": "https://files.example.org/"}), "give that address as the server"),
        ((413, b"<html>", {}), "--chunk-size"),
        ((407, b"", {}), "http_proxy=http://NAME:PASSWORD@PROXY:PORT"),
    ],
)
def test_answers_of_others_say_what_to_do(client: Client, fake: FakeServer, answer: Answer, sentence: str) -> None:
    status, body, headers = answer
    fake.fault = lambda method, path, _body: (status, body or b"", headers)  # type: ignore[assignment,return-value]
    with pytest.raises(AnswerError, match=str(status)) as raised:
        client.artifact(DIGEST)
    assert sentence in str(raised.value)


def test_a_proxy_gets_its_credentials_and_they_are_told_to_nobody_else(
    fake: FakeServer, elsewhere: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", elsewhere.url.replace("http://", "http://ann:secret@"))
    monkeypatch.setenv("no_proxy", "")
    elsewhere.artifacts[DIGEST] = DATA
    elsewhere.fault = lambda method, path, body: (200, {"count": 0, "results": []}, {})
    with Client("http://files.example.org") as client, pytest.raises(ClientError):
        client.artifact(DIGEST)
    [(_, path)] = elsewhere.requests
    assert path.startswith("http://files.example.org/")
    assert b64decode(elsewhere.headers[-1]["proxy-authorization"].partition(" ")[2]) == b"ann:secret"
    assert "Authorization" not in elsewhere.headers[-1]


def test_a_dead_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://ann:secret@127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    with (
        Client("http://files.example.org", patience_seconds=0) as client,
        pytest.raises(CannotReachServer, match=r"the proxy http://127\.0\.0\.1:1: connection refused") as raised,
    ):
        client.artifact(DIGEST)
    assert "secret" not in str(raised.value)
