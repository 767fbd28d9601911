"""Read the feed of events, and wait for new ones: a page at a time, or as a stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

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
        if not page.more:
            await engine.workers.events.wait(after, left, owner=owner)


async def follow_events(
    engine: Context, who: Principal, *, after: int | None = None, types: Sequence[EventType] = (), silence: float
) -> AsyncIterator[EventPage]:
    """Yield page after page of what ``read_events`` returns, until the process is about to stop.

    The first page comes at once. A page without events, whose cursor may have moved on, comes whenever there was none
    for ``silence`` seconds. CursorExpired, also later, when events were deleted that the caller has not taken yet.
    """
    owner, watch = None if who.admin else who.name, engine.workers.events
    spoken = float("-inf")
    while True:
        page = await engine.catalog.list_events(owner, after=after, types=types)
        now = time.monotonic()
        if page.events or now >= spoken + silence:
            yield page
            now = spoken = time.monotonic()
        if watch.streams_end:
            return
        after = page.cursor
        if not page.more:
            await watch.wait(after, spoken + silence - now, owner=owner, is_stream=True)


async def newest_position(engine: Context) -> int:
    """Return the position of the newest event of anyone, for readers that want only what happens from now on."""
    return await engine.catalog.newest_event()
