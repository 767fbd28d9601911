"""The bodies that this process receives now, so that they end when their upload takes no more bytes.

A storage that writes in place sends writers away by itself (``Storage.exclude_writers``), in whatever process they are.
Where each chunk is an object nobody can: so each process looks, twice a second and for all of its uploads at once,
which of them are not open any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from partwise.engine.ports import Catalog


class Reception(Protocol):
    """A body that is being received."""

    def preempt(self) -> None:
        """End it."""


class Receptions:
    """The receptions of one process, by upload."""

    def __init__(self) -> None:
        self._running: dict[str, set[Reception]] = {}

    @contextmanager
    def entered(self, upload_id: str, reception: Reception) -> Iterator[None]:
        """Count a reception while the context lasts."""
        running = self._running.setdefault(upload_id, set())
        running.add(reception)
        try:
            yield
        finally:
            running.discard(reception)
            if not running:
                self._running.pop(upload_id, None)

    def are_any(self) -> bool:
        """Return whether any body is being received."""
        return bool(self._running)

    def preempt(self, upload_id: str) -> None:
        """End all receptions of an upload."""
        for reception in tuple(self._running.get(upload_id, ())):
            reception.preempt()

    async def preempt_closed(self, catalog: Catalog) -> None:
        """End the receptions of uploads that are not open any more."""
        if self._running:
            for upload_id in await catalog.closed_uploads(list(self._running)):
                self.preempt(upload_id)
