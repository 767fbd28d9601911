"""Pauses between looks at something that tells no news by itself: short at first, then longer and longer."""

from __future__ import annotations


class Backoff:
    """The pauses of one wait, in seconds: from ``first`` to ``longest``, each ``factor`` times the one before."""

    def __init__(self, first: float, longest: float, factor: float = 2) -> None:
        self._first, self._longest, self._factor = first, longest, factor
        self._next = first

    def take(self) -> float:
        """The next pause; the one after it is longer."""
        pause = self._next
        self._next = min(pause * self._factor, self._longest)
        return pause

    def reset(self) -> None:
        """There was news: begin with the first again."""
        self._next = self._first
