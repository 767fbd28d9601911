"""The feed of events as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Sequence

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from partwise.core.errors import CursorExpired
from partwise.core.events import EventPage, EventType
from partwise.engine.events import follow_events
from partwise.http.accept import asks_for
from partwise.http.intake import ABORT
from partwise.http.problems import BASE, render_error
from partwise.http.sending import LASTING
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.render import event_out
from partwise.protocols.pulp.responses import JSON

MEDIA_TYPE = "text/event-stream"
#: Seconds of silence after which a comment is sent: what the client gets if it names none, and bounds of what it names.
SILENCE, SHORTEST_SILENCE, LONGEST_SILENCE = 15, 1, 55
#: Seconds after which it is looked again whether the client may still read.
TRUST_SECONDS = 5.0
#: Seconds after which a stream ends where the server below is another than our own: such a one may tell nobody that it
#: stops, and wait for the answers that are on their way.
LIFETIME_SECONDS = 40.0
#: Milliseconds after which a client connects again; spread, so that not all come at once after a restart.
_RETRY = (1000, 3000)


def wants_stream(request: Request) -> bool:
    """Return whether the client asks for a stream rather than for a page."""
    return request.method == "GET" and asks_for(request, MEDIA_TYPE, rather_than=JSON)


class EventStream(Response):
    """Answer with events from the position ``after`` on, until the client leaves or the server is about to stop."""

    def __init__(
        self, api: Api, request: Request, *, after: int | None, types: Sequence[EventType], silence: float
    ) -> None:
        super().__init__()
        self._api = api
        self._request = request
        self._after = after
        self._types = types
        self._lifetime = float("inf") if ABORT in request.scope.get("extensions", {}) else LIFETIME_SECONDS
        longest = LONGEST_SILENCE if self._lifetime > LIFETIME_SECONDS else SILENCE
        self._silence = min(max(silence, SHORTEST_SILENCE), longest)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. TooManyStreams before anything was sent."""
        engine = self._api.engine
        scope[LASTING] = True
        # nginx would hold events back until its buffer is full.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept"}
        with engine.workers.events.stream(self._api.who(self._request).name, engine.limits.max_event_streams):
            await StreamingResponse(self._blocks(), 200, headers, MEDIA_TYPE)(scope, receive, send)

    async def _blocks(self) -> AsyncIterator[str]:
        yield f"retry: {random.randint(*_RETRY)}\n"  # noqa: S311 (it protects nothing)
        after, trusted = self._after, time.monotonic()
        end = trusted + self._lifetime
        while True:
            try:
                async for page in self._pages(after):
                    if time.monotonic() >= trusted + TRUST_SECONDS:
                        if not await self._api.still_known(self._request):
                            return
                        trusted = time.monotonic()
                    yield _block(page)
                    if time.monotonic() >= end:
                        return
                return
            except CursorExpired as error:
                # An answer of 410 would close an EventSource for good, and its page could not see why.
                yield self._expired(error)
                after = None

    def _pages(self, after: int | None) -> AsyncIterator[EventPage]:
        who = self._api.who(self._request)
        return follow_events(self._api.engine, who, after=after, types=self._types, silence=self._silence)

    def _expired(self, error: CursorExpired) -> str:
        problem = render_error(error)
        problem.place_below(self._request.scope.get(BASE, ""))
        return f"event: {problem.problem.name}\ndata: {bytes(problem.body).decode()}\n\n"


def _block(page: EventPage) -> str:
    """Return the page's events; of none, a comment. Both say where the client goes on after a break."""
    if not page.events:
        return f":\nid: {page.cursor}\n\n"
    models = map(event_out, page.events)
    return "".join(f"id: {model.cursor}\nevent: {model.type}\ndata: {model.model_dump_json()}\n\n" for model in models)
