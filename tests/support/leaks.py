"""What a test leaves open: descriptors, threads and processes, found in the test that opened them."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import forkserver

#: Threads of an event loop's own executor end with the interpreter; a few are kept by libraries for good.
_KEPT = ("asyncio_", "pytest_timeout", "ThreadPoolExecutor-")


#: Processes and threads that outlive a test on purpose: each is ended by whoever put it here.
KEPT: set[int | threading.Thread] = set()

#: Servers that run now, and their processes: a test may restart one that a wider fixture started, and ends.
SERVERS: dict[object, int] = {}


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # that of the listing itself
    return found


def _children() -> set[int]:
    """Processes that this one started and that still run."""
    found: set[int] = set()
    tasks = list(Path("/proc/self/task").iterdir())
    if forkserver.pid() is not None:
        tasks.append(Path(f"/proc/{forkserver.pid()}/task/{forkserver.pid()}"))
    for task in tasks:
        try:
            found.update(map(int, (task / "children").read_text().split()))
        except OSError:
            continue  # the thread has ended
    return found - {forkserver.pid()}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return "(has ended)"


def _sockets(descriptors: dict[int, str]) -> set[str]:
    return {target for target in descriptors.values() if target.startswith("socket:")}


@contextmanager
def collected() -> Iterator[None]:
    """Collect what the fixtures of a module left open, before the tests of another one run."""
    before = _descriptors()
    yield
    if _sockets(_descriptors()) - _sockets(before):
        gc.collect()


@contextmanager
def none_left() -> Iterator[None]:
    """Fail the test around which it stands when something of it is left open behind it.

    A socket or file that nobody refers to any more is told of by Python when it is collected. That is brought about
    here, where more is open than before, so that the warning meets the test that is to blame and not a later one.
    """
    before, threads, children = _descriptors(), set(threading.enumerate()), _children()
    servers = set(SERVERS)
    yield
    after = _descriptors()
    if len(after) > len(before) or _sockets(after) - _sockets(before):
        gc.collect()
    started = [
        thread
        for thread in set(threading.enumerate()) - threads
        # Daemon threads serve what a wider fixture holds, the connections of its proxy say, and end with that.
        if thread not in KEPT and not thread.daemon and not thread.name.startswith(_KEPT)
    ]
    deadline = time.monotonic() + 5
    for thread in started:
        thread.join(max(0, deadline - time.monotonic()))
    running = [thread.name for thread in started if thread.is_alive()]
    assert not running, f"threads were left running: {running}"
    restarted = {SERVERS[server] for server in servers if server in SERVERS}
    more = {pid for pid in _children() - children - restarted if pid not in KEPT}
    left = {pid: command for pid in more if (command := _command(pid)) != "(has ended)"}
    assert not left, f"processes were left running: {left}"
