"""Counts wrong tokens by the address that they come from, so that who guesses costs the database nothing."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable

from starlette.types import Message, Scope, Send

_MINUTE = 60.0
#: Addresses that are remembered; with more of them all begin anew.
_REMEMBERED = 10_000


class FailedSignIns:
    """The failures of one process within the minute that an address's first one began. ``limit`` None: no limit."""

    def __init__(self, limit: int | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._counts: dict[str, tuple[float, int]] = {}

    def wait_of(self, scope: Scope) -> int:
        """Return the seconds until the address of a request may try again; 0: now."""
        if self._limit is None or not self._counts or (address := _address(scope)) is None:
            return 0
        until, count = self._counts.get(address, (0.0, 0))
        return max(0, math.ceil(until - self._monotonic())) if count >= self._limit else 0

    def counting(self, scope: Scope, send: Send) -> Send:
        """Return ``send`` for a request that has its token in the body: a failure is noted when the answer is 401."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                self.count(scope)
            await send(message)

        return counted

    def count(self, scope: Scope) -> None:
        """Note a failure."""
        if self._limit is None or (address := _address(scope)) is None:
            return
        now = self._monotonic()
        until, count = self._counts.get(address, (0.0, 0))
        if until <= now:
            until, count = now + _MINUTE, 0
            if len(self._counts) >= _REMEMBERED:
                self._counts.clear()
        self._counts[address] = until, count + 1


def _address(scope: Scope) -> str | None:
    """Return the client's address, as trusted proxies tell it; of IPv6 the network of one customer. None: unknown."""
    client = scope.get("client")
    if not client:
        return None
    try:
        address = ipaddress.ip_address(client[0].partition("%")[0])
    except ValueError:
        return str(client[0])
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address), 64), strict=False))
