"""A process that serves: alone, or as one of several under the supervisor."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from partwise.server.lifecycle import Lifecycle
from partwise.server.notify import notify
from partwise.server.supervisor import ALIVE, READY

#: How often a worker tells its supervisor that it lives.
BEAT_SECONDS = 2.0

#: Objects that are made, and not yet gone, before Python looks for cycles among them (by default 700): some 1 MiB.
_COLLECT_AFTER = 10_000


class Server(uvicorn.Server):
    """Serves in this process; ``on_ready`` is called in a thread when it does. Ends with status 0 when it is asked to.

    At SIGTERM it goes on for ``drain_seconds``, and says by ``lifecycle`` that it will stop; at SIGINT, or the second
    SIGTERM, it stops at once. ``pipe`` is where a worker's supervisor listens.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        lifecycle: Lifecycle,
        drain_seconds: float,
        *,
        on_ready: Callable[[], None] | None = None,
        pipe: int | None = None,
    ) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_seconds = drain_seconds
        self._drained_at: float | None = None
        self._on_ready = on_ready
        self._pipe = pipe
        self._beats: asyncio.Task[None] | None = None

    def serve_on(self, listener: socket.socket) -> None:
        """Serve until a signal. Raises SystemExit with a status other than 0 when it cannot start."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.run([listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        if self._pipe is not None:
            self._beats = asyncio.create_task(self._beat(self._pipe), name="beat")
        await super().startup(sockets)
        _spare_collector()
        if self.started and self._pipe is not None:
            _say(self._pipe, READY)
        if self.started and self._on_ready is not None:
            await asyncio.to_thread(self._on_ready)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is in flight."""
        self._lifecycle.stopping = True
        if self._pipe is None:
            notify("STOPPING=1")
        await super().shutdown(sockets)
        if self._beats is not None:
            self._beats.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop. Before it serves nothing has been promised: then it ends at once."""
        if not self.started:
            os._exit(0)
        if sig == signal.SIGTERM and self._drain_seconds and self._drained_at is None:
            self._lifecycle.draining = True
            self._drained_at = time.monotonic() + self._drain_seconds
            return
        super().handle_exit(sig, frame)
        # Or uvicorn would raise the signal again at the end, and the status would be that of a process that was killed.
        self._captured_signals.clear()

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to stop. Called ten times a second."""
        if self._drained_at is not None and time.monotonic() >= self._drained_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def _beat(self, pipe: int) -> None:
        while True:
            _say(pipe, ALIVE)
            await asyncio.sleep(BEAT_SECONDS)


def _spare_collector() -> None:
    """Let Python's cyclic garbage collector run less often over fewer objects. It took 6 % of a small chunk's time.

    What is there now stays to the end, and need not be looked at again. Requests leave few cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


def _say(pipe: int, word: bytes) -> None:
    # A full pipe has words enough; a broken one has nobody who listens, and this process ends soon.
    with suppress(BlockingIOError, BrokenPipeError):
        os.write(pipe, word)
