"""Byte ranges: what a chunk covers, what an upload still misses, and the Content-Range field that names it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from partwise.core.errors import BadContentRange

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
        """Whether the two ranges share at least one byte."""
        return self.offset < other.end and other.offset < self.end

    def __str__(self) -> str:
        """The range as RFC 9110 writes it: first and last byte, both inclusive."""
        return f"{self.offset}-{self.end - 1}"


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A parsed ``Content-Range`` request field; ``total`` is None where the client wrote ``*``."""

    range: ByteRange
    total: int | None


_CONTENT_RANGE = re.compile(r"bytes[ \t]+([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII | re.IGNORECASE)


def parse_content_range(value: str) -> ContentRange:
    """Parse ``bytes FIRST-LAST/(TOTAL|*)`` (RFC 9110, section 14.4).

    Raises BadContentRange, saying which rule is broken, for anything else: another unit, the unsatisfied form
    ``*/N``, signs, a first byte after the last, a last byte beyond the total, numbers above MAX_SIZE.
    """
    match = _CONTENT_RANGE.fullmatch(value.strip(" \t"))
    if match is None:
        raise BadContentRange("Content-Range must read 'bytes FIRST-LAST/TOTAL' (TOTAL may be '*').")
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if first > last:
        raise BadContentRange(f"Content-Range starts at byte {first}, after its last byte {last}.")
    if last > MAX_SIZE or (total or 0) > MAX_SIZE:
        raise BadContentRange(f"Content-Range goes beyond the largest size, {MAX_SIZE} bytes.")
    if total is not None and last >= total:
        raise BadContentRange(f"Content-Range ends at byte {last}, beyond its own total of {total} bytes.")
    return ContentRange(ByteRange(first, last - first + 1), total)


def format_content_range(chunk: ByteRange, total: int) -> str:
    """The value of ``Content-Range`` for a chunk of a file of ``total`` bytes (RFC 9110, section 14.4)."""
    return f"bytes {chunk}/{total}"


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
    """What chunks leave out, found as they pass by in their order: the ``first`` few gaps, and their ``count``."""

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
        if size > self._position:
            self.count += 1
            if self.count <= self._named:
                self.first.append(ByteRange(self._position, size - self._position))


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
