"""Watches the feed for new events: one look for all who wait in this process, and none while nobody does.

A *poll* is one request that waits for one page. A *stream* is a request that reads page after page until it is ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from partwise.core.errors import CursorExpired, PartwiseError, TooManyStreams
from partwise.engine.ports import Catalog

log = logging.getLogger(__name__)

#: Seconds from one look to the next.
POLL = 0.2
#: Events of one look whose owners are read.
MOST_LOOKED_AT = 100


@dataclass(slots=True)
class _Waiter:
    """One who waits for an event of ``owner`` (None: of anyone) behind ``position``."""

    position: int
    owner: str | None
    is_stream: bool


class EventWatch:
    """Wakes up those who wait for events. Events of all processes count."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._waiting: dict[asyncio.Future[None], _Waiter] = {}
        self._streams: Counter[str] = Counter()
        #: The newest position at the last look.
        self._seen = 0
        self._task: asyncio.Task[None] | None = None
        #: Whether waits return at once.
        self.closed = False
        #: Tells whether the process stops soon. Streams end then, and polls go on.
        self.draining: Callable[[], bool] = lambda: False
        #: Tells whether the process has begun to stop. All waits end then.
        self.stopping: Callable[[], bool] = lambda: False

    @property
    def streams_end(self) -> bool:
        """Return whether streams have to end after their current page."""
        return self.closed or self.draining()

    @contextmanager
    def stream(self, owner: str, limit: int | None) -> Iterator[None]:
        """Count a stream of ``owner`` inside the context. TooManyStreams beyond ``limit``."""
        if limit is not None and self._streams[owner] >= limit:
            raise TooManyStreams(limit)
        self._streams[owner] += 1
        try:
            yield
        finally:
            self._streams[owner] -= 1
            if not self._streams[owner]:
                del self._streams[owner]

    async def wait(self, position: int, seconds: float, *, owner: str | None = None, is_stream: bool = False) -> None:
        """Return once there is an event of ``owner`` (None: of anyone) behind ``position``, after ``seconds``, or once
        ``close`` was called. It may return earlier, where it is not known whose the events are."""
        if self.closed:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = _Waiter(position, owner, is_stream)
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name="watch events")
        try:
            await asyncio.wait({waiter}, timeout=seconds)
        finally:
            self._waiting.pop(waiter, None)

    def close(self) -> None:
        """End all waits, now and from now on: the process stops serving."""
        self.closed = True
        self._wake(lambda _waiter: True)

    async def stop(self) -> None:
        """End the looks."""
        self.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _watch(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(POLL)
                if self.stopping():
                    self.close()
                elif self.draining():
                    self._wake(lambda waiter: waiter.is_stream)
                await self._look()
        finally:
            self._task = None

    async def _look(self) -> None:
        try:
            before, newest = self._seen, await self._catalog.newest_event()
            owners = await self._owners(before, newest)
        except PartwiseError as error:
            log.warning("cannot read the event feed: %s", error)
            return
        self._seen = newest

        def concerns(waiter: _Waiter) -> bool:
            if waiter.position >= newest:
                return False
            if owners is None or waiter.owner is None or waiter.owner in owners or waiter.position < before:
                return True
            waiter.position = newest  # what came was of others
            return False

        self._wake(concerns)

    async def _owners(self, after: int, newest: int) -> set[str] | None:
        """Return whose the events behind ``after`` are; None when there are too many to look at.

        Else each event would have all who wait ask the database again, whomever it is about.
        """
        if newest == after:
            return set()
        if newest - after > MOST_LOOKED_AT:
            return None
        try:
            page = await self._catalog.list_events(None, after=after, limit=MOST_LOOKED_AT)
        except CursorExpired:
            return None
        # Events that came since ``newest`` was read may be among them: to wake too many is harmless.
        return {event.owner for event in page.events}

    def _wake(self, concerns: Callable[[_Waiter], bool]) -> None:
        for future, waiter in self._waiting.items():
            if not future.done() and concerns(waiter):
                future.set_result(None)
