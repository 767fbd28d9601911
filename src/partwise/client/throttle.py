"""A limit on the bytes a second of all connections together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds of silence that may be made up for: pauses between two parts do not lower the rate.
_BURST_SECONDS = 0.25
#: Pieces of a tenth of a second, so that the flow is even and a wish to stop is heard soon.
_PIECE_SECONDS = 0.1
_SMALLEST_PIECE = 1024


class RateLimit:
    """A token bucket. Threads share it, and are served in the order in which they come."""

    def __init__(
        self,
        bytes_per_second: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = bytes_per_second, clock, sleep
        self._lock = threading.Lock()
        #: When the bytes that were asked for so far may all have passed.
        self._paid_until = clock()
        #: Bytes to ask for at once.
        self.piece_bytes = max(_SMALLEST_PIECE, int(bytes_per_second * _PIECE_SECONDS))

    def take(self, count: int) -> None:
        """Wait until ``count`` more bytes may pass."""
        with self._lock:
            now = self._clock()
            begin = max(self._paid_until, now - _BURST_SECONDS)
            self._paid_until = begin + count / self._rate
            pause = self._paid_until - now
        if pause > 0:
            self._sleep(pause)
