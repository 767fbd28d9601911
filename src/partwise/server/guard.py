"""Host and origin check of a server without authentication: it serves only this machine and its own pages.

A page on any site can make the visitor's browser send requests to this machine. Two checks stop that: the Host field
must be a name of this machine (DNS rebinding brings a foreign name), and an unsafe method with an Origin must come
from this very server (CSRF).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from partwise.http.problems import BAD_QUERY, FOREIGN_HOST, FOREIGN_ORIGIN, NO_SUCH_PATH, Problem, refuse

#: A name, or an address in brackets; and a port.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]*)?", re.ASCII)

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Return whether a host name or address, without a port, means this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class NoNul:
    """ASGI middleware that refuses the NUL character in paths and queries: no name has one, and not every database
    can be asked for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] == "http" and "\0" in scope["path"]:
            await refuse(NO_SUCH_PATH)(scope, receive, send)
        elif scope["type"] == "http" and b"%00" in scope["query_string"]:
            await refuse(BAD_QUERY)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class LoopbackOnly:
    """ASGI middleware that answers 403 to what does not come from this machine by its own name."""

    def __init__(self, app: ASGIApp, origins: Sequence[str] = ()) -> None:
        self._app = app
        #: Others whose pages may send changes, since the operator said so.
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        problem = _refused(scope, self._origins) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await refuse(problem, _DETAILS[problem])(scope, receive, send)


_DETAILS = {
    FOREIGN_HOST: (
        "Without authentication the server accepts only names of its own machine. "
        "Use localhost, or turn on authentication."
    ),
    FOREIGN_ORIGIN: (
        "Without authentication the server accepts changes only from its own pages. "
        "Add the origin to cors_origins to allow it."
    ),
}


def _refused(scope: Scope, origins: frozenset[str]) -> Problem | None:
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    host = hosts[0] if len(hosts) == 1 else ""  # of two, nobody knows which one others would go by
    if not is_loopback(_host_name(host)):
        return FOREIGN_HOST
    claimed = headers.getlist("origin")
    origin = ", ".join(claimed) if claimed else None  # several at once are no server's
    if origin in origins:
        return None
    if origin is not None and scope["method"] not in _SAFE and origin != f"{scope['scheme']}://{host}":
        return FOREIGN_ORIGIN
    return None


def _host_name(host: str) -> str:
    """The host of a Host field (RFC 9110, section 7.2), or an empty string when it is none."""
    match = _HOST.fullmatch(host)
    return match[1] if match else ""
