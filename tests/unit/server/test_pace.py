from __future__ import annotations

import pytest

from partwise.server.pace import Pace


def test_silence_is_allowed_once() -> None:
    pace = Pace(60, 100)
    assert pace.patience == 60
    pace.waited(59)
    assert pace.patience == 1
    pace.waited(2)
    assert pace.patience == 0


@pytest.mark.parametrize("sent_each_second, cut", [(101, False), (100, False), (99, True), (1, True)])
def test_a_rate_below_the_least_is_cut_in_the_end(sent_each_second: int, cut: bool) -> None:
    pace = Pace(60, 100)
    for _ in range(10_000):
        pace.waited(1)
        pace.received(sent_each_second)
        if not pace.patience:
            break
    assert (pace.patience == 0) is cut


def test_it_tells_silence_from_slowness() -> None:
    pace = Pace(60, 100)
    pace.waited(60)
    assert pace.given_up().setting == "body_idle_timeout_seconds"
    pace.received(1)
    pace.waited(1)
    assert pace.given_up().setting == "body_min_rate"


def test_a_fast_beginning_earns_no_endless_credit() -> None:
    pace = Pace(60, 100)
    pace.received(1 << 40)
    assert pace.patience == 60


def test_without_a_rate_any_byte_does() -> None:
    pace = Pace(60, 0)
    for _ in range(100):
        pace.waited(59.9)
        pace.received(1)
        assert pace.patience == 60
    pace.received(0)
    pace.waited(60)
    assert pace.patience == 0
