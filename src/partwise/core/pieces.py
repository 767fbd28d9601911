"""Content-defined pieces: cut a stream of bytes where its content says, and name each piece by its SHA-256.

The algorithm is FastCDC as published in 2020, with the tables of its Rust implementation (``v2020``), normalization
level 1 and seed 0. A cut depends on at most ``maximum`` bytes behind the cut before it. Bytes that are inserted or
removed therefore change the pieces around them and no others. ``docs/delta.md`` has the parameters and test vectors.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

from pyfastcdc import FastCDC

#: The smallest and the largest average size of a piece, in bytes.
SMALLEST_AVERAGE, LARGEST_AVERAGE = 4 << 10, 4 << 20
#: How strongly sizes are drawn to the average (FastCDC's normalized chunking).
LEVEL = 1
#: A file has about so many pieces at most, so that its signature stays below 10 MiB up to 1 TiB.
_USUAL_PIECES = 1 << 18
#: Bytes that the buffer takes beside an unfinished piece, at least. One that leaves the processor's cache is slower.
_AHEAD = 1 << 20


@dataclass(frozen=True, slots=True)
class Cutting:
    """Parameters of chunking: the average size of a piece in bytes, a power of two. All others follow from it."""

    average: int

    def __post_init__(self) -> None:
        """Raise ValueError unless the average is one that is allowed."""
        if not SMALLEST_AVERAGE <= self.average <= LARGEST_AVERAGE or self.average & (self.average - 1):
            raise ValueError(
                f"The average size of a piece must be a power of two between {SMALLEST_AVERAGE} and {LARGEST_AVERAGE}."
            )

    @property
    def minimum(self) -> int:
        """The smallest size of a piece in bytes. The last piece of a file may be smaller."""
        return self.average // 4

    @property
    def maximum(self) -> int:
        """The largest size of a piece in bytes."""
        return self.average * 4

    @classmethod
    def of_size(cls, size: int) -> Cutting:
        """Return the parameters for a file of ``size`` bytes.

        Small pieces find more that is unchanged, and make a larger signature. The root of the size balances the two.
        """
        wanted = max(isqrt(size) // 2, size // _USUAL_PIECES, 1)
        power = 1 << (wanted - 1).bit_length()
        return cls(min(max(power, SMALLEST_AVERAGE), LARGEST_AVERAGE))


class Piece(NamedTuple):
    """One piece: where it begins in the stream, its size in bytes, and its SHA-256."""

    offset: int
    size: int
    sha256: bytes


class Cutter:
    """Cuts one stream. Memory is bounded: a buffer of 1 to 32 MiB, and less for small pieces.

    Read into ``room()`` and call ``filled()`` with the number of bytes, or give blocks to ``feed()``. ``end()`` after
    the last byte gives the pieces that are left.
    """

    def __init__(self, cutting: Cutting) -> None:
        self._maximum = cutting.maximum
        self._cdc = FastCDC(cutting.average, min_size=cutting.minimum, max_size=cutting.maximum, seed=0)
        self._buffer = memoryview(bytearray(cutting.maximum + max(cutting.maximum, _AHEAD)))
        #: The bytes of the buffer that are not cut yet.
        self._start = self._stop = 0
        #: Where ``_start`` is in the stream.
        self._offset = 0

    def room(self) -> memoryview:
        """Return a part of the buffer, never empty, to put the next bytes of the stream into."""
        if self._stop == len(self._buffer):
            left = self._stop - self._start
            self._buffer[:left] = self._buffer[self._start : self._stop]
            self._start, self._stop = 0, left
        return self._buffer[self._stop :]

    def filled(self, count: int) -> list[Piece]:
        """Take ``count`` bytes that were put into ``room()``; returns the pieces that are certain now."""
        self._stop += count
        return self._cut(self._maximum)

    def feed(self, block: memoryview) -> list[Piece]:
        """Take a block of the stream; returns the pieces that are certain now."""
        pieces: list[Piece] = []
        while block:
            room = self.room()
            count = min(len(room), len(block))
            room[:count] = block[:count]
            pieces += self.filled(count)
            block = block[count:]
        return pieces

    def end(self) -> list[Piece]:
        """Return the pieces that are left when the stream is over."""
        return self._cut(1)

    def _cut(self, least: int) -> list[Piece]:
        """Cut while at least so many bytes are left: with ``maximum`` of them no later byte can move the cut."""
        pieces: list[Piece] = []
        offset, left = self._offset, self._stop - self._start
        cuts = self._cdc.cut_buf(self._buffer[self._start : self._stop])
        while left >= least:
            cut = next(cuts)
            size = cut.length
            pieces.append(Piece(offset, size, hashlib.sha256(cut.data).digest()))
            offset += size
            left -= size
        self._start, self._offset = self._stop - left, offset
        return pieces
