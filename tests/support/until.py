"""Waiting for a condition: the one way in which a test waits. It looks often, and fails with a deadline of its own."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable

#: Far beyond what anything takes: a busy machine must not make a test fail.
DEADLINE_SECONDS = 60.0


async def until(
    condition: Callable[[], object | Awaitable[object]], what: str = "it", *, seconds: float = DEADLINE_SECONDS
) -> None:
    """Return once ``condition``, which may be a coroutine function, is true. Fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} seconds"
        await asyncio.sleep(0.005)


def wait_until(condition: Callable[[], object], what: str = "it", *, seconds: float = DEADLINE_SECONDS) -> None:
    """The same for a test without an event loop."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} seconds"
        time.sleep(0.01)


async def all_started(turns: int = 10) -> None:
    """Give every task that was just made some turns of the event loop, so that it stands at its first wait."""
    for _ in range(turns):
        await asyncio.sleep(0)
