from __future__ import annotations

from pathlib import Path

import pytest

from partwise.client import Client
from partwise.client.throttle import RateLimit
from tests.unit.client.fake_server import FakeServer


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_bytes_take_as_long_as_the_rate_says(clock: Clock) -> None:
    limit = RateLimit(1000, clock=clock, sleep=clock.sleep)
    for _ in range(100):
        limit.take(100)
    assert clock.now == pytest.approx(1000 + 10, abs=0.01)


def test_a_short_pause_is_made_up_for_and_a_long_one_is_no_credit(clock: Clock) -> None:
    limit = RateLimit(1000, clock=clock, sleep=clock.sleep)
    limit.take(1000)
    clock.now += 0.1
    limit.take(1000)
    assert clock.now == pytest.approx(1002)
    clock.now += 3600
    limit.take(1000)
    assert clock.now == pytest.approx(1002 + 3600 + 0.75)


def test_threads_wait_for_each_other(clock: Clock) -> None:
    slept: list[float] = []
    limit = RateLimit(1000, clock=clock, sleep=slept.append)
    for _ in range(3):
        limit.take(500)  # nobody's time has passed yet
    assert slept == pytest.approx([0.5, 1.0, 1.5])


def test_uploads_and_downloads_keep_to_it(
    clock: Clock, fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("partwise.client.api.RateLimit", lambda rate: RateLimit(rate, clock=clock, sleep=clock.sleep))
    path = tmp_path / "file"
    path.write_bytes(bytes(300_000))
    with Client(fake.url, limit_rate=1000) as client:
        result = client.upload(path)
        assert clock.now == pytest.approx(1300, abs=1)
        client.download(result.sha256, tmp_path / "back", delta=False)
        assert clock.now == pytest.approx(1600, abs=2)
