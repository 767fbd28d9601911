"""A short run of ``make crash-test``, and that it would notice a loss."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.crash.known import Known
from tests.crash.life import passes
from tests.crash.points import names


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "options", [["--points", "60"], pytest.param(["--objects", "--points", "15"], marks=pytest.mark.engines)]
)
def test_nothing_is_lost_in_some_deaths(options: list[str]) -> None:
    # A process of its own: it forks, and pytest may have threads.
    run = subprocess.run([sys.executable, "-m", "tests.crash", *options], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "nothing lost" in run.stdout


def test_every_named_point_is_passed() -> None:
    assert len(names()) > 15
    passed: set[str] = set()
    for seed in range(1, 11):  # what clients do is drawn, and some of it is rare
        passed |= set(passes(seed))
        if passed >= set(names()):
            break
    assert passed == set(names())


def test_what_a_client_knows() -> None:
    known = Known()
    known.learn(("created", "u", "alice", 1))
    chunk = known.uploads["u"].holds
    assert chunk(0) == {"missing"}
    known.learn(("sending", "u", 0, "right"))
    assert chunk(0) == {"missing", "right"}
    known.learn(("sent", "u", 0, "right"))
    assert chunk(0) == {"right"}
    known.learn(("sending", "u", 0, "right"))
    assert chunk(0) == {"right"}, "the same bytes again lose nothing"
    known.learn(("sending", "u", 0, "other"))
    known.learn(("sent", "u", 0, "right"))
    assert chunk(0) == {"right", "other", "missing"}
    known.crashed()
    known.learn(("sending", "u", 0, "right"))
    known.learn(("sent", "u", 0, "right"))
    assert chunk(0) == {"right"}
    known.learn(("cutting", "u", 0))
    known.learn(("sending", "u", 0, "right"))
    known.learn(("sent", "u", 0, "right"))
    assert chunk(0) == {"right", "missing"}, "the broken request may still un-record it"
    known.learn(("refused", "u", 0, "missing"))
    known.learn(("sending", "u", 0, "right"))
    known.learn(("sent", "u", 0, "right"))
    assert chunk(0) == {"right"}
    known.lost_power()
    assert chunk(0) == {"right", "missing"}
