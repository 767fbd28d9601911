"""How long to wait for the next bytes of a body: a client may fall silent, and may be slow, within bounds."""

from __future__ import annotations

import math


class Pace:
    """An account of patience, in seconds. Waiting spends it, bytes earn it, and it never exceeds ``window``.

    So a client may be silent for ``window`` seconds once, but on the whole has to send ``rate`` bytes a second. Only
    waiting counts: what the server takes to write is not the client's slowness. ``rate`` 0: any byte earns it all.
    """

    def __init__(self, window: float, rate: float) -> None:
        self._window = window
        self._rate = rate
        self._left = window

    @property
    def patience(self) -> float:
        """How many seconds the next wait may take; 0 when it is used up."""
        return max(0.0, self._left)

    @property
    def complaint(self) -> str:
        """What to tell a client whose time is up."""
        if self._rate:
            return f"The body came too slowly, or not at all: send at least {self._rate:g} bytes a second."
        return f"No byte of the body came for {self._window:g} seconds."

    def waited(self, seconds: float) -> None:
        """So long nothing came, or it is not known yet what."""
        self._left -= seconds

    def received(self, size: int) -> None:
        """These bytes came."""
        if size:
            earned = size / self._rate if self._rate else math.inf
            self._left = min(self._window, self._left + earned)
