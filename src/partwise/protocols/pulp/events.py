"""Calls on the feed of events."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from partwise.core.errors import BadRequest
from partwise.core.events import EventType
from partwise.engine import events
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.models import EventPage
from partwise.protocols.pulp.render import event_out
from partwise.protocols.pulp.requests import chosen, page_limit, whole_number
from partwise.protocols.pulp.responses import json_response

#: The longest wait for events, in seconds: proxies often end a silent request after a minute.
MAX_WAIT = 55


async def index(api: Api, request: Request) -> Response:
    """List events, oldest first, from a cursor on; wait for new ones."""
    who = api.who(request)
    wait = whole_number(request, "wait", 0)
    after = request.query_params.get("after", "")
    position: int | None
    if after == "now":
        position = await events.newest_position(api.engine)
    elif after and not after.isdecimal():
        raise BadRequest("'after' is not a cursor. Send a cursor from the feed, or 'now'.", field="after")
    else:
        position = whole_number(request, "after", 0) if after else None
    page = await events.read_events(
        api.engine,
        who,
        after=position,
        types=[EventType(name) for name in chosen(request, "types", EventType, what="type")],
        limit=page_limit(request),
        wait=min(wait, MAX_WAIT),
    )
    model = EventPage(events=[event_out(event) for event in page.events], cursor=str(page.cursor), more=page.more)
    return json_response(request, model, headers={"Cache-Control": "no-store"})
