from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from partwise.cli.board import Board
from partwise.cli.jobs import LARGE_BYTES, LARGE_JOBS, SMALL_JOBS, Job, Jobs
from partwise.client import Phase
from tests.support.until import wait_until


def jobs(*sizes: int) -> list[Job[str]]:
    return [Job(number, f"job-{number}", size) for number, size in enumerate(sizes)]


class Busy:
    """Work that ends when it is told to."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.begun: list[int] = []
        self.end = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __call__(self, job: Job[str]) -> None:
        with self._lock:
            self.running.add(job.number)
            self.begun.append(job.number)
        self.end.acquire()
        with self._lock:
            self.running.remove(job.number)


@pytest.fixture
def busy() -> Iterator[Busy]:
    made = Busy()
    yield made
    made.end.release(1000)


def start(some: Jobs[str], busy: Busy) -> threading.Thread:
    thread = threading.Thread(target=some.run, args=(busy,), daemon=True)
    thread.start()
    return thread


def test_few_large_files_run_beside_small_ones(busy: Busy) -> None:
    thread = start(Jobs(jobs(*[LARGE_BYTES] * 4, *[1] * 20), None), busy)
    wait_until(lambda: len(busy.running) == SMALL_JOBS, "eight jobs")
    assert sorted(busy.running) == [0, 1, *range(4, 4 + SMALL_JOBS - LARGE_JOBS)]
    busy.end.release(24)
    thread.join(30)
    assert sorted(busy.begun) == list(range(24))


def test_the_user_says_how_many_run_whatever_their_size(busy: Busy) -> None:
    thread = start(Jobs(jobs(*[LARGE_BYTES] * 5), 3), busy)
    wait_until(lambda: len(busy.running) == 3, "three jobs")
    busy.end.release(5)
    thread.join(30)
    assert busy.begun == [0, 1, 2, 3, 4]


def test_after_a_stop_no_further_job_begins(busy: Busy) -> None:
    some = Jobs(jobs(*[1] * 10), 2)
    thread = start(some, busy)
    wait_until(lambda: len(busy.running) == 2, "two jobs")
    some.stop()
    busy.end.release(10)
    thread.join(30)
    assert sorted(busy.begun) == [0, 1]


def test_an_error_of_the_work_ends_all_and_is_raised() -> None:
    some = Jobs(jobs(*[1] * 10), 2)

    def work(job: Job[str]) -> None:
        if job.number == 1:
            raise ZeroDivisionError
        some.cancelled.wait(30)

    with pytest.raises(ZeroDivisionError):
        some.run(work)
    assert some.cancelled.is_set()


def test_ctrl_c_ends_the_running_jobs() -> None:
    some = Jobs(jobs(1, 1, 1), 2)
    ended: list[int] = []

    def work(job: Job[str]) -> None:
        if job.number == 0:
            os.kill(os.getpid(), signal.SIGINT)
        some.cancelled.wait(30)
        ended.append(job.number)

    with pytest.raises(KeyboardInterrupt):
        some.run(work)
    assert 2 not in ended


def test_a_log_has_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("partwise.cli.board.LOG_SECONDS", 0)
    with Board("uploading", 3, 3000, quiet=False) as board:
        line = board.begin("a", 1000)
        line.progress(Phase.SENDING, 1000, 1000)
        board.end(line)
        other = board.begin("b", 1000)
        other.progress(Phase.SENDING, 500, 1000)
        other.progress(Phase.HASHING, 10, 1000)
        # Connections that break together are one piece of news.
        other.note("Cannot reach it.")
        board.begin("c", 1000).note("Cannot reach it.")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2] == "uploading 1 of 3 files, 1.5 KiB of 2.9 KiB"
    assert lines[-1] == "b: Cannot reach it."
