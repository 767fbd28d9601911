from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from partwise.client import signatures
from partwise.client.errors import Cancelled, CannotReachServer
from partwise.client.http import Http
from partwise.client.models import ArtifactInfo
from partwise.client.retry import Patience
from partwise.client.signatures import NoSignature, fetch_signature
from partwise.core.signature import MEDIA_TYPE, Signature, largest_signature
from tests.support.edits import noise, sign

BASE = noise(1, 100_000)
SIGNED = sign(BASE)


class Server:
    """Gives one answer after the other, the last one again and again: a status, a body, and how much is cut off."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, int]] = []
        self.asked: list[tuple[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.asked.append((self.path, self.headers["Accept"]))
                status, body, cut = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Retry-After", "0")
                self.end_headers()
                self.wfile.write(body[: len(body) - cut])

        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listener.server_port}"

    def close(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def http(server: Server) -> Iterator[Http]:
    made = Http(server.url)
    yield made
    made.close()


def fetch(http: Http, *, sha256: str = SIGNED.sha256, cancelled: bool = False, **options: float) -> Signature:
    artifact = ArtifactInfo(href="/a/1/", sha256=sha256, size=len(BASE), filename="f", created="")
    event = threading.Event()
    if cancelled:
        event.set()
    return fetch_signature(http, artifact, Patience(5), event, **options)


def test_it_is_waited_for_while_the_server_makes_it(server: Server, http: Http) -> None:
    server.answers = [(202, b'{"state": "running"}', 0), (202, b"{}", 0), (503, b"{}", 0), (200, SIGNED.encode(), 0)]
    assert fetch(http) == SIGNED
    assert server.asked == [("/a/1/signature/", MEDIA_TYPE)] * 4


def test_a_connection_that_is_cut_is_tried_again(server: Server, http: Http) -> None:
    server.answers = [(200, SIGNED.encode(), 40), (200, SIGNED.encode(), 0)]
    assert fetch(http) == SIGNED
    server.answers = [(200, SIGNED.encode(), 40)]
    artifact = ArtifactInfo(href="/a/1/", sha256=SIGNED.sha256, size=len(BASE), filename="f", created="")
    with pytest.raises(CannotReachServer):
        fetch_signature(http, artifact, Patience(0), threading.Event())


@pytest.mark.parametrize(
    "status, body, words",
    [
        (404, b"{}", r"no signature of it \(404\)"),
        (409, b"{}", r"no signature of it \(409\)"),
        (507, b"{}", r"no signature of it \(507\)"),
        (200, b"", "cannot be used"),
        (200, SIGNED.encode()[:-1] + b"?", "cannot be used"),
        (200, sign(BASE[:-1]).encode(), "that of another file"),
    ],
)
def test_what_is_no_signature(server: Server, http: Http, status: int, body: bytes, words: str) -> None:
    server.answers = [(status, body, 0)]
    with pytest.raises(NoSignature, match=words):
        fetch(http)


def test_that_of_another_artifact_is_refused(server: Server, http: Http) -> None:
    server.answers = [(200, SIGNED.encode(), 0)]
    with pytest.raises(NoSignature, match="that of another file"):
        fetch(http, sha256="0" * 64)


def test_one_that_is_too_large_is_not_read(server: Server, http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a file of that size, or for any."""
    server.answers = [(200, bytes(largest_signature(len(BASE)) + 1), 0), (200, SIGNED.encode(), 0)]
    with pytest.raises(NoSignature, match="too large"):
        fetch(http)
    monkeypatch.setattr(signatures, "_MOST_BYTES", 100)
    with pytest.raises(NoSignature, match="too large"):
        fetch(http)


def test_the_wait_has_an_end(server: Server, http: Http) -> None:
    server.answers = [(202, b"{}", 0)]
    with pytest.raises(NoSignature, match="takes too long"):
        fetch(http, seconds=0.0)
    with pytest.raises(Cancelled):
        fetch(http, cancelled=True)
