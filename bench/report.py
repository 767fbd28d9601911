"""What a measurement found, and the page that shows it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

MiB = 1 << 20
GiB = 1 << 30


class Series(list[float]):
    """The values of several rounds."""

    @property
    def median(self) -> float:
        return statistics.median(self)

    def over(self, other: Series) -> float:
        """The median of the rounds' ratios: what slows the whole machine in one round cancels out."""
        return statistics.median(mine / its for mine, its in zip(self, other, strict=True))


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under ``head``; all columns but the first are figures."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        lines = [self.head, ("---", *("---:" for _ in self.head[1:])), *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that the project promises, and what it was in this run."""

    figure: str
    bound: str
    found: str
    met: bool


@dataclass(slots=True)
class Section:
    """The answer of one measurement."""

    title: str
    text: str
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        parts = [f"## {self.title}", self.text, *(table.markdown() for table in self.tables), *self.notes]
        return "\n\n".join(parts)


def at_most(figure: str, found: float, bound: float, unit: str = "×") -> Target:
    return Target(figure, f"≤ {bound:g}{_unit(unit)}", f"{found:.3g}{_unit(unit)}", found <= bound)


def at_least(figure: str, found: float, bound: float, unit: str = "×") -> Target:
    return Target(figure, f"≥ {bound:g}{_unit(unit)}", f"{found:.3g}{_unit(unit)}", found >= bound)


def _unit(unit: str) -> str:
    return unit if unit == "×" else f" {unit}"


def size_text(size: int) -> str:
    """A number of bytes in the largest unit that divides it."""
    for unit, name in ((GiB, "GiB"), (MiB, "MiB"), (1 << 10, "KiB")):
        if size % unit == 0 and size:
            return f"{size // unit} {name}"
    return f"{size:,} bytes"


def rate(size: int, seconds: float) -> str:
    """In MB/s."""
    return f"{size / seconds / 1e6:.0f}"


def spread(series: Series) -> str:
    """The median, with the smallest and largest beside it."""
    return f"{series.median:.2f} ({min(series):.2f}–{max(series):.2f})"


def milliseconds(series: Series) -> str:
    """Seconds as milliseconds: the median, with the smallest and largest beside it."""
    return f"{series.median * 1e3:.0f} ({min(series) * 1e3:.0f}–{max(series) * 1e3:.0f})"


_HEAD = """\
# Performance

<!-- Written by `make bench`: run it rather than edit this page. -->

Use this page to compare partwise with other ways to transfer a file, and to find the limits of one server.
`make bench` measured all figures on {date}, in one run of {minutes:.0f} minutes.

- **Quote the first target.** It has plain curl as the client, and an nginx that is tuned for uploads. The other uploads
  come from a load generator that needs less processor time than any common client, and the default buffers of nginx
  halve its speed. Both favor partwise.
- **Compare only figures of one run.** The speed of the same machine varies by a factor of two between hours. Compared
  variants therefore run in turn, in every round.
- **Tables show medians**, with the smallest and largest value in brackets. Every ratio is the median of the ratios of
  the rounds.
- **The load generator shares the cores with the server.** It sends from the page cache over loopback, unlike a real
  network.
- **The time of an upload** starts before its creation and ends with the response that the artifact is verified.
- MB are 10⁶ bytes. Chunks have 16 MiB unless stated otherwise.

[Decisions](decisions/README.md) describes the designs that follow from these figures.
"""


def page(date: str, minutes: float, machine: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """The whole page, in Markdown."""
    facts = Table(("machine", ""), list(machine))
    targets = [target for section in sections for target in section.targets]
    rows = [(t.figure, t.bound, t.found, "yes" if t.met else "**no**") for t in targets]
    goals = "## Targets\n\n" + Table(("figure", "target", "here", "met"), rows).markdown() if rows else ""
    parts = [_HEAD.format(date=date, minutes=minutes), facts.markdown(), goals]
    return "\n\n".join(part.strip() for part in [*parts, *(section.markdown() for section in sections)] if part) + "\n"
