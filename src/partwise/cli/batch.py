"""One transfer or several: run, shown, and summed up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from partwise.cli.board import Board, Line
from partwise.cli.exits import Exit, exit_code
from partwise.cli.jobs import Job, Jobs
from partwise.cli.output import ProgressView, exit_with_message, rate, say
from partwise.client import AnswerError, Cancelled, ClientError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Generic[T]):
    """The action for each item, and its output."""

    #: "uploading" and "uploaded"
    verb: str
    done: str
    #: What to say after an interruption.
    hint: str
    name_of: Callable[[T], str]
    #: Transfers one item, until the event is set, and reports the result. Returns its bytes; None: none had to be sent.
    transfer: Callable[[T, ProgressView | Line, threading.Event], int | None]
    #: Reports an error of one item. Called by one thread at a time.
    on_error: Callable[[T, ClientError | OSError], None]
    quiet: bool

    def run(self, work: Sequence[Job[T]], at_once: int | None) -> Exit:
        """Transfer all, also past one that fails. Returns the exit code of the first that did, as they were named."""
        tally = _Tally()
        began = time.monotonic()
        with exit_with_message(self.hint):
            if len(work) == 1:
                with ProgressView(self.quiet) as view:
                    view.begin(self.name_of(work[0].item))
                    self._attempt(work[0], view, threading.Event(), tally)
            else:
                self._run_several(work, at_once, tally)
        if len(work) > 1 and not self.quiet:
            say(tally.summary(self.done, len(work), time.monotonic() - began))
        return tally.exit_code

    def _run_several(self, work: Sequence[Job[T]], at_once: int | None, tally: _Tally) -> None:
        jobs = Jobs(work, at_once)
        with Board(self.verb, len(work), sum(job.size for job in work), quiet=self.quiet) as board:

            def attempt(job: Job[T]) -> None:
                line = board.begin(self.name_of(job.item), job.size)
                try:
                    if not self._attempt(job, line, jobs.cancelled, tally):
                        jobs.stop()
                finally:
                    board.end(line)

            jobs.run(attempt)

    def _attempt(self, job: Job[T], view: ProgressView | Line, cancelled: threading.Event, tally: _Tally) -> bool:
        """Transfer one. Returns False if the others would fail in the same way."""
        try:
            size = self.transfer(job.item, view, cancelled)
        except Cancelled:
            raise
        except (ClientError, OSError) as error:
            code = exit_code(error)
            with tally.lock:
                tally.failed[job.number] = code
                self.on_error(job.item, error)
                if code is Exit.UNREACHABLE and view.under_way:
                    say(self.hint, "yellow")
            return not (code is Exit.UNREACHABLE or (isinstance(error, AnswerError) and error.status == 401))
        with tally.lock:
            tally.sizes.append(size)
        return True


class _Tally:
    """Totals of the transfers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        #: By the item's place among all.
        self.failed: dict[int, Exit] = {}
        self.sizes: list[int | None] = []

    @property
    def exit_code(self) -> Exit:
        return self.failed[min(self.failed)] if self.failed else Exit.OK

    def summary(self, done: str, files: int, seconds: float) -> str:
        moved = [size for size in self.sizes if size is not None]
        parts = [f"{len(moved)} of {files} files {done}: {rate(sum(moved), seconds)}"]
        rest = files - len(self.sizes) - len(self.failed)
        for count, what in (
            (len(self.sizes) - len(moved), "were there already"),
            (len(self.failed), "failed"),
            (rest, "not tried"),
        ):
            if count:
                parts.append(f"{count} {what}")
        return "; ".join(parts)
