"""Pauses that grow, and begin again."""

from __future__ import annotations

from partwise.core.backoff import Backoff


def test_pauses_grow_up_to_the_longest() -> None:
    backoff = Backoff(1, 5)
    assert [backoff.take() for _ in range(5)] == [1, 2, 4, 5, 5]


def test_news_begins_with_the_first_again() -> None:
    backoff = Backoff(1, 5, factor=3)
    assert [backoff.take(), backoff.take()] == [1, 3]
    backoff.reset()
    assert backoff.take() == 1
