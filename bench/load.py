"""The load generator: HTTP/1.1 over kept connections, bodies straight from one file with sendfile(2).

It costs little beside the servers (which share the machine's cores with it), and it is the same for all of them.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

#: Bytes of one sendfile call, and the step in which a paced body goes out.
_SLICE = 4 << 20
_PACED_SLICE = 256 << 10
_TIMEOUT_SECONDS = 120.0
_BOUNDARY = "7d1c0e5f4b9a"


class Refused(Exception):
    """A server answered otherwise than it must, so there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes ``[offset, offset + size)``."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


def split(size: int, piece: int) -> list[Span]:
    """A file of ``size`` bytes in pieces, the last one shorter where it must be."""
    return [Span(offset, min(piece, size - offset)) for offset in range(0, size, piece)]


@dataclass(frozen=True, slots=True)
class Put:
    """One request whose body, or whose form's file, is ``span`` of the source file."""

    path: str
    span: Span
    headers: tuple[str, ...] = ()
    form: bool = False
    method: str = "PUT"
    #: The fields of the form before its file, and the name of the file's part.
    fields: tuple[tuple[str, str], ...] = ()
    file: str = "file"


class Pace:
    """Lets the bytes of all connections together go at ``rate`` bytes a second, evenly."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._next = time.monotonic()

    def wait(self, size: int) -> None:
        """Returns when the next ``size`` bytes may go."""
        with self._lock:
            start = max(self._next, time.monotonic() - 0.01)
            self._next = start + size / self._rate
        time.sleep(max(0.0, start - time.monotonic()))


class Connection:
    """One connection to a server on 127.0.0.1, made again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def request(self, method: str, path: str, body: bytes = b"", headers: Sequence[str] = ()) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._begin(_head(method, path, len(body), headers) + body, more=False)
        return self._answer()

    def put(self, fd: int, put: Put, pace: Pace | None = None) -> tuple[int, bytes]:
        """Send a part of the file ``fd``; status and body of the answer."""
        prologue = epilogue = b""
        headers = put.headers
        if put.form:
            for name, value in put.fields:
                field = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                prologue += field.encode()
            disposition = f'Content-Disposition: form-data; name="{put.file}"; filename="chunk"'
            kind = "Content-Type: application/octet-stream"
            prologue += f"--{_BOUNDARY}\r\n{disposition}\r\n{kind}\r\n\r\n".encode()
            epilogue = f"\r\n--{_BOUNDARY}--\r\n".encode()
            headers = (*headers, f"Content-Type: multipart/form-data; boundary={_BOUNDARY}")
        length = len(prologue) + put.span.size + len(epilogue)
        connection = self._begin(_head(put.method, put.path, length, headers) + prologue, more=True)
        offset = put.span.offset
        while offset < put.span.end:
            size = min(_PACED_SLICE if pace else _SLICE, put.span.end - offset)
            if pace:
                pace.wait(size)
            sent = _sendfile(connection, fd, offset, size)
            if not sent:
                raise Refused(f"the source file ends at {offset}")
            offset += sent
        if epilogue:
            connection.sendall(epilogue)
        return self._answer()

    def _begin(self, head: bytes, *, more: bool) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port))
            # Blocking, with the kernel's own time-outs: Python's would put a poll before each call.
            self._socket.setblocking(True)
            _set_timeouts(self._socket)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(head, socket.MSG_MORE if more else 0)
        return self._socket

    def _answer(self) -> tuple[int, bytes]:
        assert self._socket is not None
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._piece(data)
        lines = data[:end].decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = data[end + 4 :]
        while len(body) < int(fields.get("content-length", 0)):
            body += self._piece(body)
        if fields.get("connection", "").lower() == "close":
            self.close()
        return int(lines[0].split()[1]), body

    def _piece(self, so_far: bytes) -> bytes:
        assert self._socket is not None
        piece = self._socket.recv(65536)
        if not piece:
            raise Refused(f"the server closed the connection after {so_far!r}")
        return piece


def _sendfile(connection: socket.socket, fd: int, offset: int, size: int) -> int:
    return os.sendfile(connection.fileno(), fd, offset, size)


def _set_timeouts(connection: socket.socket) -> None:
    seconds = int(_TIMEOUT_SECONDS).to_bytes(8, "little") + bytes(8)  # struct timeval
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)


def _head(method: str, path: str, length: int, headers: Sequence[str]) -> bytes:
    fields = ["Host: localhost", *headers, f"Content-Length: {length}"]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *fields, "", ""]).encode()


def in_threads(count: int, work: Callable[[int], Any]) -> None:
    """Run ``work(number)`` in ``count`` threads. Raises the first error when all have ended."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,), name=f"load-{number}") for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def send_all(
    port: int, fd: int, puts: Sequence[Put], connections: int, *, pace: Pace | None = None, expect: int = 200
) -> None:
    """Send all ``puts`` in their order over ``connections``. Raises Refused at any other status than ``expect``."""
    left = deque(puts)

    def work(_number: int) -> None:
        with Connection(port) as connection:
            while True:
                try:
                    put = left.popleft()
                except IndexError:
                    return
                status, body = connection.put(fd, put, pace)
                if status != expect:
                    left.clear()
                    raise Refused(f"{put.method} {put.path} answered {status}: {body[:500]!r}")

    in_threads(min(connections, len(puts)), work)
