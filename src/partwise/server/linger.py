"""Answers that are given before the request's body has been read.

Closing a socket with unread bytes sends a reset, and a reset may destroy the answer before the client has read it.
So the answer says ``Connection: close``, and before the connection is closed what the client still sends is read and
thrown away, within bounds.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from partwise.server.handover import EXTENSION, Handover

_MAX_SECONDS = 10.0
_IDLE_SECONDS = 2.0
_MAX_BYTES = 256 << 20


class LingeringClose:
    """ASGI middleware; must be the outermost, so that it sees every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass requests without a body on untouched."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, scope.get("extensions", {}).get(EXTENSION))
        await self._app(scope, exchange.receive, exchange.send)


def _has_body(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ")):
            return True
    return False


class _Exchange:
    """One request with a body, and its answer."""

    def __init__(self, receive: Receive, send: Send, handover: Handover | None) -> None:
        self._receive = receive
        self._send = send
        self._handover = handover
        self._received = False  # the body has been read whole by messages, or the client is gone
        self._close = False

    @property
    def _over(self) -> bool:
        return self._received or (self._handover is not None and self._handover.complete)

    async def receive(self) -> Message:
        message = await self._receive()
        self._received = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._over:
            self._close = True
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        elif message["type"] == "http.response.body" and self._close and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._discard()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _discard(self) -> None:
        size = 0
        try:
            async with asyncio.timeout(_MAX_SECONDS):
                while not self._over and size <= _MAX_BYTES:
                    async with asyncio.timeout(_IDLE_SECONDS):
                        size += len((await self.receive()).get("body", b""))
        except (TimeoutError, asyncio.CancelledError):
            pass  # the answer has been given: also at the end of the process only its last piece is left to send
