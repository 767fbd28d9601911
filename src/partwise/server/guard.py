"""What protects a server without authentication: it serves this machine, and only pages that it served itself.

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

from partwise.protocols.pulp.problems import render_http

#: A name, or an address in brackets; and a port.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]*)?", re.ASCII)

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without a port, means this machine."""
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
            await render_http(404, "The server has nothing at this path.")(scope, receive, send)
        elif scope["type"] == "http" and b"%00" in scope["query_string"]:
            await render_http(400, "A query cannot hold a NUL character.")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class MethodOverride:
    """ASGI middleware that puts the method of ``X-HTTP-Method-Override`` into the place of the one that was sent.

    tus asks for that (for clients that can send only GET and POST). It comes before whatever looks at the method to
    decide who may do what: a check that sees another method than the handler lets changes through as reads.
    """

    def __init__(self, app: ASGIApp, below: str) -> None:
        self._app = app
        self._below = below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with the method that is meant."""
        if scope["type"] == "http" and scope["path"].startswith(self._below):
            meant = Headers(scope=scope).get("x-http-method-override")
            if meant is not None:
                scope = {**scope, "method": meant.upper()}
        await self._app(scope, receive, send)


class LoopbackOnly:
    """ASGI middleware that answers 403 to what does not come from this machine by its own name."""

    def __init__(self, app: ASGIApp, origins: Sequence[str] = ()) -> None:
        self._app = app
        #: Others whose pages may send changes, since the operator said so.
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        refusal = _refusal(scope, self._origins) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await render_http(403, refusal)(scope, receive, send)


def _refusal(scope: Scope, origins: frozenset[str]) -> str | None:
    headers = Headers(scope=scope)
    hosts = headers.getlist("host")
    host = hosts[0] if len(hosts) == 1 else ""  # of two, nobody knows which one others would go by
    if not is_loopback(_host_name(host)):
        return "Without authentication this server answers to names of this machine only, such as localhost."
    claimed = headers.getlist("origin")
    origin = ", ".join(claimed) if claimed else None  # several at once are no server's
    if origin in origins:
        return None
    if origin is not None and scope["method"] not in _SAFE and origin != f"{scope['scheme']}://{host}":
        return "Without authentication this server takes changes from its own pages only."
    return None


def _host_name(host: str) -> str:
    """The host of a Host field (RFC 9110, section 7.2), or an empty string when it is none."""
    match = _HOST.fullmatch(host)
    return match[1] if match else ""
