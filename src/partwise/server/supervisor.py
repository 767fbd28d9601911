"""The parent of several worker processes: starts them, replaces those that end, restarts and stops them.

One thread, one loop, no lock: it waits for signals, for words from its workers and for the next point in time, and
never for one worker alone. So nothing that a worker does delays the replacement of another, or a stop.

- A worker that ends is replaced: at once if it had served, with a growing pause if it fails again and again.
- A worker that says nothing for ``SILENCE_SECONDS`` is ended. Nothing else ends a worker that serves.
- SIGTERM and SIGINT stop all, the second one at once. SIGHUP replaces the workers one by one: the old one is asked to
  finish when the new one serves.
- It gives up, with an exit status other than 0, only when no worker has ever served.

Workers are forked, so that they begin with all modules in memory, most of which they share. They are forked by the
main thread, to whose end PR_SET_PDEATHSIG would tie them.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NoReturn

from partwise.server.causes import OUT_OF_MEMORY, UNRESPONSIVE, OomKills, WorkerFigures, cause_of

#: A worker that has said nothing for so long is ended. One that is merely busy says something every second or two.
SILENCE_SECONDS = 30.0
#: How long the first worker may take to serve, with all tries, before the server gives up.
GIVE_UP_SECONDS = 60.0
#: How long workers may take to end beyond the time that requests have to finish.
_MORE_SECONDS = 10.0
#: Pauses before a start, after failures in a row; shorter for a worker that served, if only for a moment.
_FIRST_PAUSE, _LONGEST_PAUSE, _LONGEST_AFTER_SERVICE = 0.1, 5.0, 1.0
#: A worker that served for so long begins without a record of failures.
_STEADY_SECONDS = 5.0

_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

#: What workers say: that they serve, and that they live.
READY, ALIVE = b"R", b"."

_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Worker:
    """A process. Times are those of the monotonic clock."""

    pid: int
    pipe: int
    region: int
    began: float
    heard: float
    ready: float | None = None
    #: Why this process ended it.
    ended_for: str | None = None
    #: When it is killed if it has not ended.
    deadline: float | None = None


@dataclass(eq=False)
class Slot:
    """The place of one worker, and of the one that is to take it over."""

    worker: Worker | None = None
    successor: Worker | None = None
    failures: int = 0
    start_at: float = 0.0


@dataclass
class Supervisor:
    """Runs ``count`` processes that each call ``work`` with the descriptor to write words to, and their region.

    ``regions`` is how many may be alive at once, those that finish included. ``stop_seconds``: how long a worker may
    take to finish when it is asked to. ``on_ready`` is called once, when all serve for the first time; ``on_stop``
    when a stop begins.
    """

    count: int
    work: Callable[[int, int], None]
    figures: WorkerFigures
    stop_seconds: float
    on_ready: Callable[[], None]
    on_stop: Callable[[], None]
    silence_seconds: float = SILENCE_SECONDS
    give_up_seconds: float = GIVE_UP_SECONDS
    _slots: list[Slot] = field(default_factory=list)
    _retired: list[Worker] = field(default_factory=list)
    _renew: list[Slot] = field(default_factory=list)
    _signals: list[int] = field(default_factory=list)
    _stopping: bool = False
    _served: bool = False
    _announced: bool = False

    def run(self) -> int:
        """Run until a signal stops it. Returns the exit status."""
        self._slots = [Slot() for _ in range(self.count)]
        self._oom = OomKills()
        self._selector = selectors.DefaultSelector()
        gc.collect()
        gc.freeze()  # or the workers' first collection would copy what they share
        began = time.monotonic()
        with self._handled_signals(), self._selector:
            while True:
                for number in self._take_signals():
                    self._on_signal(number)
                self._listen_to_workers()
                self._reap()
                if self._stopping:
                    if not self._workers():
                        return 0
                else:
                    self._start_workers()
                    self._go_on_renewing()
                    if not self._served and time.monotonic() - began > self.give_up_seconds:
                        _logger.critical(
                            "no worker process became ready within %d seconds, giving up", self.give_up_seconds
                        )
                        self._kill(self._workers(), "the server gives up")
                        return 1
                self._kill_silent()
                self._wait()

    # signals

    @contextmanager
    def _handled_signals(self) -> Iterator[None]:
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = {number: signal.signal(number, self._note_signal) for number in _SIGNALS}
        wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._selector.register(read, selectors.EVENT_READ)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(read)
            os.close(write)

    def _note_signal(self, number: int, _frame: object) -> None:
        self._signals.append(number)

    def _take_signals(self) -> list[int]:
        taken, self._signals[:] = list(self._signals), []
        return taken

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._stopping:
                _logger.warning("second stop signal: aborting requests in progress")
                self._kill(self._workers(), "stopped twice")
            else:
                self._stop(number)
        elif number == signal.SIGHUP and not self._stopping:
            _logger.info("restarting the workers one by one")
            self._renew = [slot for slot in self._slots if slot not in self._renew] + self._renew

    def _stop(self, number: int) -> None:
        self._stopping = True
        self.on_stop()
        for worker in self._workers():
            if worker.ready is None:  # it has answered nothing yet, and would not look at a signal before it serves
                self._kill([worker], "stopped")
            else:
                self._ask_to_end(worker, number)

    def _ask_to_end(self, worker: Worker, number: int) -> None:
        worker.deadline = time.monotonic() + self.stop_seconds + _MORE_SECONDS
        with suppress(ProcessLookupError):
            os.kill(worker.pid, number)
            os.kill(worker.pid, signal.SIGCONT)  # somebody may have stopped it

    # workers

    def _workers(self) -> list[Worker]:
        places = [worker for slot in self._slots for worker in (slot.worker, slot.successor) if worker is not None]
        return places + self._retired

    def _start_workers(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.worker is None and now >= slot.start_at:
                slot.worker = self._start(slot)

    def _start(self, slot: Slot) -> Worker | None:
        region = self.figures.free_region()
        if region is None:  # workers that finish hold all of them: one will end
            return None
        read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A signal that comes between the fork and the reset of the handlers must not be taken for the parent's.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _logger.error("a worker process could not be started: %s", error)
            os.close(read)
            os.close(write)
            self._pause(slot, served=False)
            return None
        finally:
            if os.getpid() == parent:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if pid == 0:
            os.close(read)
            self._run_worker(parent, write, region)
        os.close(write)
        now = time.monotonic()
        worker = Worker(pid, read, region, began=now, heard=now)
        self.figures.set_alive(region, True)
        self._selector.register(read, selectors.EVENT_READ, worker)
        return worker

    def _run_worker(self, parent: int, pipe: int, region: int) -> NoReturn:
        """In the new process: call ``work``, and end without a look back at what the parent was doing."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            self._selector.close()
            for worker in self._workers():
                os.close(worker.pipe)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal's end is the supervisor's to notice
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            os.setpgid(0, 0)  # Ctrl-C goes to the supervisor, which tells its workers
            # An orphan would hold the port and the data for ever.
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() == parent:
                self.work(pipe, region)
                status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            _logger.exception("a worker process failed")
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _listen_to_workers(self) -> None:
        for worker in self._workers():
            while words := _read(worker.pipe):
                worker.heard = time.monotonic()
                if READY in words and worker.ready is None:
                    worker.ready = worker.heard
                    self._served = True
        if self._count_ready() == self.count and not self._announced:
            self._announced = True
            self.on_ready()

    def _count_ready(self) -> int:
        ready = sum(slot.worker is not None and slot.worker.ready is not None for slot in self._slots)
        self.figures.set_ready(ready)
        return ready

    def _reap(self) -> None:
        """Take note of every process that has ended. As the first process of a container it also inherits others."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = next((worker for worker in self._workers() if worker.pid == pid), None)
            if worker is not None:
                self._bury(worker, status)

    def _bury(self, worker: Worker, status: int) -> None:
        self._selector.unregister(worker.pipe)
        os.close(worker.pipe)
        self.figures.set_alive(worker.region, False)
        cause = worker.ended_for or cause_of(status)
        if cause == "SIGKILL" and self._oom.have_risen():
            cause = OUT_OF_MEMORY
        if worker in self._retired:
            self._retired.remove(worker)
            _logger.info("a worker process has finished", extra={"pid": worker.pid, "cause": cause})
            return
        slot = next(slot for slot in self._slots if worker in (slot.worker, slot.successor))
        if self._stopping:
            slot.worker, slot.successor = (slot.worker, None) if worker is slot.successor else (None, slot.successor)
            return
        if worker is slot.successor:
            slot.successor = None
            self._renew.clear()
            _logger.error(
                "the restart of the workers is given up: a new one ended", extra={"pid": worker.pid, "cause": cause}
            )
            return
        slot.worker, slot.successor = slot.successor, None
        self._count_ready()
        self._count(slot, worker, cause)

    def _count(self, slot: Slot, worker: Worker, cause: str) -> None:
        """Note the end of a worker that nobody asked to end, and when the next one begins."""
        self.figures.count(cause, served=worker.ready is not None)
        now = time.monotonic()
        if worker.ready is not None and now - worker.ready > _STEADY_SECONDS:
            slot.failures = 0
            slot.start_at = now
        else:
            self._pause(slot, served=worker.ready is not None)
        _logger.error(
            "a worker process ended",
            extra={
                "pid": worker.pid,
                "cause": cause,
                "served": worker.ready is not None,
                "seconds": round(now - worker.began, 1),
                "next_start_in_seconds": round(max(0.0, slot.start_at - now), 1),
            },
        )

    def _pause(self, slot: Slot, *, served: bool) -> None:
        longest = _LONGEST_AFTER_SERVICE if served else _LONGEST_PAUSE
        slot.start_at = time.monotonic() + min(longest, _FIRST_PAUSE * 2**slot.failures)
        slot.failures = min(slot.failures + 1, 20)

    def _go_on_renewing(self) -> None:
        """Start the next new worker, or let the old one go when the new one serves."""
        if not self._renew:
            return
        slot = self._renew[0]
        if slot.worker is None or slot.worker.ready is None:
            return  # it is being started anyway
        if slot.successor is None:
            slot.successor = self._start(slot)
        elif slot.successor.ready is not None:
            old, slot.worker, slot.successor = slot.worker, slot.successor, None
            self._retired.append(old)
            # Not SIGTERM, at which a worker first says for a while that the server is going away.
            self._ask_to_end(old, signal.SIGINT)
            self._renew.pop(0)

    def _kill_silent(self) -> None:
        now = time.monotonic()
        for worker in self._workers():
            if worker.deadline is not None and now > worker.deadline:
                self._kill([worker], "did not stop in time")
            elif now - worker.heard > self.silence_seconds:
                self._kill([worker], UNRESPONSIVE)

    def _kill(self, workers: list[Worker], why: str) -> None:
        for worker in workers:
            if worker.ended_for is None:
                worker.ended_for = why
                _logger.log(
                    logging.INFO if why == "stopped" else logging.ERROR,
                    "a worker process is killed",
                    extra={"pid": worker.pid, "cause": why},
                )
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGKILL)

    def _wait(self) -> None:
        """Wait for a signal, for a worker's word or end, or for the next start; a second at most."""
        now = time.monotonic()
        starts = [slot.start_at - now for slot in self._slots if slot.worker is None and not self._stopping]
        for key, _ in self._selector.select(max(0.0, min([1.0, *starts]))):
            if key.data is None:
                _read(key.fd)


def _read(pipe: int) -> bytes:
    """Return the content of a pipe. Its end also returns nothing, since SIGCHLD reports it."""
    try:
        return os.read(pipe, 4096)
    except BlockingIOError:
        return b""
