"""Large bodies by both ways through the server: past the parser (a length is given), and by messages (chunked)."""

from __future__ import annotations

import http.client
import io
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from partwise.server.handover import SMALLEST
from tests.support.server import API, Answer, Http, ServerProcess, exchange, sha256

SIZE = 5 * SMALLEST + 12_345
DATA = os.urandom(SIZE)


class _Reader(io.BufferedReader):
    """What is read ahead of one answer belongs to the next: so an answer that ends does not close it."""

    def close(self) -> None:
        """Kept open."""


class Wire:
    """A connection that sends what it is told, byte for byte, and reads one answer at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._raw = self.socket.makefile("rb", buffering=0)
        self._reader = _Reader(self._raw)

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def answer(self) -> Answer:
        response = http.client.HTTPResponse(self)  # type: ignore[arg-type]
        response.begin()
        return Answer(response)

    def interim(self) -> bytes:
        """An answer without fields, such as 100 Continue."""
        line = b""
        while not line.endswith(b"\r\n\r\n"):
            line += self._reader.read(1)
        return line

    def makefile(self, *_: object) -> io.BufferedReader:
        """What an answer asks of a socket."""
        return self._reader

    def close(self) -> None:
        """Give the descriptor back."""
        self._raw.close()
        self.socket.close()


@pytest.fixture
def wire(server: ServerProcess) -> Iterator[Wire]:
    with closing(Wire(server.port)) as wire:
        yield wire


def head(href: str, offset: int, size: int, *fields: str, chunked: bool = False) -> bytes:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    lines = [
        f"PUT {href} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/octet-stream",
        f"Content-Range: bytes {offset}-{offset + size - 1}/*",
        framing,
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def body(data: bytes, *, chunked: bool = False) -> bytes:
    if not chunked:
        return data
    pieces = [data[at : at + 70_000] for at in range(0, len(data), 70_000)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def look(href: str) -> bytes:
    return f"GET {href} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


both_ways = pytest.mark.parametrize("chunked", [False, True], ids=["socket", "messages"])


@both_ways
def test_a_connection_goes_on_after_a_large_body(http: Http, wire: Wire, chunked: bool) -> None:
    href = http.create(2 * SIZE)
    for offset in (SIZE, 0):
        wire.send(head(href, offset, SIZE, chunked=chunked), body(DATA, chunked=chunked))
        assert wire.answer().status == 200
    assert http.commit(href, DATA + DATA).status == 200


@both_ways
def test_requests_sent_ahead_are_answered_in_order(http: Http, wire: Wire, chunked: bool) -> None:
    href = http.create(SIZE)
    wire.send(head(href, 0, SIZE, chunked=chunked) + body(DATA, chunked=chunked) + look(href) + look(href))
    assert wire.answer().status == 200
    for _ in range(2):
        assert wire.answer().json["chunks"] == [{"offset": 0, "size": SIZE}]


@pytest.mark.parametrize("size", [SMALLEST + 1, 2 * SMALLEST + 1])
def test_bodies_sent_ahead_are_each_their_own(http: Http, wire: Wire, size: int) -> None:
    """A body that was read with what follows it, and one that waited for the answer of a request before it."""
    href = http.create(3 * size)
    chunks = [DATA[number : number + size] for number in range(3)]
    requests = [head(href, number * size, size) + chunk for number, chunk in enumerate(chunks)]
    wire.send(requests[0] + look(href) + requests[1] + look(href) + look(href) + requests[2] + look(href))
    answers = [wire.answer() for _ in range(7)]
    assert [answer.status for answer in answers] == [200] * 7
    assert [answer.json["received"] // size for answer in answers] == [1, 1, 2, 2, 2, 3, 3]
    assert http.commit(href, b"".join(chunks)).status == 200


@both_ways
def test_a_body_in_dribs_and_drabs(http: Http, wire: Wire, chunked: bool) -> None:
    href = http.create(SIZE)
    wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sent = head(href, 0, SIZE, chunked=chunked) + body(DATA, chunked=chunked)
    at = 0
    for step in (1, 7, 300, SMALLEST - 1, SMALLEST, 65_536, 3):
        wire.send(sent[at : at + step])
        at += step
    wire.send(sent[at:])
    assert wire.answer().status == 200
    assert http.commit(href, DATA).status == 200


@both_ways
def test_continue_is_said_once_and_before_the_body(http: Http, wire: Wire, chunked: bool) -> None:
    href = http.create(SIZE)
    wire.send(head(href, 0, SIZE, "Expect: 100-continue", chunked=chunked))
    assert wire.interim() == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(body(DATA, chunked=chunked))
    assert wire.answer().status == 200
    wire.send(look(href))
    assert wire.answer().json["chunks"] == [{"offset": 0, "size": SIZE}]


@both_ways
@pytest.mark.parametrize("sent", [1, SMALLEST, SIZE - 1])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_body_cut_short_is_not_received(http: Http, wire: Wire, chunked: bool, sent: int, reset: bool) -> None:
    href = http.create(SIZE)
    wire.send(head(href, 0, SIZE, "Expect: 100-continue", chunked=chunked))
    wire.interim()  # from here on the server holds the range for this request
    wire.send(body(DATA, chunked=chunked)[:sent])
    if reset:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
    else:
        wire.socket.shutdown(socket.SHUT_WR)
        while wire.socket.recv(65_536):
            pass
    # The range is free at once, and nothing of the dead request counts.
    assert http.put(href, 0, DATA).status == 200
    assert http.commit(href, DATA).status == 200


@both_ways
def test_an_answer_before_the_end_of_the_body_arrives(http: Http, wire: Wire, chunked: bool) -> None:
    href = http.create(SIZE)
    # A total that is wrong is known from the header; the client sends everything all the same.
    request = head(href, 0, SIZE, chunked=chunked).replace(b"/*", b"/%d" % (SIZE + 1))
    wire.send(request, body(DATA, chunked=chunked))
    answer = wire.answer()
    assert answer.problem == (400, "bad-content-range")
    assert answer.headers["Connection"] == "close"


@both_ways
def test_a_wrong_digest_does_not_end_the_connection(http: Http, wire: Wire, chunked: bool) -> None:
    href = http.create(SIZE)
    digest = "Content-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
    wire.send(head(href, 0, SIZE, digest, chunked=chunked), body(DATA, chunked=chunked))
    assert wire.answer().problem == (400, "chunk-digest-mismatch")
    wire.send(head(href, 0, SIZE, chunked=chunked), body(DATA, chunked=chunked))
    assert wire.answer().status == 200
    assert http.commit(href, DATA).status == 200


def test_a_body_longer_than_its_range_ends_early_and_the_rest_means_nothing(server: ServerProcess, http: Http) -> None:
    href = http.create(SIZE)
    smuggled = f"DELETE {href} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    request = head(href, 0, SIZE).replace(b"Content-Length: %d" % SIZE, b"Content-Length: %d" % (SIZE + len(smuggled)))
    answer = exchange(server.port, request + DATA + smuggled)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
    assert http("GET", href).status == 200


def test_a_replacement_is_compared_as_it_comes(http: Http) -> None:
    href = http.create(SIZE)
    damaged = bytearray(DATA)
    damaged[SIZE // 2] ^= 1
    assert http.put(href, 0, bytes(damaged)).status == 200
    assert http.put(href, 0, DATA).status == 200
    assert http.commit(href, DATA).status == 200


def test_many_bodies_at_once(server: ServerProcess) -> None:
    """More than there are worker threads, each waiting for the rest of its body while the others come."""
    count = 60
    with Http(server.port) as http:
        href = http.create(count * SIZE)
    wires = [Wire(server.port) for _ in range(count)]
    try:
        for number, wire in enumerate(wires):
            wire.send(head(href, number * SIZE, SIZE), DATA[: SMALLEST + number])
        for number, wire in reversed(list(enumerate(wires))):
            wire.send(DATA[SMALLEST + number :])
        assert {wire.answer().status for wire in wires} == {200}
    finally:
        for wire in wires:
            wire.close()
    with Http(server.port) as http:
        answer = http("PUT", f"{href}commit", {"sha256": sha256(DATA * count)})
    assert (answer.status, answer.json["size"]) == (200, count * SIZE)


def test_the_whole_file_in_one_form(http: Http) -> None:
    from tests.support.server import form

    content, kind = form(DATA, sha256=sha256(DATA))
    answer = http("POST", f"{API}artifacts/", content, Content_Type=kind)
    assert (answer.status, answer.json["sha256"]) == (201, sha256(DATA))


def test_the_fast_way_can_be_turned_off(tmp_path: Path) -> None:
    """All goes on without it, by messages; the field ``expect`` too."""
    with ServerProcess(tmp_path, body_handover=False) as server, Http(server.port) as http:
        href = http.create(SIZE)
        with closing(Wire(server.port)) as wire:
            wire.send(head(href, 0, SIZE, "Expect: 100-continue"))
            assert wire.interim().startswith(b"HTTP/1.1 100 ")
            wire.send(DATA)
            assert wire.answer().status == 200
        assert http.commit(href, DATA).json["sha256"] == sha256(DATA)
