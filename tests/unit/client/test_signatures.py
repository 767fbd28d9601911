from __future__ import annotations

import gzip
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from partwise.client import signatures
from partwise.client.errors import Cancelled, CannotReachServer
from partwise.client.http import Http
from partwise.client.models import ArtifactInfo
from partwise.client.retry import Patience
from partwise.client.signatures import NoSignature, Scan, fetch_signature
from partwise.client.source import LocalFile
from partwise.core.outline import Filling, Outline, make_outline
from partwise.core.pieces import Cutting
from partwise.core.signature import MEDIA_TYPE, Signature, largest_signature
from tests.support.edits import noise, sign

BASE = noise(1, 600_000)
SIGNED = sign(BASE)
OUTLINE = make_outline(SIGNED.encode())
#: Differs from BASE in one place.
SIMILAR = BASE[:200_000] + b"changed" + BASE[200_000:]


@dataclass(frozen=True)
class Answer:
    """``cut`` bytes at the end of the body are not sent. ``repeated``: the body is sent again and again, to no end."""

    status: int
    body: bytes
    cut: int = 0
    headers: dict[str, str] = field(default_factory=lambda: {"Retry-After": "0"})
    repeated: bool = False


class Server:
    """Gives one answer after the other, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                server.asked.append((self.path, self.headers["Accept"]))
                answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                self.send_response(answer.status)
                if not answer.repeated:
                    self.send_header("Content-Length", str(len(answer.body)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body[: len(answer.body) - answer.cut])
                with suppress(OSError):
                    while answer.repeated:
                        self.wfile.write(answer.body)

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


def fetch(
    http: Http, *, sha256: str = SIGNED.sha256, cancelled: bool = False, patience: float = 5.0, **options: Any
) -> Signature:
    artifact = ArtifactInfo(href="/a/1/", sha256=sha256, size=len(BASE), filename="f", created="")
    event = threading.Event()
    if cancelled:
        event.set()
    return fetch_signature(http, artifact, Patience(patience), event, **options)


def test_it_is_waited_for_while_the_server_makes_it(server: Server, http: Http) -> None:
    server.answers = [
        Answer(202, b'{"state": "running"}'),
        Answer(202, b"{}"),
        Answer(503, b"{}"),
        Answer(200, SIGNED.encode()),
    ]
    assert fetch(http) == SIGNED
    assert server.asked == [("/a/1/signature/", MEDIA_TYPE)] * 4


def test_a_connection_that_is_cut_is_tried_again(server: Server, http: Http) -> None:
    server.answers = [Answer(200, SIGNED.encode(), cut=40), Answer(200, SIGNED.encode())]
    assert fetch(http) == SIGNED


def test_one_that_is_cut_each_time_is_given_up(server: Server, http: Http) -> None:
    """The file is sent whole then."""
    server.answers = [Answer(200, SIGNED.encode(), cut=40)]
    with pytest.raises(NoSignature, match="closed each time"):
        fetch(http, patience=0.0)


def test_a_server_that_is_away_is_an_error_of_the_transfer(http: Http, server: Server) -> None:
    server.close()
    with pytest.raises(CannotReachServer):
        fetch(http, patience=0.0)


def of_pieces(first: int) -> bytes:
    """The signature with another size of the first piece, and a right trailer. A missing sum goes to the second."""
    (one,), (two,) = (struct.unpack_from(">I", SIGNED.table, offset) for offset in (0, 36))
    table = bytearray(SIGNED.table)
    struct.pack_into(">I", table, 0, first % 2**32)
    struct.pack_into(">I", table, 36, (one + two - first) % 2**32)
    return Signature(SIGNED.cutting, SIGNED.size, SIGNED.sha256, bytes(table)).encode()


@pytest.mark.parametrize(
    "status, body, words",
    [
        (404, b"{}", r"no signature of it \(404\)"),
        (409, b"{}", r"no signature of it \(409\)"),
        (507, b"{}", r"no signature of it \(507\)"),
        (500, b"{}", r"no signature of it \(500\)"),
        (200, b"", "cannot be used"),
        (
            200,
            b'{"version": 1, "average": 4096, "size": 600000, "pieces": []}' + b" " * 99,
            "do not begin as a signature does",
        ),
        (200, SIGNED.encode()[:-1], "do not fill"),
        (200, SIGNED.encode()[:4] + b"\2" + SIGNED.encode()[5:], "version 2"),
        (200, of_pieces(-1), "larger than the average size allows|in all"),
        (200, of_pieces(0), "smaller or larger"),
        (200, of_pieces(2**32 - 1), "in all"),
        (204, b"", "cannot be used"),
        (200, SIGNED.encode()[:-1] + b"?", "cannot be used"),
        (200, sign(BASE[:-1]).encode(), "that of another file"),
    ],
)
def test_what_is_no_signature(server: Server, http: Http, status: int, body: bytes, words: str) -> None:
    server.answers = [Answer(status, body)]
    with pytest.raises(NoSignature, match=words):
        fetch(http)


def test_that_of_another_artifact_is_refused(server: Server, http: Http) -> None:
    server.answers = [Answer(200, SIGNED.encode())]
    with pytest.raises(NoSignature, match="that of another file"):
        fetch(http, sha256="0" * 64)


def test_one_that_is_too_large_is_not_read(server: Server, http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a file of that size, or for any."""
    server.answers = [Answer(200, bytes(largest_signature(len(BASE)) + 257)), Answer(200, SIGNED.encode())]
    with pytest.raises(NoSignature, match="too large"):
        fetch(http)
    monkeypatch.setattr(signatures, "_MOST_BYTES", 100)
    with pytest.raises(NoSignature, match="too large"):
        fetch(http)


def test_one_that_is_compressed_is_not_unpacked(server: Server, http: Http) -> None:
    """A few bytes could become gigabytes."""
    packed = gzip.compress(SIGNED.encode())
    server.answers = [Answer(200, packed, headers={"Content-Encoding": "gzip"})]
    with pytest.raises(NoSignature, match="cannot be used"):
        fetch(http)


def test_one_without_an_end_is_given_up(server: Server, http: Http) -> None:
    server.answers = [Answer(200, SIGNED.encode(), repeated=True)]
    with pytest.raises(NoSignature, match="too large"):
        fetch(http)
    server.answers = [Answer(202, b"{}" * 1000, repeated=True)]
    with pytest.raises(NoSignature, match="too large"):
        fetch(http)


def test_one_that_comes_too_slowly_is_given_up(server: Server, http: Http) -> None:
    server.answers = [Answer(200, SIGNED.encode())]
    with pytest.raises(NoSignature, match="takes too long"):
        fetch(http, seconds=0.0)


@pytest.mark.parametrize("pause", ["nan", "inf", "-1", "Fri, 27 Nov 2026 21:00:00 GMT", "x", "", "9" * 400])
def test_any_pause_that_a_server_asks_for_is_bounded(
    server: Server, http: Http, monkeypatch: pytest.MonkeyPatch, pause: str
) -> None:
    monkeypatch.setattr(signatures, "_LONGEST_PAUSE", 0.01)
    server.answers = [Answer(202, b"{}", headers={"Retry-After": pause}), Answer(200, SIGNED.encode())]
    assert fetch(http) == SIGNED


@pytest.fixture
def scan(tmp_path: Path) -> Iterator[Scan]:
    """Of a file that is almost the artifact's."""
    path = tmp_path / "local"
    path.write_bytes(SIMILAR)
    with LocalFile(path) as file:
        yield Scan(file, threading.Event(), lambda offset: None)


def missing() -> tuple[str, bytes]:
    """What is missing of the signature beside a scan of the similar file: the query, and the answer to it."""
    filling = Filling(Outline.decode(OUTLINE), sign(SIMILAR, SIGNED.cutting).table)
    ((first, last),) = filling.missing
    return f"pieces={first}-{last}", bytes(SIGNED.table[first * 36 : (last + 1) * 36])


def test_only_what_changed_of_a_signature_is_fetched(server: Server, http: Http, scan: Scan) -> None:
    query, pieces = missing()
    server.answers = [Answer(202, b"{}"), Answer(200, OUTLINE), Answer(200, pieces)]
    assert fetch(http, scan=scan) == SIGNED
    paths = [path.partition("?")[2] for path, _ in server.asked]
    assert paths == ["outline=true", "outline=true", query]
    assert len(OUTLINE) + len(pieces) < len(SIGNED.encode()) // 2


@pytest.mark.parametrize(
    "outline, pieces",
    [
        (OUTLINE, Answer(404, b"{}")),
        (OUTLINE, Answer(200, b"")),
        (OUTLINE, Answer(200, bytes(len(missing()[1])))),
        (OUTLINE, Answer(200, SIGNED.encode())),
        (OUTLINE[:-1], None),
        (OUTLINE[:4] + b"\2" + OUTLINE[5:], None),
        (make_outline(sign(BASE[:-1]).encode()), None),
        (make_outline(sign(noise(2, len(BASE))).encode()), None),
    ],
    ids=["none", "empty", "zeros", "whole", "cut", "version", "other size", "other file"],
)
def test_all_of_it_is_fetched_where_its_parts_are_of_no_use(
    server: Server, http: Http, scan: Scan, outline: bytes, pieces: Answer | None
) -> None:
    server.answers = [Answer(200, outline), *([pieces] if pieces else []), Answer(200, SIGNED.encode())]
    assert fetch(http, scan=scan) == SIGNED
    assert server.asked[-1][0] == "/a/1/signature/"


def test_a_server_that_has_no_outline_gives_all_of_it(server: Server, http: Http, scan: Scan) -> None:
    server.answers = [Answer(200, SIGNED.encode())]
    assert fetch(http, scan=scan) == SIGNED
    assert len(server.asked) == 1


def test_all_of_it_is_fetched_beside_a_file_with_little_in_common(server: Server, http: Http, tmp_path: Path) -> None:
    path = tmp_path / "local"
    path.write_bytes(BASE[: len(BASE) // 3] + noise(7, len(BASE)))
    server.answers = [Answer(200, OUTLINE), Answer(200, SIGNED.encode())]
    with LocalFile(path) as file:
        assert fetch(http, scan=Scan(file, threading.Event(), lambda offset: None)) == SIGNED
    assert [path for path, _ in server.asked] == ["/a/1/signature/?outline=true", "/a/1/signature/"]


def test_a_large_file_is_not_read_before_the_signature_is_there(
    server: Server, http: Http, scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signatures, "_LARGEST_OUTLINED", len(BASE) - 1)
    server.answers = [Answer(200, SIGNED.encode())]
    assert fetch(http, scan=scan) == SIGNED
    assert server.asked == [("/a/1/signature/", MEDIA_TYPE)]
    assert scan.pieces(SIGNED.cutting) is None


def test_a_file_is_cut_once(scan: Scan) -> None:
    table = scan.table(SIGNED.cutting)
    assert scan.table(SIGNED.cutting) is table
    assert list(scan.pieces(SIGNED.cutting) or ()) == list(sign(SIMILAR, SIGNED.cutting).pieces())
    assert scan.pieces(Cutting(8192)) is None


def test_the_wait_has_an_end(server: Server, http: Http) -> None:
    server.answers = [Answer(202, b"{}")]
    with pytest.raises(NoSignature, match="takes too long"):
        fetch(http, seconds=0.0)
    with pytest.raises(Cancelled):
        fetch(http, cancelled=True)
