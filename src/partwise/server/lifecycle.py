"""The end of a server process: it says for a while that it is going away, then finishes what is in flight."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from partwise.http.problems import BUSY, refuse
from partwise.http.sending import Sending

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Lifecycle:
    """Progress of this process's shutdown."""

    #: It still serves, and says that it will not for long.
    draining: bool = False
    #: It takes no new connections. What is cancelled now has had its time.
    stopping: bool = False


class CutOff:
    """ASGI middleware that answers requests which are cut off at the end of ``shutdown_seconds``."""

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sending = Sending(send)
        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            if not self._lifecycle.stopping:
                raise
            path = (scope.get("raw_path") or scope["path"].encode()).decode("ascii", "replace")
            _logger.warning("%s %s was aborted because the server stops", scope["method"], path)
            if sending.begun:  # the client sees that the answer breaks off
                return
            detail = "The server is stopping, and the request did not finish in time. Send it again in a moment."
            await refuse(BUSY, detail, {"Retry-After": "2"}, setting="shutdown_seconds")(scope, receive, send)
