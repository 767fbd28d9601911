"""Connections: how many, how long their headers may take and how large they may be, and when a dead peer is given up.

The HTTP library below waits for headers without end, and keeps whatever comes. This protocol class bounds both. What
it needs to know comes with the application's lifespan state, since worker processes get the class alone.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from partwise.http.problems import BAD_HTTP, BUSY, HEADERS_TOO_LARGE, HEADERS_TOO_SLOW, Problem, refuse
from partwise.server.handover import HandoverProtocol

#: Where the limits are in the lifespan state.
STATE_KEY = "partwise.connections"

#: Bytes of a request line and header fields.
MAX_HEAD_BYTES = 64 << 10

#: A refused connection is read on for so long, since a close with unread bytes would destroy the answer.
_LINGER_SECONDS = 1.0

#: A connection that has just been made when the server stops has its request on the way: it is waited for so long.
_FIRST_REQUEST_SECONDS = 0.5

#: A peer that acknowledges nothing for so long (cut off, or a download that nobody reads) is gone.
_DEAD_AFTER_SECONDS = 300
_KEEPALIVE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one process."""

    max_connections: int = 4096
    header_timeout_seconds: float = 20.0
    #: The path below which a proxy has put the server; see ``Site.base``.
    base: str = ""
    #: Whether worker threads may read large bodies from their sockets.
    body_handover: bool = True
    #: Called with the problem's name, and the limit's if it was one, for each connection that is refused.
    on_refusal: Callable[[str, str | None], None] = lambda _problem, _setting: None
    #: Called with 1 for each connection that opens, and with -1 when it closes.
    on_change: Callable[[int], None] = lambda _change: None
    #: Called when the server begins to stop, before it waits for requests in flight.
    on_stop: Callable[[], None] = lambda: None


class BoundedProtocol(HandoverProtocol):
    """The server's HTTP protocol with bounds on connections and headers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits: ConnectionLimits = self.app_state.get(STATE_KEY) or ConnectionLimits()
        self.offers_handover = self._limits.body_handover
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._answering = False
        self._refused = False
        self._ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse one too many, or wait for the first header."""
        super().connection_made(transport)
        self._limits.on_change(1)
        _notice_death(transport.get_extra_info("socket"))
        if len(self.connections) > self._limits.max_connections:
            detail = "Too many connections. Try again in a moment."
            self._refuse(BUSY, detail, {"Retry-After": "1"}, setting="max_connections")
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_timer()
        self._limits.on_change(-1)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to headers. (Also of a connection that just sends empty lines, and never begins one.)"""
        if self._refused:
            return
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._refused:
                return  # by the parser just now
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(
                    HEADERS_TOO_LARGE, f"The header fields are too large. Send at most {MAX_HEAD_BYTES} bytes."
                )
            elif self._head_timer is None:
                self._await_head()

    def on_message_begin(self) -> None:
        """A header begins, perhaps while an earlier request is still being answered."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take header fields; those behind a chunked body (trailers) would be kept without bound, and mean nothing."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The header came in time."""
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        self._answering = True
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # such a client knows no interim answers (RFC 9110, section 10.1.1)
        super().on_headers_complete()
        if self._ending:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """The server begins to stop: requests that only wait for something end, others go on, also one just coming."""
        self._limits.on_stop()
        if self.cycle is not None or self._refused:
            super().shutdown()
        else:
            self._ending = True
            self.loop.call_later(_FIRST_REQUEST_SECONDS, self._close_unless_asked)

    def _close_unless_asked(self) -> None:
        if self.cycle is None:
            self.transport.close()

    def on_response_complete(self) -> None:
        """The next header may come, for which the keep-alive time runs first."""
        super().on_response_complete()
        self._answering = not self.cycle.response_complete  # or a pipelined request is answered next
        self._in_head = self._in_head or not self._answering

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP like other errors."""
        self._refuse(BAD_HTTP, msg)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._limits.header_timeout_seconds, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        if self._head_bytes:
            seconds = self._limits.header_timeout_seconds
            detail = f"The header fields arrived too slowly. Send them within {seconds:g} seconds."
            self._refuse(HEADERS_TOO_SLOW, detail, setting="header_timeout_seconds")
        else:
            self.transport.close()  # it never said anything: no answer either

    def _refuse(
        self, problem: Problem, detail: str, headers: dict[str, str] | None = None, *, setting: str | None = None
    ) -> None:
        """Answer, send the end, and close a moment later."""
        self._refused = True
        self._stop_timer()
        response = refuse(problem, detail, {"Connection": "close", **(headers or {})}, setting=setting)
        response.place_below(self._limits.base)
        fields = b"".join(b"%b: %b\r\n" % pair for pair in response.raw_headers)
        self.transport.write(b"HTTP/1.1 %d \r\n%b\r\n%b" % (problem.status, fields, bytes(response.body)))
        self._limits.on_refusal(problem.name, setting)
        if not self._answering and self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()


def _notice_death(connection: socket.socket | None) -> None:
    """Let the kernel detect a dead peer soon. By default that could take hours."""
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_SECONDS * 1000)
