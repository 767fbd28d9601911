"""The limits that a server has, and two of them: requests at once, and connections with the descriptors for them."""

from __future__ import annotations

import logging
import math
import resource
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from partwise.http.problems import BUSY, refuse
from partwise.server.settings import Settings

_logger = logging.getLogger(__name__)

#: Descriptors of one connection at most: its socket, a second one of that for the body, and the file.
_PER_CONNECTION = 3
#: And of all else: the records, locks, the artifacts that are being hashed.
_OTHERS = 256

#: A server that can take no more connections than this is of no use to anyone.
_LEAST = 64

#: The settings that are limits, each with the figure that comes near it, where there is one. All are in /metrics.
LIMITS: Mapping[str, str | None] = {
    "max_upload_size": None,
    "quota": None,
    "max_open_uploads": None,
    "max_artifacts": None,
    "max_completed_uploads": None,
    "max_event_streams": None,
    "max_chunks": None,
    "free_space_floor": "partwise_storage_bytes",
    "idle_expiry_days": None,
    "completed_expiry_days": None,
    "max_connections": "partwise_connections",
    "max_requests": "partwise_requests_in_flight",
    "max_failed_sign_ins": None,
    "header_timeout_seconds": None,
    "body_idle_timeout_seconds": None,
    "body_min_rate": None,
}

#: What is answered however busy the server is: else its supervisor would end it for that.
_ALWAYS = frozenset({"/livez", "/readyz", "/metrics"})


def limit_values(settings: Settings, connections: int) -> dict[str, float]:
    """The value of each limit for the whole server; infinite where there is none.

    ``connections``: how many each process takes, as ``affordable_connections`` says.
    """
    values = {name: math.inf if (value := getattr(settings, name)) is None else float(value) for name in LIMITS}
    values["max_connections"] = settings.workers * connections
    values["max_requests"] *= settings.workers
    return values


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
            detail = "Too many requests are in progress. Try again in a moment."
            response = refuse(BUSY, detail, {"Retry-After": "1"}, setting="max_requests")
            await response(scope, receive, send)
        else:
            self._running += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._running -= 1


class TooFewDescriptors(RuntimeError):
    """The process may open too few files to serve; ``str`` says what to do."""


def affordable_connections(wanted: int) -> int:
    """Raise this process's limit of descriptors as far as it may; how many connections of ``wanted`` that allows.

    TooFewDescriptors when these are hardly any.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return wanted
    possible = (hard - _OTHERS) // _PER_CONNECTION
    if possible < min(wanted, _LEAST):
        needed = _OTHERS + _PER_CONNECTION * wanted
        raise TooFewDescriptors(
            f"A process may open only {hard} files here, and needs {needed} for {wanted} connections: raise the limit "
            f"(ulimit -n {needed}; LimitNOFILE={needed} in a unit of systemd)."
        )
    if possible < wanted:
        _logger.warning(
            "max_connections is lowered to %d from %d, because this process may open only %d files. Raise that limit "
            "(ulimit -n)",
            possible,
            wanted,
            hard,
        )
    return min(wanted, possible)
