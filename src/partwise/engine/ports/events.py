"""The outbox: what happened, for applications that have to be told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from partwise.core.events import EventPage


class EventRecords(Protocol):
    """Events. The catalog's other methods write them, in the transactions that make them true (``core/events.py``)."""

    async def list_events(
        self, owner: str | None, *, after: int | None, types: Sequence[str] = (), limit: int = 100
    ) -> EventPage:
        """Return events of ``owner`` (None: of anyone) behind the position ``after`` (None: all that are kept).

        Whoever goes on from the page's cursor misses none, whenever its transaction is committed. CursorExpired.
        """

    async def newest_event(self) -> int:
        """Return the position of the newest event; 0 when there was none yet."""

    async def prune_events(self, before: datetime) -> int:
        """Forget some of the oldest events that were created before that time; how many. 0: none are left."""
