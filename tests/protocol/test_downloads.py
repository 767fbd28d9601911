"""Downloads larger than a block, which the kernel sends past the event loop: on connections with other requests."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.server import Http, ServerProcess
from tests.support.until import wait_until

DATA = os.urandom((5 << 20) + 7)


def _ask(server: ServerProcess, *paths: str, room: int | None = None) -> socket.socket:
    """A connection on which all ``paths`` have been asked for at once."""
    connection = socket.socket()
    if room is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths))
    return connection


def _path(http: Http) -> str:
    return f"{http.store(DATA)['artifact']}download/"


def test_requests_sent_at_once_are_answered_in_order(server: ServerProcess, http: Http) -> None:
    path = _path(http)
    with closing(_ask(server, "/livez", path, "/livez", path)) as connection:
        assert [_next_body(connection) for _ in range(4)] == [b"ok\n", DATA, b"ok\n", DATA]


def _next_body(connection: socket.socket) -> bytes:
    """The body of the next answer; what is behind it stays in the socket."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    body = b""
    while len(body) < length:
        piece = connection.recv(length - len(body))
        assert piece, "the answer broke off"
        body += piece
    return body


def test_ranges_and_whole_files_on_one_connection(http: Http) -> None:
    path = _path(http)
    for first, last in ((0, len(DATA) - 1), (1, 200_000), (131_071, 262_144), (len(DATA) - 300_000, len(DATA) - 1)):
        answer = http("GET", path, Range=f"bytes={first}-{last}")
        assert (answer.status, answer.body == DATA[first : last + 1]) == (206, True)
    assert http("GET", path).body == DATA


def test_what_was_sent_is_counted(server: ServerProcess, http: Http) -> None:
    path = _path(http)
    before = http.figures()["partwise_sent_bytes_total"]
    http("GET", path)
    with Http(server.port) as other:
        assert other.figures()["partwise_sent_bytes_total"] - before >= len(DATA)


@pytest.mark.files_only("it looks for the artifact's open file")
def test_a_reader_that_leaves_lets_go_of_the_file(server: ServerProcess, http: Http) -> None:
    wait_until(lambda: _open_artifacts(server) == 0, "the end of what other tests began")
    path = _path(http)
    with closing(_ask(server, path, room=4096)) as connection:
        assert connection.recv(10) == b"HTTP/1.1 2"
        wait_until(lambda: _open_artifacts(server) > 0)
    wait_until(lambda: _open_artifacts(server) == 0)


def _open_artifacts(server: ServerProcess) -> int:
    found = 0
    for link in Path(f"/proc/{server.pid}/fd").iterdir():
        try:
            found += "/artifacts/" in os.readlink(link)
        except FileNotFoundError:
            continue
    return found


def test_the_server_stops_while_a_reader_takes_nothing(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, shutdown_seconds=1) as server:
        with Http(server.port) as http:
            path = _path(http)
        with closing(_ask(server, path, room=4096)) as connection:
            assert connection.recv(10) == b"HTTP/1.1 2"
            assert server.stop() == 0
