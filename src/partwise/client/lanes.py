"""A thread that carries out what it is given, in batches and in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from partwise.client.errors import Cancelled

T = TypeVar("T")


class Lane(Generic[T]):
    """Collects items while ``work`` is busy with earlier ones. ``most``: items of one batch; 0: all that wait."""

    def __init__(self, name: str, work: Callable[[list[T]], None], *, most: int = 0) -> None:
        self._work, self._most = work, most
        self._items: list[T] = []
        self._over = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Add an item. Never waits."""
        with self._changed:
            self._items.append(item)
            self._changed.notify()

    def check(self) -> None:
        """Raise what ``work`` has raised."""
        if self._error is not None:
            raise self._error

    def finish(self, cancelled: threading.Event) -> None:
        """Wait until everything is carried out. Raises what ``work`` raised; Cancelled when asked to stop."""
        self._end()
        while self._thread.is_alive():
            self._thread.join(0.1)
            if cancelled.is_set():
                raise Cancelled("Stopped.")
        self.check()

    def abandon(self, stop: Callable[[], None], *, seconds: float = 2.0) -> None:
        """Drop what waits, and wait a moment for the thread, which ends after the running ``work`` at the latest.

        ``stop`` makes a running ``work`` end soon, and may be repeated.
        """
        with self._changed:
            self._items.clear()
        self._end()
        deadline = time.monotonic() + seconds
        while self._thread.is_alive() and time.monotonic() < deadline:
            stop()
            self._thread.join(0.05)

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._over)
                if not self._items:
                    return
                batch = self._items[: self._most or None]
                del self._items[: len(batch)]
            try:
                self._work(batch)
            except BaseException as error:
                self._error = error
                return
