"""Minimum-rate timeout: limits of silence and slowness for the bytes of a body."""

from __future__ import annotations

import math

from partwise.core.errors import BodyInterrupted


class Pace:
    """An account of patience, in seconds. Waiting spends it, bytes earn it, and it never exceeds ``window``.

    So a client may be silent for ``window`` seconds once, but on the whole has to send ``rate`` bytes a second. Only
    waiting counts: what the server takes to write is not the client's slowness. ``rate`` 0: any byte earns it all.
    """

    def __init__(self, window: float, rate: float) -> None:
        self._window = window
        self._rate = rate
        self._left = window
        #: Seconds since the last byte.
        self._silence = 0.0

    @property
    def patience(self) -> float:
        """Return the seconds that the next wait may take; 0 if the time is used up."""
        return max(0.0, self._left)

    def given_up(self) -> BodyInterrupted:
        """Return the error to raise when the time is used up."""
        if self._silence >= self._window:
            message = f"No byte of the body came for {self._window:g} seconds."
            return BodyInterrupted(message, setting="body_idle_timeout_seconds")
        message = f"The body arrived too slowly. Send at least {self._rate:g} bytes per second."
        return BodyInterrupted(message, setting="body_min_rate")

    def waited(self, seconds: float) -> None:
        """So long nothing came, or it is not known yet what."""
        self._left -= seconds
        self._silence += seconds

    def received(self, size: int) -> None:
        """These bytes came."""
        if size:
            self._silence = 0.0
            earned = size / self._rate if self._rate else math.inf
            self._left = min(self._window, self._left + earned)
