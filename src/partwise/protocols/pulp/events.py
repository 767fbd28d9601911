"""Calls on the feed of events."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from partwise.core.errors import BadRequest
from partwise.core.events import EventType
from partwise.engine import events
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.event_stream import SILENCE, EventStream, wants_stream
from partwise.protocols.pulp.models import EventPage
from partwise.protocols.pulp.render import event_out
from partwise.protocols.pulp.requests import chosen, page_limit, whole_number
from partwise.protocols.pulp.responses import json_response

#: The longest wait for events, in seconds: proxies often end a silent request after a minute.
MAX_WAIT = 55

_CURSOR = re.compile(r"[0-9]{1,18}", re.ASCII)


async def index(api: Api, request: Request) -> Response:
    """List events, oldest first, from a cursor on; wait for new ones, or stream them."""
    who = api.who(request)
    streams = wants_stream(request)
    wait = whole_number(request, "wait", SILENCE if streams else 0)
    types = [EventType(name) for name in chosen(request, "types", EventType, what="type")]
    # An EventSource that connects again has the URL of its first request: what it has seen since then counts.
    seen = request.headers.get("last-event-id") if streams else None
    after = await _position(api, seen or request.query_params.get("after", ""))
    if streams:
        return EventStream(api, request, after=after, types=types, silence=wait)
    page = await events.read_events(
        api.engine, who, after=after, types=types, limit=page_limit(request), wait=min(wait, MAX_WAIT)
    )
    model = EventPage(events=[event_out(event) for event in page.events], cursor=str(page.cursor), more=page.more)
    return json_response(request, model, headers={"Cache-Control": "no-store", "Vary": "Accept"})


async def _position(api: Api, cursor: str) -> int | None:
    """Return the position that a cursor stands for; None for the oldest event. BadRequest."""
    if cursor == "now":
        return await events.newest_position(api.engine)
    if cursor and not _CURSOR.fullmatch(cursor):
        raise BadRequest("'after' is not a cursor. Send a cursor from the feed, or 'now'.", field="after")
    return int(cursor) if cursor else None
