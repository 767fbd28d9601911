"""HTTP/1.1 over a raw socket: what is sent is what is told, and interim answers are seen."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Message:
    """One answer, interim or final. Names of fields are in lower case."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes = b""
    #: The interim answers before it.
    interim: list[Message] = field(default_factory=list)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Wire:
    """One connection, which is made again for the next request once the server has said that it closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()

    def _connect(self) -> None:
        self.connection = socket.create_connection(("127.0.0.1", self._port), timeout=30.0)
        self._stream = self.connection.makefile("rb")
        self._closes = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, whatever is under way."""
        self._stream.close()
        self.connection.close()

    def head(self, method: str, path: str, fields: Iterable[tuple[str, str]], *, protocol: str = "HTTP/1.1") -> None:
        """Send a request line and header fields."""
        if self._closes:
            self.close()
            self._connect()
        lines = [f"{method} {path} {protocol}", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in fields)]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.connection.sendall(data)

    def read(self, method: str = "GET") -> Message:
        """Read the next answer, which may be an interim one; ``method`` is that of the request."""
        line = self._stream.readline().decode("latin-1")
        assert line, "the connection was closed without an answer"
        _protocol, status, reason = line.rstrip("\r\n").split(" ", 2)
        headers: dict[str, str] = {}
        while (line := self._stream.readline().decode("latin-1")) not in ("\r\n", ""):
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"{name} came twice"
            headers[name.lower()] = value.strip()
        message = Message(int(status), reason, headers)
        self._closes = headers.get("connection") == "close"
        if message.status >= 200 and message.status != 204 and method != "HEAD":
            message.body = self._stream.read(int(headers["content-length"]))
        return message

    def final(self, method: str = "GET") -> Message:
        """Read up to the final answer."""
        interim = []
        while (message := self.read(method)).status < 200:
            interim.append(message)
        message.interim = interim
        return message

    def __call__(
        self, method: str, path: str, body: bytes | None = None, *, chunked: bool = False, **fields: str
    ) -> Message:
        """Make a request and read its answer; ``_`` in names of fields becomes ``-``. ``body`` None: has no length."""
        sent = [(name.replace("_", "-"), value) for name, value in fields.items()]
        if chunked:
            self.head(method, path, [*sent, ("Transfer-Encoding", "chunked")])
            self.send(b"%x\r\n%b\r\n" % (len(body), body) if body else b"")
            self.send(b"0\r\n\r\n")
        else:
            length = [] if body is None else [("Content-Length", str(len(body)))]
            self.head(method, path, [*sent, *length])
            self.send(body or b"")
        return self.final(method)
