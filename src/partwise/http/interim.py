"""Interim answers (RFC 9110, section 15.2): what is told of a request while it is still being received."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from starlette.requests import Request

#: The name, among ``scope["extensions"]``, of a function that sends an interim answer.
INTERIM = "partwise.interim"


class SendInterim(Protocol):
    """Sends an interim answer on the connection of one request."""

    def __call__(self, status: int, reason: str, fields: Mapping[str, str]) -> bool:
        """Return whether it was sent: not once the final answer has begun, nor when the client is gone."""


def send_interim(request: Request, status: int, reason: str, fields: Mapping[str, str]) -> bool:
    """Send an interim answer with a status from 102 to 199; return whether it was sent.

    It is not where the server has no way to (ASGI knows none), nor to a client of HTTP/1.0, which understands none.
    """
    if request.scope.get("http_version") != "1.1":
        return False
    send: SendInterim | None = request.scope.get("extensions", {}).get(INTERIM)
    return send is not None and send(status, reason, fields)
