"""How many requests one process works on at once, and how many descriptors it may have for that."""

from __future__ import annotations

import logging
import resource

from starlette.types import ASGIApp, Receive, Scope, Send

from partwise.protocols.pulp.problems import render_http

_logger = logging.getLogger(__name__)

#: Descriptors of one connection at most: its socket, a second one of that for the body, and the file.
_PER_CONNECTION = 3
#: And of all else: the records, locks, the artifacts that are being hashed.
_OTHERS = 256

#: What is answered however busy the server is: else its supervisor would end it for that.
_ALWAYS = frozenset({"/livez", "/readyz", "/metrics"})


class RequestsInFlight:
    """ASGI middleware that answers 503 while ``limit`` requests are being worked on."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app = app
        self._limit = limit
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count, or refuse."""
        if scope["type"] != "http" or scope["path"] in _ALWAYS:
            await self._app(scope, receive, send)
        elif self._running >= self._limit:
            response = render_http(503, "The server is busy; try again in a moment.", {"Retry-After": "1"})
            await response(scope, receive, send)
        else:
            self._running += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._running -= 1


def affordable_connections(wanted: int) -> int:
    """Raise this process's limit of descriptors as far as it may; how many connections of ``wanted`` that allows."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return wanted
    possible = max(1, (hard - _OTHERS) // _PER_CONNECTION)
    if possible < wanted:
        _logger.warning("%d connections instead of %d: this process may open %d files only", possible, wanted, hard)
    return min(wanted, possible)
