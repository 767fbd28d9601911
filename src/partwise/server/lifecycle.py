"""The end of a server process: it says for a while that it is going away, then finishes what is in flight."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from partwise.http.problems import BUSY, refuse
from partwise.http.sending import Sending

_logger = logging.getLogger(__name__)

#: Seconds that requests have to tidy up at most, once they were told to end.
_TIDY_SECONDS = 5.0


@dataclass(slots=True)
class Lifecycle:
    """Progress of this process's shutdown."""

    #: It still serves, and says that it will not for long.
    draining: bool = False
    #: It takes no new connections. What is cancelled now has had its time.
    stopping: bool = False
    #: Requests that are handled now.
    handled: int = 0
    _none_handled: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def handling(self) -> Iterator[None]:
        """Count a request for as long as it is handled, also while it tidies up after it was cancelled."""
        self.handled += 1
        self._none_handled.clear()
        try:
            yield
        finally:
            self.handled -= 1
            if not self.handled:
                self._none_handled.set()

    async def requests_ended(self) -> None:
        """Wait until no request is handled any more, for a bounded time.

        A server that cancels requests does not wait for their end, and they need engine and catalog until then.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_TIDY_SECONDS):
                while self.handled:
                    await self._none_handled.wait()


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
            with self._lifecycle.handling():
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
