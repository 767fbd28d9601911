"""Byte ranges: what a chunk covers, and what an upload still misses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: The largest size that an upload may declare, in bytes. Offsets above 2^62 are where local storage keeps its locks.
MAX_SIZE = 2**62 - 1


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """The bytes ``[offset, offset + size)``; sorted by offset."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        """The first byte after the range."""
        return self.offset + self.size

    def overlaps(self, other: ByteRange) -> bool:
        """Return whether the two ranges share at least one byte."""
        return self.offset < other.end and other.offset < self.end

    def __str__(self) -> str:
        """The range as RFC 9110 writes it: first and last byte, both inclusive."""
        return f"{self.offset}-{self.end - 1}"


def missing_ranges(size: int, recorded: Iterable[ByteRange]) -> Iterator[ByteRange]:
    """The gaps that ``recorded`` leaves in ``[0, size)``, in order. ``recorded`` is sorted and free of overlaps."""
    position = 0
    for chunk in recorded:
        if chunk.offset > position:
            yield ByteRange(position, chunk.offset - position)
        position = chunk.end
    if position < size:
        yield ByteRange(position, size - position)


class Gaps:
    """Gaps between chunks, found while iterating in order: the ``first`` few gaps, and their ``count``."""

    def __init__(self, named: int = 100) -> None:
        self.first: list[ByteRange] = []
        self.count = 0
        self._named = named
        self._position = 0

    def pass_by(self, chunk: ByteRange) -> None:
        """The next chunk."""
        self.end_at(chunk.offset)
        self._position = chunk.end

    def end_at(self, size: int) -> None:
        """There is no chunk more before ``size``."""
        self.add(ByteRange(self._position, max(0, size - self._position)))

    def add(self, gap: ByteRange) -> None:
        """Count ``gap`` behind the others, unless it is empty."""
        if gap.size:
            self.count += 1
            if self.count <= self._named:
                self.first.append(gap)


def frontier(recorded: Iterable[ByteRange], start: int = 0) -> int:
    """The end of the contiguous run of ``recorded`` (sorted) that covers ``start``; ``start`` itself if none does."""
    for chunk in recorded:
        if chunk.offset > start:
            break
        start = max(start, chunk.end)
    return start


def split(span: ByteRange, piece: int) -> Iterator[ByteRange]:
    """Cut ``span`` into ranges of ``piece`` bytes (the last may be shorter), lowest offset first."""
    for offset in range(span.offset, span.end, piece):
        yield ByteRange(offset, min(piece, span.end - offset))
