"""Effects of reverse proxies: the base path, the client's address, and the scheme.

Inside, paths begin at the root, whether the proxy takes ``base_path`` off or passes it on. Whoever tells a client of a
path puts ``base_path`` before it: ``Site.base``, and ``BASE`` in the scope of a request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from partwise.http.problems import BASE

#: The address that a request came from, whatever proxies say, in its scope.
PEER = "partwise.peer"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxied:
    """ASGI middleware; stands before all others. ``base`` is empty, or begins with a slash and does not end with one.

    ``trusted`` are the networks of proxies whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
    """

    def __init__(self, app: ASGIApp, base: str = "", trusted: Sequence[Network] = ()) -> None:
        self._app = app
        self._base = base
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with what the client sees put in order."""
        if scope["type"] != "http" or not (self._base or self._trusted):
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        scope = {**scope, PEER: client[0] if client else None}
        if self._base and scope["path"] == self._base and scope["method"] in ("GET", "HEAD"):
            # Links of the page are relative.
            await RedirectResponse(f"{self._base}/", 308)(scope, receive, send)
            return
        changed = {**scope, BASE: self._base}
        if self._base and scope["path"].startswith(f"{self._base}/"):
            changed["path"] = scope["path"][len(self._base) :]
        self._believe(changed)
        await self._app(changed, receive, send)

    def _believe(self, scope: Scope) -> None:
        """Put the client's address and scheme into the scope, as far as a trusted proxy tells them."""
        client = scope.get("client")
        if client is None or not self._is_trusted(client[0]):
            return
        headers = Headers(scope=scope)
        hops = [hop.strip() for value in headers.getlist("x-forwarded-for") for hop in value.split(",")]
        # Each proxy appends whom it heard: the last one that is no proxy of ours is the client, all before are claims.
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                break
            scope["client"] = (str(address), 0)
            if not self._is_trusted(str(address)):
                break
        schemes = headers.getlist("x-forwarded-proto")
        if len(schemes) == 1 and schemes[0].lower() in ("http", "https"):
            scope["scheme"] = schemes[0].lower()

    def _is_trusted(self, client: str) -> bool:
        return is_within(client, self._trusted)


def is_within(client: str, networks: Sequence[Network]) -> bool:
    """Return whether an address is in one of the networks."""
    address = _address(client)
    return address is not None and any(address in network for network in networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, perhaps with a port or in brackets; None when it is none."""
    bare = text.removeprefix("[").partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
