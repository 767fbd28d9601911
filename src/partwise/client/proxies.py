"""Proxies from the environment, by the rules of curl and requests.

``http_proxy``, ``https_proxy`` and ``all_proxy`` name a proxy. The names may be in capitals, except ``HTTP_PROXY``,
which a CGI request could set. ``no_proxy`` lists the hosts to connect to directly: host names, which include their
subdomains and may have a port; addresses; networks; or ``*``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

from partwise.client.errors import ClientError

_USUAL_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy: its URL without credentials, and these as ``name:password``."""

    url: str
    credentials: str | None


def proxy_for(server: SplitResult, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy on the way to ``server``, if there is one. ClientError: it is of a kind that this client cannot use."""
    host = server.hostname or ""
    port = server.port or _USUAL_PORTS[server.scheme]
    if _is_direct(host, port, _value(environment, "no_proxy")):
        return None
    name = f"{server.scheme}_proxy"
    value = environment.get(name, "").strip() if name == "http_proxy" else _value(environment, name)
    if not value:
        name, value = "all_proxy", _value(environment, "all_proxy")
    return _parse(name, value) if value else None


def _value(environment: Mapping[str, str], name: str) -> str:
    return (environment.get(name) or environment.get(name.upper()) or "").strip()


def _parse(name: str, value: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError:
        raise ClientError(f"{name} in the environment is not a proxy URL. Write one like http://proxy:3128.") from None
    if parts.scheme not in ("http", "https"):
        raise ClientError(
            f"{name} in the environment names a {parts.scheme} proxy. This client can use http:// and https:// "
            "proxies. Set no_proxy for a server that is reached without one."
        )
    if not parts.hostname:
        raise ClientError(f"{name} in the environment is not a proxy URL. Write one like http://proxy:3128.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    credentials = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(f"{parts.scheme}://{host}:{port or _USUAL_PORTS[parts.scheme]}", credentials)


def _is_direct(host: str, port: int, entries: str) -> bool:
    return any(_names(entry, host.rstrip("."), port) for entry in entries.replace(",", " ").split())


def _names(entry: str, host: str, port: int) -> bool:
    """Return whether an entry of ``no_proxy`` names this host."""
    if entry == "*":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    try:
        if address is not None:
            return address in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # with a port, or a name
    name, separator, number = entry.rpartition(":")
    if separator and number.isdecimal():
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").strip(".").lower()
    return bool(entry) and (host.lower() == entry or (address is None and host.lower().endswith(f".{entry}")))
