"""Chunk size and parallelism of a transfer. Pure: the caller passes the time and the bytes.

A transfer begins with one small part. From what that takes, the line is known: parts grow until each takes a few
seconds, so that the cost of a request does not count and a cut loses little. Connections are added while they bring
more, since one alone rarely fills a long line, and several only wait for each other on a thin one. The upload page
goes by the same rule (``web/src/transfer/adapt.ts``).
"""

from __future__ import annotations

KIB = 1024
#: The first part: on a line of 1 Mbit/s it takes two seconds.
FIRST_BYTES = 256 * KIB
#: Parts are multiples of it, and never smaller unless the file is.
SMALLEST_BYTES = 64 * KIB
#: Seconds that a part is to take; fewer after cuts.
LONGEST_SECONDS, SHORTEST_SECONDS = 4.0, 1.0
#: Bytes a second of the first part, above which all connections are opened at once.
_FAST = 4 * 1024 * KIB
_WINDOW_SECONDS = 1.5
#: Seconds of a new number of connections that tell nothing: what goes out first fills buffers, not the line.
_SETTLING_SECONDS = 1.0
#: A step up is kept if it brings this much more.
_WORTHWHILE = 1.1
#: Windows to stay at a number of connections that was found good before the next is tried: lines change.
_REST_WINDOWS = 12
#: Between two parts of a connection there are fewer on their way for a moment; that spoils no window.
_GAP_SECONDS = 0.3
#: Connections that break within so many seconds are one event.
_TOGETHER_SECONDS = 1.0


class Line:
    """Measurements of the network to the server, for one transfer. Callers hold their own lock."""

    def __init__(
        self,
        *,
        most_parallel: int,
        most_bytes: int,
        least_bytes: int = 1,
        parallel: int | None = None,
        part_bytes: int | None = None,
    ) -> None:
        """``most_…`` are bounds (the server's advice); ``parallel`` and ``part_bytes`` are the user's, and stay."""
        self.limit = parallel or 1
        #: Connections that it will ever use at once.
        self.most_parallel = parallel or max(1, most_parallel)
        self._adapts = parallel is None
        self._fixed = part_bytes
        self._least, self._most = least_bytes, max(most_bytes, least_bytes)
        #: Bytes a second of one connection; 0 while unknown.
        self._rate = 0.0
        self._seconds = LONGEST_SECONDS
        self._cut_at: float | None = None
        #: When the present window began, or will begin.
        self._since: float | None = None
        #: When as many parts as allowed were last on their way.
        self._full_at = 0.0
        self._bytes = 0
        self._before = 0.0
        self._good = self.limit
        self._doubling = True
        self._rest = 0

    @property
    def part_bytes(self) -> int:
        """The most bytes that the next part may have."""
        if self._fixed is not None:
            return self._fixed
        wanted = self._rate * self._seconds if self._rate else FIRST_BYTES
        whole = int(wanted) // SMALLEST_BYTES * SMALLEST_BYTES
        return max(min(SMALLEST_BYTES, self._most), self._least, min(self._most, whole))

    def never_less(self, size: int) -> None:
        """Parts have at least ``size`` bytes from now on, unless the user chose their size."""
        self._least, self._most = max(self._least, size), max(self._most, size)

    def refuses(self, size: int) -> bool:
        """Something before the server lets no ``size`` bytes through: send less. False if that cannot be."""
        if self._fixed is not None or size <= SMALLEST_BYTES:
            return False
        self._most = self._least = max(SMALLEST_BYTES, size // 2)
        return True

    def delivered(self, size: int, seconds: float) -> None:
        """A part of ``size`` bytes was answered after ``seconds``."""
        rate = size / max(seconds, 1e-4)
        first = self._rate == 0.0
        self._rate = rate if first else self._rate * 0.6 + rate * 0.4
        self._seconds = min(LONGEST_SECONDS, self._seconds + 0.1)
        if first and self._adapts and rate >= _FAST:
            self._go_to(self.most_parallel)
            self._rest = _REST_WINDOWS

    def moved(self, count: int, busy: int, now: float) -> None:
        """``count`` bytes went out at ``now`` (seconds) while ``busy`` parts were on their way."""
        if not self._adapts:
            return
        # With fewer on their way than allowed there is nothing to learn about the limit.
        if self._since is None or (busy < self.limit and self._since > now):
            self._since, self._bytes = now + _SETTLING_SECONDS, 0
            return
        if busy < self.limit and now - self._full_at > _GAP_SECONDS:
            self._since = None
            return
        if busy >= self.limit:
            self._full_at = now
        seconds = now - self._since
        if seconds < 0:
            return
        self._bytes += count
        if seconds >= _WINDOW_SECONDS:
            limit = self.limit
            self._judge(self._bytes / seconds)
            self._since, self._bytes = now if limit == self.limit else now + _SETTLING_SECONDS, 0

    def cut(self, now: float, *, fruitless: bool) -> None:
        """Connections broke. ``fruitless``: nothing was kept since they last did, so that less may be more."""
        if self._cut_at is not None and now - self._cut_at < _TOGETHER_SECONDS:
            return
        self._cut_at, self._since = now, None
        self._seconds = max(SHORTEST_SECONDS, self._seconds / 2)
        if fruitless:
            self._rate /= 2
            self.crowded()

    def crowded(self) -> None:
        """The server is busy, or takes no bytes: half the connections."""
        if self._adapts and self.limit > 1:
            self._go_to(self.limit // 2)
            self._good, self._doubling, self._before, self._rest = self.limit, False, 0.0, 2

    def _judge(self, rate: float) -> None:
        if self._rest > 0:
            self._rest -= 1
            if self._rest > 0:
                return
        elif self._before > 0 and rate < self._before * _WORTHWHILE:
            # The last step brought nothing: back, and stay there for a while.
            self._go_to(min(self._good, self.limit))
            self._doubling, self._rest = False, _REST_WINDOWS
            return
        self._before, self._good = rate, self.limit
        if self.limit == self.most_parallel:
            self._rest = _REST_WINDOWS
        else:
            self._go_to(min(self.most_parallel, self.limit * 2 if self._doubling else self.limit + 1))

    def _go_to(self, limit: int) -> None:
        # A line that they share gives each its part; one that they do not is found out by the next parts.
        self._rate *= self.limit / limit
        self.limit = limit
