"""Read the feed of events, and wait for new ones."""

from __future__ import annotations

import time
from collections.abc import Sequence

from partwise.core.events import EventPage, EventType
from partwise.core.records import Principal
from partwise.engine.context import Context


async def read_events(
    engine: Context,
    who: Principal,
    *,
    after: int | None = None,
    types: Sequence[EventType] = (),
    limit: int = 100,
    wait: float = 0.0,
) -> EventPage:
    """Return the events that ``who`` may see, in their order, behind the position ``after``.

    ``after`` None: from the oldest that is kept. With ``wait`` and no such event, returns once there is one, after
    that many seconds at most. An event was committed before it is returned, and may be returned again. CursorExpired.
    """
    owner = None if who.admin else who.name
    deadline = time.monotonic() + wait
    while True:
        page = await engine.catalog.list_events(owner, after=after, types=types, limit=limit)
        left = deadline - time.monotonic()
        if page.events or left <= 0 or engine.workers.events.closed:
            return page
        after = page.cursor
        await engine.workers.events.wait(after, left)


async def newest_position(engine: Context) -> int:
    """Return the position of the newest event of anyone, for readers that want only what happens from now on."""
    return await engine.catalog.newest_event()
