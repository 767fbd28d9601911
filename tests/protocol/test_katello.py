"""Katello's way of uploading a file, byte for byte as its Ruby bindings send it (Faraday with its multipart form).

The bindings themselves are not run: they come from a registry of Ruby. Their requests are made here by hand.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.server import API, ServerProcess, sha256
from tests.support.tokens import make_token

#: Bytes of each of Katello's chunks, but the last.
CHUNK = 1_048_575


class Faraday:
    """Requests as Ruby's Net::HTTP puts them on the wire."""

    def __init__(self, port: int, authorization: str | None = None) -> None:
        self.port = port
        self._authorization = f"Authorization: {authorization}\r\n" if authorization else ""

    def __call__(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json", more: str = ""
    ) -> tuple[int, Any]:
        """The status and the JSON of the answer: if all is well, of that kind and nothing more."""
        head = (
            f"{method} {path} HTTP/1.1\r\nContent-Type: {kind}\r\n{more}{self._authorization}"
            "User-Agent: OpenAPI-Generator/3.123.1/ruby\r\nAccept: application/json\r\n"
            "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\nConnection: close\r\n"
            f"Host: 127.0.0.1:{self.port}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(head.encode() + body)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        fields, _, content = answer.partition(b"\r\n\r\n")
        status = int(fields.split(b" ")[1])
        if content and status < 400:
            assert b"\r\ncontent-type: application/json\r\n" in fields.lower() + b"\r\n"
        return status, json.loads(content) if content else None

    def update(self, href: str, offset: int, piece: bytes, total: int, **digest: str) -> tuple[int, Any]:
        """A chunk: a file's part has its length and transfer encoding, and a line more ends the form."""
        boundary = f"-----------RubyMultipartPost-{secrets.token_hex(16)}"
        form = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="chunk20261125-1-x.bin"\r\n'
            f"Content-Length: {len(piece)}\r\nContent-Type: application/octet-stream\r\n"
            "Content-Transfer-Encoding: binary\r\n\r\n"
        ).encode() + piece
        for name, value in digest.items():
            form += f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
        form += f"\r\n--{boundary}--\r\n\r\n".encode()
        span = f"Content-Range: bytes {offset}-{offset + len(piece) - 1}/{total}\r\n"
        return self("PUT", href, form, f"multipart/form-data; boundary={boundary}", span)


@pytest.fixture(scope="module", params=["none", "token"])
def faraday(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faraday]:
    with ServerProcess(tmp_path_factory.mktemp("data"), auth=request.param) as server:
        if request.param == "none":
            yield Faraday(server.port)
        else:
            password = b64encode(f"katello:{make_token(server, 'katello')}".encode()).decode()
            yield Faraday(server.port, f"Basic {password}")


def artifacts(faraday: Faraday, digest: str) -> list[dict[str, Any]]:
    status, page = faraday("GET", f"{API}artifacts/?limit=1&offset=0&sha256={quote(digest)}")
    assert status == 200
    return list(page["results"])


def commit(faraday: Faraday, href: str, digest: str) -> dict[str, Any]:
    """The task of a commit, once it is over."""
    status, made = faraday("POST", f"{href}commit/", json.dumps({"sha256": digest}).encode())
    assert (status, list(made)) == (202, ["task"])
    deadline = time.monotonic() + 30
    while True:
        _, task = faraday("GET", made["task"])
        if task["state"] not in ("waiting", "running"):
            return dict(task)
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("with_digest", [False, True])
def test_a_file_in_chunks_one_after_another(faraday: Faraday, with_digest: bool) -> None:
    data = os.urandom(3 * CHUNK + 17)
    assert artifacts(faraday, sha256(data)) == []
    status, upload = faraday("POST", f"{API}uploads/", json.dumps({"size": len(data)}).encode())
    assert (status, upload["size"]) == (201, len(data))
    for offset in range(0, len(data), CHUNK):
        piece = data[offset : offset + CHUNK]
        digest = {"sha256": sha256(piece)} if with_digest else {}
        status, answer = faraday.update(upload["pulp_href"], offset, piece, len(data), **digest)
        assert (status, answer["received"]) == (200, offset + len(piece))
    task = commit(faraday, upload["pulp_href"], sha256(data))
    assert (task["state"], task["error"]) == ("completed", None)
    (artifact,) = artifacts(faraday, sha256(data))
    assert task["created_resources"] == [artifact["pulp_href"]]
    assert artifact["size"] == len(data)
    assert faraday("DELETE", upload["pulp_href"]) == (204, None)
    assert len(artifacts(faraday, sha256(data))) == 1


def test_an_upload_is_given_up(faraday: Faraday) -> None:
    _, upload = faraday("POST", f"{API}uploads/", b'{"size": 10}')
    assert faraday.update(upload["pulp_href"], 0, b"01234", 10)[0] == 200
    assert faraday("POST", f"{upload['pulp_href']}commit/", b'{"sha256": "%064d"}' % 0)[0] == 409
    assert faraday("DELETE", upload["pulp_href"]) == (204, None)
    assert faraday("GET", upload["pulp_href"])[0] == 404


def test_whether_the_server_runs(faraday: Faraday) -> None:
    """Asked without a password, as its description at Pulp has it."""
    status, answer = Faraday(faraday.port)("GET", f"{API}status/")
    assert (status, answer["database_connection"]) == (200, {"connected": True})
