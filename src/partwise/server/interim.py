"""Interim answers on uvicorn's connections: ASGI has no message for them."""

from __future__ import annotations

from collections.abc import Mapping

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from partwise.http.interim import SendInterim


def interim_of(cycle: RequestResponseCycle) -> SendInterim:
    """Return what sends interim answers for one request. Call that on the event loop."""

    def send(status: int, reason: str, fields: Mapping[str, str]) -> bool:
        if cycle.response_started or cycle.disconnected or cycle.transport.is_closing():
            return False
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        cycle.transport.write("\r\n".join(lines).encode("latin-1"))
        return True

    return send
