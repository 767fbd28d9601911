"""Requests that ask for another protocol keep their body, and nothing of a body is ever taken for a request."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from partwise.server.handover import SMALLEST
from tests.protocol.test_data_path import Wire, body, head, look
from tests.support.server import API, Http, ServerProcess, exchange, sha256

#: What clients send: Java's HttpClient and curl --http2, browsers, and what somebody might try.
UPGRADES = (
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"),
    (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ),
    ("Connection: keep-alive, upgrade", "Upgrade: TLS/1.0, HTTP/3.9"),
    ("Connection: upgrade", "Upgrade: x"),
)

upgrades = pytest.mark.parametrize("fields", UPGRADES, ids=["h2c", "websocket", "list", "unknown"])
both_ways = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
#: Bodies that come with their head, and those that are read past the event loop.
sizes = pytest.mark.parametrize("size", [1, 5_000, SMALLEST - 1, SMALLEST * 3])


@pytest.fixture
def wire(server: ServerProcess) -> Iterator[Wire]:
    with closing(Wire(server.port)) as wire:
        yield wire


@upgrades
@both_ways
@sizes
def test_the_body_is_kept(http: Http, wire: Wire, fields: tuple[str, ...], chunked: bool, size: int) -> None:
    data = os.urandom(size)
    href = http.create(size)
    wire.send(head(href, 0, size, *fields, chunked=chunked), body(data, chunked=chunked), look(href))
    assert wire.answer().status == 200
    assert wire.answer().json["missing"] == []
    assert http.commit(href, data).json["sha256"] == sha256(data)


@upgrades
@both_ways
@pytest.mark.parametrize("together", [True, False])
def test_nothing_in_a_body_is_a_request(
    http: Http, wire: Wire, fields: tuple[str, ...], chunked: bool, together: bool
) -> None:
    """Behind a proxy that shares its connections the answer would be another user's."""
    inside = f"GET {API}status/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    data = inside * 3
    href = http.create(len(data))
    sent = head(href, 0, len(data), *fields, chunked=chunked), body(data, chunked=chunked), look(href)
    if together:
        wire.send(b"".join(sent))
    else:
        wire.send(*(bytes([byte]) for part in sent for byte in part))
    assert wire.answer().json["pulp_href"] == href
    assert wire.answer().json["chunks"] == [{"offset": 0, "size": len(data)}]


@upgrades
def test_a_request_without_a_body_is_followed_by_the_next(http: Http, wire: Wire, fields: tuple[str, ...]) -> None:
    href = http.create(1)
    asks = look(href).replace(b"\r\n\r\n", b"\r\n" + "\r\n".join(fields).encode() + b"\r\n\r\n")
    wire.send(asks + asks + look(href))
    for _ in range(3):
        assert wire.answer().json["pulp_href"] == href


@upgrades
def test_a_refused_body_is_not_read_as_requests(http: Http, server: ServerProcess, fields: tuple[str, ...]) -> None:
    inside = f"GET {API}status/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    href = http.create(10)
    answer = exchange(server.port, head(href, 90, len(inside), "Connection: close", *fields) + inside)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "request_",
    [
        b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\nContent-Length: 34\r\n\r\nGET /livez HTTP/1.1\r\nHost: 127.0.0.1",
        b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
        b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: +5\r\n\r\n12345",
        b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5;\n\r\n12345\r\n0\r\n\r\n",
        b"POST /livez HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 0\n\n",
        b"POST /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n Content-Length: 5\r\n\r\n12345",
    ],
)
@pytest.mark.parametrize("upgrade", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"], ids=["", "upgrade"])
def test_unclear_ends_of_bodies_are_refused(server: ServerProcess, request_: bytes, upgrade: bytes) -> None:
    """Two readers that see the end of a body at different places see different requests behind it."""
    start, _, rest = request_.partition(b"\n")
    answer = exchange(server.port, start + b"\n" + upgrade + rest + b"GET /livez HTTP/1.1\r\n\r\n", half_close=True)
    assert b"200 " not in answer.split(b"\r\n")[0]
    assert b"\nok\n" not in answer
