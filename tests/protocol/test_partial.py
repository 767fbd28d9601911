"""``Prefer: partial=keep``: what came of a body that was cut is recorded."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from partwise.server.handover import SMALLEST
from tests.protocol.test_data_path import Wire, both_ways, head
from tests.support.server import Http, ServerProcess
from tests.support.until import wait_until

pytestmark = pytest.mark.files_only("an object store keeps whole chunks alone")

SIZE = 5 * SMALLEST + 12_345
DATA = os.urandom(SIZE)
PREFER = "Prefer: respond-async, partial=keep"


@pytest.fixture
def wire(server: ServerProcess) -> Iterator[Wire]:
    with closing(Wire(server.port)) as wire:
        yield wire


def chunks(http: Http, href: str) -> list[dict[str, Any]]:
    return list(http("GET", href).json["chunks"])


def cut(wire: Wire, *, reset: bool) -> None:
    if reset:
        # Until it is acknowledged, a reset throws it away on this side.
        wait_until(lambda: not int.from_bytes(fcntl.ioctl(wire.socket, termios.TIOCOUTQ, bytes(4)), "little"))
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
    else:
        wire.socket.shutdown(socket.SHUT_WR)


def begin(wire: Wire, href: str, data: bytes, *fields: str, chunked: bool = False) -> None:
    """Send ``data`` of a chunk of SIZE bytes at offset 0."""
    wire.send(head(href, 0, SIZE, "Expect: 100-continue", *fields, chunked=chunked))
    wire.interim()  # from here on the server holds the range for this request
    wire.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)


@both_ways
@pytest.mark.parametrize("sent", [1, SMALLEST, SIZE - 1])
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_what_came_is_kept(http: Http, wire: Wire, chunked: bool, sent: int, reset: bool) -> None:
    href = http.create(SIZE)
    begin(wire, href, DATA[:sent], PREFER, chunked=chunked)
    cut(wire, reset=reset)
    wait_until(lambda: chunks(http, href) == [{"offset": 0, "size": sent}])
    assert http.put(href, sent, DATA[sent:]).status == 200
    assert http.commit(href, DATA).status == 200


@pytest.mark.parametrize(
    "fields",
    [
        ("Prefer: partial=drop",),
        ("Prefer: impartial=keep",),
        (PREFER, "Content-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"),
    ],
)
def test_nothing_is_kept_of_other_bodies(http: Http, wire: Wire, fields: tuple[str, ...]) -> None:
    href = http.create(SIZE)
    begin(wire, href, DATA[:SMALLEST], *fields)
    cut(wire, reset=False)
    while wire.socket.recv(65_536):  # the server has ended the request when it answers or closes
        pass
    assert chunks(http, href) == []


def test_a_newer_request_for_the_same_bytes_goes_on_behind_what_came(http: Http, wire: Wire) -> None:
    """The server does not know that the older connection is dead: it keeps what that brought, and names it."""
    href = http.create(SIZE)
    begin(wire, href, DATA[:SMALLEST], PREFER)
    answer = http.put(href, 0, DATA, Prefer="partial=keep")
    assert answer.problem == (409, "chunk-overlap")
    (kept,) = chunks(http, href)
    assert kept["offset"] == 0
    assert 0 < kept["size"] <= SMALLEST
    assert http.put(href, kept["size"], DATA[kept["size"] :], Prefer="partial=keep").status == 200
    assert http.commit(href, DATA).status == 200


def test_a_chunk_that_is_there_is_compared_and_replaced_as_ever(http: Http) -> None:
    href = http.create(SIZE)
    assert http.put(href, 0, b"\0" * SIZE, Prefer="partial=keep").status == 200
    assert http.put(href, 0, DATA, Prefer="partial=keep").status == 200
    assert http.put(href, 0, DATA, Prefer='partial="keep"').status == 200
    assert http.commit(href, DATA).status == 200
