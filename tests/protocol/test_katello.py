"""Katello's way of uploading a file, byte for byte as its Ruby bindings send it (Faraday with its multipart form).

``tests/clients/test_ruby_client.py`` runs the bindings themselves. Here are the requests that they do not make on one
machine: other part types, other ends of a form, and pieces as they come over a network.
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

import pytest

from tests.support.server import API, ServerProcess, sha256
from tests.support.tokens import make_token

#: Bytes of a chunk: Katello's page, foreman-ansible-modules, hammer.
CHUNKS = (1_048_575, 2_097_152, 2_500_000)
#: What Katello guesses from a file's content. Old bindings sent an empty type, and there may be no line at all.
PART_TYPES = (
    "application/octet-stream",
    "application/x-rpm",
    "application/x-debian-package",
    "application/zip",
    "",
    None,
)
#: How multipart-post ends a form: from 2.1 on, and before.
ENDS = ("--\r\n", "--\r\n\r\n")


class Faraday:
    """Requests as Ruby's Net::HTTP puts them on the wire."""

    def __init__(self, port: int, authorization: str) -> None:
        self.port = port
        self._authorization = authorization

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        kind: str = "application/json",
        more: str = "",
        piece: int | None = None,
    ) -> tuple[int, Any]:
        """The status and the JSON of the answer: if all is well, of that kind and nothing more.

        The body is sent in pieces of ``piece`` bytes, each on its way before the next.
        """
        accept = "*/*" if method == "DELETE" else "application/json"
        head = (
            f"{method} {path} HTTP/1.1\r\nContent-Type: {kind}\r\n"
            f"User-Agent: OpenAPI-Generator/3.105.4/ruby\r\nAccept: {accept}\r\n{more}"
            f"Correlation-Id: {secrets.token_hex(8)}\r\nAuthorization: {self._authorization}\r\n"
            "Accept-Encoding: gzip;q=1.0,deflate;q=0.6,identity;q=0.3\r\nConnection: close\r\n"
            f"Host: 127.0.0.1:{self.port}\r\n" + (f"Content-Length: {len(body)}\r\n\r\n" if body else "\r\n")
        )
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(head.encode())
            step = piece or max(len(body), 1)
            for start in range(0, len(body), step):
                connection.sendall(body[start : start + step])
            answer = b""
            while data := connection.recv(65536):
                answer += data
        fields, _, content = answer.partition(b"\r\n\r\n")
        status = int(fields.split(b" ")[1])
        if content and status < 400:
            assert b"\r\ncontent-type: application/json\r\n" in fields.lower() + b"\r\n"
        return status, json.loads(content) if content else None

    def update(
        self,
        href: str,
        offset: int,
        chunk: bytes,
        total: int,
        *,
        kind: str | None = PART_TYPES[0],
        end: str = ENDS[0],
        piece: int | None = None,
        length: int | None = None,
    ) -> tuple[int, Any]:
        """A chunk: the file's part states its length, its type and its transfer encoding, in this order."""
        boundary = f"-----------RubyMultipartPost-{secrets.token_hex(16)}"
        form = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="filechunk20260423-88008-uiymm7"'
            f"\r\nContent-Length: {len(chunk) if length is None else length}\r\n"
            + ("" if kind is None else f"Content-Type: {kind}\r\n")
            + "Content-Transfer-Encoding: binary\r\n\r\n"
        ).encode()
        form += chunk + f"\r\n--{boundary}{end}".encode()
        span = f"Content-Range: bytes {offset}-{offset + len(chunk) - 1}/{total}\r\n"
        return self("PUT", href, form, f"multipart/form-data; boundary={boundary}", span, piece)


@pytest.fixture(scope="module", params=["none", "token"])
def faraday(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faraday]:
    with ServerProcess(tmp_path_factory.mktemp("data"), auth=request.param) as server:
        if request.param == "none":
            yield Faraday(server.port, "Basic Og==")  # no user is configured: a client certificate stands for it
        else:
            password = b64encode(f"admin:{make_token(server, 'katello')}".encode()).decode()
            yield Faraday(server.port, f"Basic {password}")


def artifacts(faraday: Faraday, digest: str) -> list[dict[str, Any]]:
    status, page = faraday("GET", f"{API}artifacts/?sha256={digest}")
    assert status == 200
    return list(page["results"])


def create(faraday: Faraday, size: int | str) -> str:
    status, upload = faraday("POST", f"{API}uploads/", json.dumps({"size": size}).encode())
    assert (status, upload["size"]) == (201, int(size))
    # Katello keeps the last part of the path alone, and makes the path again.
    return f"{API}uploads/{upload['pulp_href'].rstrip('/').rpartition('/')[2]}/"


def commit(faraday: Faraday, href: str, digest: str) -> dict[str, Any]:
    """The task of a commit, once it is over."""
    status, made = faraday("POST", f"{href}commit/", json.dumps({"sha256": digest}).encode())
    assert (status, list(made)) == (202, ["task"])
    deadline = time.monotonic() + 30
    while True:
        _, task = faraday("GET", made["task"])
        if task["finished_at"] is not None:
            return dict(task)
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("piece", [1_000, 16_384, 300_000, None])
@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_file_in_chunks_one_after_another(faraday: Faraday, chunk: int, piece: int | None) -> None:
    data = os.urandom(2 * chunk + 17)
    assert artifacts(faraday, sha256(data)) == []
    href = create(faraday, len(data))
    for number, offset in enumerate(range(0, len(data), chunk)):
        part = data[offset : offset + chunk]
        status, answer = faraday.update(href, offset, part, len(data), end=ENDS[number % 2], piece=piece)
        assert (status, answer["received"]) == (200, offset + len(part)), answer
    assert artifacts(faraday, sha256(data)) == []
    task = commit(faraday, href, sha256(data))
    assert (task["state"], task["error"]) == ("completed", None)
    (artifact,) = artifacts(faraday, sha256(data))
    assert task["created_resources"] == [artifact["pulp_href"]]
    assert artifact["size"] == len(data)
    assert faraday("DELETE", href) == (204, None)
    assert len(artifacts(faraday, sha256(data))) == 1


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", PART_TYPES)
def test_every_type_and_end_of_a_form(faraday: Faraday, kind: str | None, end: str) -> None:
    data = os.urandom(700_000)
    href = create(faraday, str(len(data)))
    assert faraday.update(href, 0, data, len(data), kind=kind, end=end, piece=50_000)[0] == 200
    assert commit(faraday, href, sha256(data))["state"] == "completed"


@pytest.mark.parametrize("off", [-1, 1])
def test_a_part_that_lies_about_its_length_is_refused(faraday: Faraday, off: int) -> None:
    data = os.urandom(CHUNKS[0])
    href = create(faraday, len(data))
    status, answer = faraday.update(href, 0, data, len(data), length=len(data) + off)
    assert (status, answer["type"]) == (400, "/docs/errors#bad-body")
    assert faraday("GET", href)[1]["chunks"] == []
    assert faraday.update(href, 0, data, len(data))[0] == 200


def test_a_file_that_is_there_already_is_given_up(faraday: Faraday) -> None:
    """The second look-up, after the chunks, finds it: the upload is deleted, and not committed."""
    data = os.urandom(100_000)
    first, href = create(faraday, len(data)), create(faraday, len(data))
    for each in (first, href):
        assert faraday.update(each, 0, data, len(data))[0] == 200
    commit(faraday, first, sha256(data))
    assert len(artifacts(faraday, sha256(data))) == 1
    assert faraday("DELETE", href) == (204, None)
    assert faraday("GET", href)[0] == 404


def test_an_upload_with_missing_chunks_is_not_committed(faraday: Faraday) -> None:
    href = create(faraday, 10)
    assert faraday.update(href, 0, b"01234", 10)[0] == 200
    assert faraday("POST", f"{href}commit/", b'{"sha256": "%064d"}' % 0)[0] == 409
    assert faraday("DELETE", href) == (204, None)


def test_a_commit_cannot_be_canceled(faraday: Faraday) -> None:
    """Katello forgives 409 alone."""
    data = os.urandom(10)
    href = create(faraday, len(data))
    faraday.update(href, 0, data, len(data))
    task = commit(faraday, href, sha256(data))
    status, answer = faraday("PATCH", task["pulp_href"], b'{"state": "canceled"}')
    assert (status, answer["type"]) == (409, "/docs/errors#conflict")
    assert "completed" in answer["detail"]
    assert faraday("GET", task["pulp_href"])[1]["state"] == "completed"
    assert faraday("PATCH", task["pulp_href"], b'{"state": "running"}')[0] == 400
    assert faraday("PATCH", f"{API}tasks/00000000-0000-0000-0000-000000000000/", b'{"state": "canceled"}')[0] == 404


def test_whether_the_server_runs(faraday: Faraday) -> None:
    """Asked without a password, as its description at Pulp has it."""
    status, answer = Faraday(faraday.port, "Basic Og==")("GET", f"{API}status/")
    assert (status, answer["database_connection"]) == (200, {"connected": True})
