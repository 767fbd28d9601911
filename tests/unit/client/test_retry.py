from __future__ import annotations

import itertools
import threading
import time

import pytest

from partwise.client.errors import AnswerError, Cancelled, CannotReachServer, ClientError, answer_error
from partwise.client.retry import Patience, is_away, may_begin_later, persist, waits, worth_another_try


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Waiter(threading.Event):
    """An event on which waiting takes no time but moves a clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.waited = clock, list[float]()

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waited.append(timeout)
        self.clock.now += timeout
        return self.is_set()


def test_waits_double_up_to_ten_seconds() -> None:
    assert list(itertools.islice(waits(spread=lambda: 1.0), 9)) == pytest.approx(
        [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]
    )
    assert next(waits(spread=lambda: 0.0)) == pytest.approx(0.05)


def test_it_tries_until_the_patience_is_used_up_and_then_raises_the_last_error() -> None:
    clock = Clock()
    waiter = Waiter(clock)
    tries = 0

    def attempt() -> None:
        nonlocal tries
        tries += 1
        raise CannotReachServer(f"try {tries}")

    with pytest.raises(CannotReachServer) as caught:
        persist(attempt, Patience(60, clock), waiter)
    assert tries == len(waiter.waited) + 1
    assert str(caught.value) == f"try {tries} Gave up after {clock.now:.0f} s."
    assert 40 <= clock.now <= 60


def test_a_success_elsewhere_makes_the_patience_whole_again() -> None:
    clock = Clock()
    patience = Patience(10, clock)
    assert patience.failed() == 10
    clock.now = 9
    assert patience.failed() == 1
    patience.succeeded()
    assert patience.failed() == 10


def test_time_that_passes_without_a_failure_costs_no_patience() -> None:
    clock = Clock()
    patience = Patience(10, clock)
    clock.now = 1000
    assert patience.failed() == 10


def test_retry_after_is_heeded() -> None:
    waiter = Waiter(Clock())
    answers = iter([answer_error(503, "", b"", {"Retry-After": "7"}), None])

    def attempt() -> str:
        error = next(answers)
        if error:
            raise error
        return "done"

    assert persist(attempt, Patience(60, waiter.clock), waiter) == "done"
    assert waiter.waited == [7.0]


def test_lasting_errors_are_raised_at_once() -> None:
    with pytest.raises(AnswerError):
        persist(lambda: raising(answer_error(400, "", b"{}")), Patience(60), Waiter(Clock()))


def raising(error: BaseException) -> None:
    raise error


def test_cancelling_ends_a_wait_at_once() -> None:
    cancelled = threading.Event()
    began = time.monotonic()
    threading.Timer(0.05, cancelled.set).start()
    with pytest.raises(Cancelled):
        persist(lambda: raising(answer_error(503, "", b"", {"Retry-After": "60"})), Patience(300), cancelled)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "error,again",
    [
        (CannotReachServer("x"), True),
        (answer_error(503, "", b""), True),
        (answer_error(500, "", b""), True),
        (answer_error(408, "", b""), True),
        (answer_error(409, "", b"", {"Retry-After": "1"}), True),
        (answer_error(409, "", b""), False),
        (answer_error(404, "", b""), False),
        (answer_error(507, "", b""), False),
        (answer_error(413, "", b""), False),
        (ClientError("x"), False),
    ],
)
def test_which_errors_are_worth_another_try(error: ClientError, again: bool) -> None:
    assert worth_another_try(error) is again


@pytest.mark.parametrize(
    "error,away,later",
    [
        (CannotReachServer("refused", before_request=True), True, True),
        (CannotReachServer("cut"), True, False),
        (CannotReachServer("no such host", before_request=True, unknown_host=True), False, False),
        (answer_error(503, "", b""), True, True),
        (answer_error(502, "", b""), True, False),
        (answer_error(404, "", b""), False, False),
    ],
)
def test_what_is_tried_again_at_first_contact(error: ClientError, away: bool, later: bool) -> None:
    assert (is_away(error), may_begin_later(error)) == (away, later)
