"""Output of commands: results on stdout, as text or JSON; progress, notes and errors on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from partwise.cli.exits import exit_code
from partwise.cli.sizes import format_seconds, format_size
from partwise.client.errors import ClientError
from partwise.client.models import Observer, Phase

err = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=True)

#: Without a terminal, a line of progress each so many seconds: enough for a log, and for a CI job not to look dead.
LOG_SECONDS = 15.0


def plain(text: str) -> Text:
    """Text from elsewhere, with nothing in it that a terminal would obey."""
    return Text("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text))


def say(message: str, style: str = "") -> None:
    """A line for the person."""
    err.print(plain(message), style=style)


def tell(message: str, style: str = "") -> None:
    """A line of the result, for people."""
    _results().print(plain(message), style=style)


def tell_result(lines: Sequence[str]) -> None:
    """The lines of one result, for people: together, whatever else is told at the same time."""
    texts = [plain(line) for line in lines]
    texts[0].stylize("green")
    _results().print(Text("\n").join(texts))


def _results() -> Console:
    """Return the console for results. On a terminal with a progress bar, the bar's console has to print each line."""
    return err if out.is_terminal and err.is_terminal else out


def emit(record: dict[str, Any]) -> None:
    """One JSON object on one line, for programs."""
    line = json.dumps(record)
    if _results() is err:
        err.out(line, highlight=False)
        return
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def exit_with_message(hint: str = "") -> Iterator[None]:
    """Turn the errors of a command into a sentence and an exit code; ``hint`` follows an interruption."""
    try:
        yield
    except (ClientError, OSError) as error:
        say(f"partwise: {sentence(error)}", "red")
        raise SystemExit(exit_code(error)) from None
    except KeyboardInterrupt as error:
        say(f"partwise: interrupted. {hint}".rstrip(), "yellow")
        raise SystemExit(exit_code(error)) from None


def sentence(error: BaseException) -> str:
    """Return the message of ``error`` for a person."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


class _Rate(ProgressColumn):
    """Bytes each second, in the units of all other output."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{format_size(speed)}/s" if speed else "", style="cyan")


class _Amount(ProgressColumn):
    def render(self, task: Task) -> Text:
        of = "" if task.total is None else f" of {format_size(task.total)}"
        return Text(f"{format_size(task.completed)}{of}", style="green")


class _Percent(ProgressColumn):
    """Empty if the total is unknown."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.percentage:>3.0f} %")


WORDS = {
    Phase.SENDING: "uploading",
    Phase.RECEIVING: "downloading",
    Phase.COMPARING: "comparing",
    Phase.HASHING: "hashing",
    Phase.VERIFYING: "verifying",
}


class ProgressView(Observer):
    """Shows one transfer after another: a bar on a terminal, a line now and then elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Progress | None = None
        self._task: Any = None
        self._phase: Phase | None = None
        self._next_line = time.monotonic() + LOG_SECONDS
        self._name = ""

    def __enter__(self) -> ProgressView:
        if err.is_terminal and not self._quiet:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
                BarColumn(bar_width=None),
                _Percent(),
                _Amount(),
                _Rate(),
                TimeRemainingColumn(),
                console=err,
                expand=True,
                transient=True,
                speed_estimate_period=10,
                # Results go where standard output goes, also while a bar is shown.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def under_way(self) -> bool:
        """Return whether anything has been transferred, or found to be there, since ``begin``."""
        return self._phase is not None

    def begin(self, name: str) -> None:
        """The transfer of ``name`` begins."""
        self._name, self._phase = name, None

    def progress(self, phase: Phase, done: int, total: int | None) -> None:
        """Update the bar, or print a line when one is due."""
        if self._bar is not None:
            if phase is not self._phase:
                self._new_bar(phase, done, total)
            self._bar.update(self._task, completed=done)
        elif not self._quiet and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LOG_SECONDS
            if total is None:
                far = format_size(done)
            else:
                far = f"{100 * done // total if total else 100} % ({format_size(done)} of {format_size(total)})"
            say(f"{self._name}: {WORDS[phase]} {far}")
        self._phase = phase

    def _new_bar(self, phase: Phase, done: int, total: int | None) -> None:
        assert self._bar is not None
        if self._task is not None:
            self._bar.remove_task(self._task)
        description = f"{WORDS[phase]} [bold]{plain(self._name).markup}[/]"
        # What was there before must not count as speed.
        self._task = self._bar.add_task(description, total=total, completed=done)

    def note(self, message: str) -> None:
        """A line above the bar."""
        if not self._quiet:
            say(f"{self._name}: {message}", "yellow")


def show_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: Container[str] = ()) -> None:
    """One line for each row, in columns as wide as what is in them; those of ``right`` are aligned to the right.

    A narrow terminal breaks the lines as it does any: cells that were folded to fit could not be copied out again.
    """
    lines = [[plain(cell) for cell in row] for row in (head, *rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
    for number, cells in enumerate(lines):
        line = Text("  ").join(
            _aligned(cell, width, name in right) for name, cell, width in zip(head, cells, widths, strict=True)
        )
        line.rstrip()
        out.print(line, style="bold" if number == 0 else "")


def _aligned(cell: Text, width: int, right: bool) -> Text:
    space = Text(" " * (width - cell.cell_len))
    return space + cell if right else cell + space


def rate(size: int, seconds: float) -> str:
    """``1.0 GiB in 2.1 s, 487.6 MiB/s``."""
    return f"{format_size(size)} in {format_seconds(seconds)}, {format_size(size / max(seconds, 0.001))}/s"
