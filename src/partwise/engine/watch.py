"""Watches the feed for new events: one look for all who wait in this process, and none while nobody does."""

from __future__ import annotations

import asyncio
import logging

from partwise.core.errors import PartwiseError
from partwise.engine.ports import Catalog

log = logging.getLogger(__name__)

#: Seconds from one look to the next.
POLL = 0.2


class EventWatch:
    """Wakes up those who wait for events. Events of all processes count."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._task: asyncio.Task[None] | None = None
        #: Whether waits return at once.
        self.closed = False

    async def wait(self, position: int, seconds: float) -> None:
        """Return once there is an event behind ``position``, after ``seconds``, or once ``close`` was called."""
        if self.closed:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = position
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name="watch events")
        try:
            await asyncio.wait({waiter}, timeout=seconds)
        finally:
            self._waiting.pop(waiter, None)

    def close(self) -> None:
        """End all waits, now and from now on: the process stops serving."""
        self.closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

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
                await self._look()
        finally:
            self._task = None

    async def _look(self) -> None:
        try:
            newest = await self._catalog.newest_event()
        except PartwiseError as error:
            log.warning("the feed could not be looked at: %s", error)
            return
        for waiter, position in self._waiting.items():
            if newest > position and not waiter.done():
                waiter.set_result(None)
