"""The progress of several transfers at once: a bar for all of them, and a line for each that takes a while."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from types import TracebackType

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from partwise.cli.output import LOG_SECONDS, WORDS, err, plain, say
from partwise.cli.sizes import format_seconds, format_size
from partwise.client.models import Observer, Phase

#: A transfer has a line of its own once it has run so long: those of small files would only flicker.
_LINE_SECONDS = 0.5
#: The rate is that of the last seconds.
_RATE_SECONDS = 5.0
#: The same note of several transfers is shown once in so many seconds.
_NOTE_SECONDS = 5.0
#: Lines of single transfers at most, and lines of the terminal that are left free.
_MOST_LINES, _FREE_LINES = 8, 4


@dataclass(slots=True)
class _Meter:
    """Bytes a second, from what was counted in the last seconds."""

    counted: deque[tuple[float, int]] = field(default_factory=deque)

    def rate(self, done: int, now: float) -> float:
        self.counted.append((now, done))
        while len(self.counted) > 2 and now - self.counted[0][0] > _RATE_SECONDS:
            self.counted.popleft()
        since, before = self.counted[0]
        return max(0, done - before) / (now - since) if now > since else 0.0


class Line(Observer):
    """One transfer on the board."""

    def __init__(self, board: Board, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.phase: Phase | None = None
        self.done, self.total = 0, size
        #: Bytes of the file that count as through.
        self.through = 0
        self.began = time.monotonic()
        self.meter = _Meter()
        self._board = board

    @property
    def under_way(self) -> bool:
        """Return whether any byte was transferred or found on the server."""
        return self.phase is not None

    def resize(self, size: int) -> None:
        """The size of the file is known only now."""
        self._board.add_bytes(size - self.size)
        self.size = self.total = size

    def progress(self, phase: Phase, done: int, total: int | None) -> None:
        """Only numbers are kept here: they are shown a few times a second."""
        self.phase, self.done, self.total = phase, done, done if total is None else total
        if phase in (Phase.SENDING, Phase.RECEIVING):
            self.through = done
        self._board.tick()

    def note(self, message: str) -> None:
        """A line above the board."""
        self._board.note(self.name, message)


class Board:
    """Shows transfers that run at once. On a terminal as bars, elsewhere as a line now and then; nothing when quiet."""

    def __init__(self, verb: str, files: int, size: int, *, quiet: bool) -> None:
        """``verb`` is what is done to ``files`` files of ``size`` bytes; 0: nobody knows yet."""
        self._verb, self._files, self._size, self._quiet = verb, files, size, quiet
        self._lock = threading.Lock()
        self._running: list[Line] = []
        self._ended = 0
        self._ended_bytes = 0
        self._meter = _Meter()
        self._next_log = time.monotonic() + LOG_SECONDS
        self._noted: dict[str, float] = {}
        self._live: Live | None = None

    def __enter__(self) -> Board:
        if err.is_terminal and not self._quiet:
            self._live = Live(
                get_renderable=self._render,
                console=err,
                refresh_per_second=8,
                transient=True,
                # Results go where standard output goes, also while bars are shown.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def begin(self, name: str, size: int) -> Line:
        """A transfer begins. ``size`` is in bytes."""
        line = Line(self, name, size)
        with self._lock:
            self._running.append(line)
        return line

    def end(self, line: Line) -> None:
        """It has ended, well or not."""
        with self._lock:
            self._running.remove(line)
            self._ended += 1
            self._ended_bytes += line.size

    def add_bytes(self, size: int) -> None:
        """There are so many bytes more to transfer."""
        with self._lock:
            self._size += size

    def tick(self) -> None:
        """Without a terminal: print a line when one is due."""
        if self._live is not None or self._quiet or time.monotonic() < self._next_log:
            return
        with self._lock:
            if time.monotonic() < self._next_log:
                return
            self._next_log = time.monotonic() + LOG_SECONDS
            done = self._done()
        say(f"{self._verb} {self._ended} of {self._files} files, {self._amount(done)}")

    def note(self, name: str, message: str) -> None:
        """Show a note once, also when it is that of several transfers."""
        now = time.monotonic()
        with self._lock:
            shown = self._noted.get(message, -_NOTE_SECONDS)
            self._noted[message] = now
        if not self._quiet and now - shown >= _NOTE_SECONDS:
            say(f"{name}: {message}", "yellow")

    def _done(self) -> int:
        return self._ended_bytes + sum(min(line.through, line.size) for line in self._running)

    def _amount(self, done: int) -> str:
        return f"{format_size(done)} of {format_size(self._size)}"

    def _render(self) -> Table:
        now = time.monotonic()
        with self._lock:
            done, ended, running = self._done(), self._ended, list(self._running)
        table = Table.grid(
            Column(no_wrap=True, overflow="ellipsis", ratio=3),
            Column(ratio=1),
            Column(no_wrap=True, justify="right"),
            Column(no_wrap=True, justify="right"),
            padding=(0, 1),
            expand=True,
        )
        room = max(1, min(_MOST_LINES, err.size.height - _FREE_LINES))
        lines = [line for line in running if line.phase is not None and now - line.began >= _LINE_SECONDS]
        for line in lines[:room]:
            word = Text(f"{WORDS[line.phase]} " if line.phase else "")
            rate = line.meter.rate(line.through, now)
            table.add_row(word + plain(line.name), _bar(line.done, line.total), *_numbers(line.done, line.total, rate))
        rate = self._meter.rate(done, now)
        left = f", {format_seconds((self._size - done) / rate)} left" if rate and self._size > done else ""
        table.add_row(
            Text(f"{ended} of {self._files} files{left}", style="bold"),
            _bar(done, self._size),
            *_numbers(done, self._size, rate),
        )
        return table


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=min(done, total) if total else 0)


def _numbers(done: int, total: int, rate: float) -> tuple[Text, Text]:
    amount = f"{format_size(done)} of {format_size(total)}"
    return Text(amount, style="green"), Text(f"{format_size(rate)}/s" if rate else "", style="cyan")
