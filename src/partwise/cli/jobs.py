"""Several transfers at once: which comes next, and how they all end."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

#: Transfers at once unless the user says otherwise. Small files wait for answers, so many of them go side by side;
#: a large one fills the line by itself, and the next one is hashed and committed beside it.
SMALL_JOBS, LARGE_JOBS = 8, 2
LARGE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """One transfer: what it is about, its place among all, and its bytes, as far as they are known."""

    number: int
    item: T
    size: int


class Jobs(Generic[T]):
    """Runs jobs in threads, in about their order."""

    def __init__(self, jobs: Sequence[Job[T]], at_once: int | None) -> None:
        """``at_once``: as many, whatever their size. None: several small ones, and few large ones."""
        self._large_from = LARGE_BYTES if at_once is None else float("inf")
        self._large = deque(job for job in jobs if job.size >= self._large_from)
        self._small = deque(job for job in jobs if job.size < self._large_from)
        self._most = min(at_once or (SMALL_JOBS if self._small else LARGE_JOBS), len(jobs))
        self._busy_with_large = 0
        self._changed = threading.Condition()
        #: Set when all running jobs are to end soon.
        self.cancelled = threading.Event()
        self._over = False
        self._error: BaseException | None = None

    def run(self, work: Callable[[Job[T]], None]) -> None:
        """Call ``work`` for each job. Raises what ``work`` raised. Ctrl-C ends the running ones."""
        threads = [
            threading.Thread(target=self._work, args=(work,), name=f"partwise-job-{number}", daemon=True)
            for number in range(self._most)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)  # in steps, so that Ctrl-C is heard
        except BaseException:
            self.stop()
            self.cancelled.set()
            for thread in threads:
                thread.join(3)
            raise
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Begin no further job."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _work(self, work: Callable[[Job[T]], None]) -> None:
        try:
            while (job := self._take()) is not None:
                work(job)
                self._done(job)
        except BaseException as error:
            self._error = self._error or error
            self.cancelled.set()
            self.stop()

    def _take(self) -> Job[T] | None:
        """The next job that may run now; None when there are no more."""
        with self._changed:
            while not self._over:
                may = self._busy_with_large < LARGE_JOBS and bool(self._large)
                if may and (not self._small or self._large[0].number < self._small[0].number):
                    self._busy_with_large += 1
                    return self._large.popleft()
                if self._small:
                    return self._small.popleft()
                if not self._large:
                    return None
                self._changed.wait()
        return None

    def _done(self, job: Job[T]) -> None:
        if job.size >= self._large_from:
            with self._changed:
                self._busy_with_large -= 1
                self._changed.notify_all()
