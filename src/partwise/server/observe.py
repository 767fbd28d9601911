"""Observation of requests: an id in logs and responses, a log line, and metrics."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from partwise.core.records import Principal
from partwise.engine.ports import Sink
from partwise.http.intake import RequestBody
from partwise.http.problems import PROBLEM, SETTING
from partwise.http.sending import FILE, LASTING
from partwise.server.auth import PRINCIPAL
from partwise.server.logs import ACCESS
from partwise.server.metrics import Metrics

#: Bytes of the body, in the scope of a request.
RECEIVED = "partwise.received"

#: An id that a client or proxy gave, under the names that they use (the second is Pulp's).
_ID_FIELDS = ("x-request-id", "correlation-id")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)

#: Asked every few seconds by machines.
_QUIET = frozenset({"/livez", "/readyz", "/metrics"})

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_access = logging.getLogger(ACCESS)


class Observed:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and note what came of it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        client = scope["client"][0] if scope.get("client") else None
        answer = _Answer(send, request_id)
        began = time.perf_counter()
        self._metrics.in_flight.inc()
        # For the time of the request alone: a host application's log context stays, and a pipelined request begins in
        # the context of the one before it.
        before = structlog.contextvars.get_contextvars()
        structlog.contextvars.bind_contextvars(request=request_id, client=client)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            self._metrics.in_flight.dec()
            self._note(scope, answer, time.perf_counter() - began)
            structlog.contextvars.clear_contextvars()
            structlog.contextvars.bind_contextvars(**before)

    def _note(self, scope: Scope, answer: _Answer, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        received, problem = scope.get(RECEIVED, 0), scope.get(PROBLEM)
        metrics = self._metrics
        metrics.requests.labels(method, str(answer.status)).inc()
        if not scope.get(LASTING):
            metrics.request_seconds.labels(method).observe(seconds)
        metrics.received.inc(received)
        metrics.sent.inc(answer.sent)
        if problem is not None:
            metrics.refuse(problem, scope.get(SETTING))
        level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
        if not _access.isEnabledFor(level):
            return
        who: Principal | None = scope.get(PRINCIPAL)
        fields: dict[str, Any] = {
            "method": scope["method"],
            # As it came, in ASCII; without the query, where a client might have put what is nobody's business.
            "path": raw_path_of(scope),
            "status": answer.status,
            "seconds": round(seconds, 4),
            "received": received,
            "sent": answer.sent,
        }
        if who is not None:
            fields["user"] = who.name
        if problem is not None:
            fields["problem"] = problem
        _access.log(level, "request", extra=fields)


def raw_path_of(scope: Scope) -> str:
    """The path as it came, in ASCII. Not every server tells it (ASGI has ``raw_path`` as optional)."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return raw.decode("ascii", "replace")


def _request_id(headers: Headers) -> str:
    for name in _ID_FIELDS:
        given = headers.get(name, "")
        if _ID.fullmatch(given):
            return given
    return uuid.uuid4().hex


class _Answer:
    """Looks at an answer as it is sent. ``status`` 0: there was none, the client was gone."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.status = 0
        self.sent = 0
        self._send = send
        self._request_id = request_id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            for name in _ID_FIELDS:
                headers[name] = self._request_id
            message = {**message, "headers": headers.raw}
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
        try:
            await self._send(message)
        finally:
            if message["type"] == FILE:
                self.sent += message["part"].sent


class CountedBody:
    """A body whose bytes are counted in the scope of its request. See ``partwise.engine.ports.Body``."""

    def __init__(self, body: RequestBody, scope: Scope) -> None:
        self._body = body
        self._scope = scope

    @property
    def sha256(self) -> str | None:
        """The digest that the client sent for these bytes."""
        return self._body.sha256

    async def first(self) -> bytes:
        """See ``RequestBody``."""
        piece = await self._body.first()
        self._scope[RECEIVED] = self._scope.get(RECEIVED, 0) + len(piece)
        return piece

    def put_back(self, piece: bytes) -> None:
        """See ``RequestBody``."""
        self._scope[RECEIVED] = self._scope.get(RECEIVED, 0) - len(piece)
        self._body.put_back(piece)

    async def drain(self, sink: Sink) -> None:
        """Give all bytes to ``sink``, as the port says."""
        received = 0

        def count(block: memoryview) -> None:
            nonlocal received
            received += len(block)
            sink(block)

        try:
            await self._body.drain(count)
        finally:
            self._scope[RECEIVED] = self._scope.get(RECEIVED, 0) + received
