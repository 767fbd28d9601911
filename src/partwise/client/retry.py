"""Retries: which errors to repeat, and for how long.

A failure is worth another try when the network or a busy server caused it. How long: until requests have failed for
``patience`` seconds with none succeeding in between. So a server that is restarted for a minute costs a minute, and one
that is gone ends the transfer. All connections of a transfer share one `Patience`: a success of one renews it for all.

The waits end at once on cancellation, which is why this is not left to a library that sleeps.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from partwise.client.errors import AnswerError, Cancelled, CannotReachServer, ClientError

T = TypeVar("T")

#: Answers that say "not now" (RFC 9110, section 15; RFC 6585, section 4).
BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT_SECONDS = 10.0


class Patience:
    """A budget of seconds that runs from the first failure after a success. Threads may share it."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._failing_since: float | None = None

    def succeeded(self) -> None:
        """Something moved forward: the budget is whole again."""
        self._failing_since = None

    def failed(self) -> float:
        """Something failed. Returns the seconds that are left for further tries."""
        now = self._clock()
        since = self._failing_since
        if since is None:
            since = self._failing_since = now
        return self.seconds - (now - since)


def waits(first: float = 0.1, spread: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds to wait before each further try: doubling up to ten seconds, with a spread of half to all of it.

    The spread keeps connections that failed together from coming back together.
    """
    ceiling = first
    while True:
        yield ceiling * (0.5 + spread() / 2)
        ceiling = min(ceiling * 2, _LONGEST_WAIT_SECONDS)


def worth_another_try(error: ClientError) -> bool:
    """Return whether the same request may succeed a little later."""
    if isinstance(error, AnswerError):
        return error.status in BUSY_STATUSES or (error.status == 409 and error.retry_after is not None)
    return isinstance(error, CannotReachServer)


def is_away(error: ClientError) -> bool:
    """Return whether a read-only request is worth retrying although the first contact with the server failed."""
    return worth_another_try(error) and not (isinstance(error, CannotReachServer) and error.unknown_host)


def may_begin_later(error: ClientError) -> bool:
    """Return whether the server may answer later and has certainly done nothing yet, as during its restart.

    A name that does not exist is a mistake in the address.
    """
    if isinstance(error, CannotReachServer):
        return error.before_request and not error.unknown_host
    return isinstance(error, AnswerError) and error.status in (429, 503)


def persist(
    attempt: Callable[[], T],
    patience: Patience,
    cancelled: threading.Event,
    *,
    again: Callable[[ClientError], bool] = worth_another_try,
    on_retry: Callable[[ClientError, float], None] = lambda error, wait: None,
) -> T:
    """Call ``attempt`` until it succeeds, fails for good, or the patience is used up: then its last error is raised.

    Waits as long as the server's Retry-After says, where it says so. Raises Cancelled when asked to stop.
    """
    pauses = waits()
    while True:
        if cancelled.is_set():
            raise Cancelled("Stopped.")
        try:
            result = attempt()
        except ClientError as error:
            pause = next(pauses)
            if isinstance(error, AnswerError) and error.retry_after is not None:
                pause = max(pause, error.retry_after)
            if not again(error):
                raise
            left = patience.failed()
            if left < pause:
                error.tried_seconds = patience.seconds - left
                raise
            on_retry(error, pause)
            if cancelled.wait(pause):
                raise Cancelled("Stopped.") from error
        else:
            patience.succeeded()
            return result
