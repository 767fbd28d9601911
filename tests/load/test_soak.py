"""A short soak: 200 clients that cut, retry and abort leave nothing behind. ``make soak`` goes on for minutes."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.load.soak import Held, locks_held, remove_uploads, soak
from tests.support.engines import new_data_folder
from tests.support.folders import fast_folder
from tests.support.server import ServerProcess


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_left_behind_by_clients_that_come_and_go() -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder()))
        server = stack.enter_context(ServerProcess(new_data_folder(Path(folder) / "data")))
        asyncio.run(soak(server, clients=200, seconds=5, seed=1))  # threads and buffers are made
        remove_uploads(server)
        before = settled(server)
        events = asyncio.run(soak(server, clients=200, seconds=12, seed=1000))
        remove_uploads(server)
        after = settled(server)
        assert min(events[name] for name in ("completed", "cut", "aborted", "left")) > 0, events
        assert after.descriptors <= before.descriptors + 5, (before, after)
        assert after.threads <= before.threads + 2, (before, after)
        assert after.memory <= before.memory + (24 << 20), (before, after)
        assert locks_held(server.data) == 0
        assert list((server.data / "staging").iterdir()) == []


def settled(server: ServerProcess) -> Held:
    """What the server holds once it has let go of all connections and claims."""
    deadline = time.monotonic() + 30
    held = Held.by(server.pid)
    while time.monotonic() < deadline:
        time.sleep(1)
        now = Held.by(server.pid)
        if now.descriptors == held.descriptors and not locks_held(server.data):
            return now
        held = now
    return held
