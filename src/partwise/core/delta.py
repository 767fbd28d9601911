"""Comparison of a new file's pieces with the signature of an old file.

Both are cut by the same parameters, those of the signature. A piece of the new file whose SHA-256 the signature has is
copied from there, all others are sent. Neighbours are merged.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from partwise.core.pieces import Piece
from partwise.core.ranges import ByteRange
from partwise.core.signature import Signature

#: A shorter range is sent, not copied: a request and a record of its own cost more than its bytes.
SMALLEST_COPY = 4 << 10


@dataclass(frozen=True, slots=True)
class Copy:
    """The bytes of ``range`` of the new file are those of the old one from byte ``source`` on."""

    range: ByteRange
    source: int


@dataclass(frozen=True, slots=True)
class Send:
    """The old file does not have the bytes of ``range`` of the new one, as far as its signature tells."""

    range: ByteRange


class Matcher:
    """Finds pieces in a signature. Takes 16 to 24 bytes of memory a piece beside the signature itself."""

    def __init__(self, signature: Signature) -> None:
        self._table = signature.table
        self._record = len(signature.table) // signature.count if signature.count else 1
        #: Where each piece begins in the old file.
        self._offsets = array("Q")
        #: The piece behind the one that was found last: mostly it is the next one to be looked for.
        self._next = 0
        slots = 1 << max(4, (signature.count * 2).bit_length())
        self._mask = slots - 1
        #: An open hash table of numbers of pieces, from 1 on; 0: no piece.
        self._slots = array("I", bytes(4 * slots))
        for number, piece in enumerate(signature.pieces()):
            self._offsets.append(piece.offset)
            slot = self._slot(self._key(piece))
            if not self._slots[slot]:
                self._slots[slot] = number + 1

    @staticmethod
    def _key(piece: Piece) -> bytes:
        return piece.size.to_bytes(4, "big") + piece.sha256

    def _entry(self, number: int) -> bytes:
        return bytes(self._table[number * self._record : (number + 1) * self._record])

    def _slot(self, key: bytes) -> int:
        """Return the slot of the piece in the hash table, or the free slot for it.

        Python's own hash of bytes is keyed at random: no signature can be made of pieces that all meet in one place.
        """
        slot = hash(key) & self._mask
        while (number := self._slots[slot]) and self._entry(number - 1) != key:
            slot = (slot + 1) & self._mask
        return slot

    def find(self, piece: Piece, source: int | None = None) -> int | None:
        """Return where the old file has the bytes of ``piece``; None: nowhere.

        ``source``: where the run of copies before it ends. Of several places the one that goes on with it is taken.
        """
        key = self._key(piece)
        if source is not None:
            number = self._number_at(source)
            if number is not None and self._entry(number) == key:
                self._next = number + 1
                return source
        number = self._slots[self._slot(key)]
        if not number:
            return None
        self._next = number
        return self._offsets[number - 1]

    def _number_at(self, offset: int) -> int | None:
        number = self._next
        if number < len(self._offsets) and self._offsets[number] == offset:
            return number
        number = bisect_left(self._offsets, offset)
        return number if number < len(self._offsets) and self._offsets[number] == offset else None


class Script:
    """Makes the ranges to copy and to send of a new file whose pieces come one after the other."""

    def __init__(self, matcher: Matcher, *, smallest_copy: int = SMALLEST_COPY) -> None:
        self._matcher, self._smallest = matcher, smallest_copy
        #: The copy that goes on, and the range to send before it. None: there is none.
        self._source: int | None = None
        self._copy_start = self._copy_end = 0
        self._send_start: int | None = None
        self._send_end = 0

    def add(self, piece: Piece) -> Sequence[Copy | Send]:
        """Take the next piece; returns the ranges that are certain now, in the order of the file."""
        end = piece.offset + piece.size
        going = None if self._source is None else self._source + self._copy_end - self._copy_start
        source = self._matcher.find(piece, going)
        if source is not None and source == going:
            self._copy_end = end
            return ()
        certain = self._end_copy()
        if source is None:
            self._add_send(piece.offset, end)
        else:
            self._source, self._copy_start, self._copy_end = source, piece.offset, end
        return certain

    def end(self) -> Sequence[Copy | Send]:
        """Return what is left when the new file is over."""
        return [*self._end_copy(), *self._end_send()]

    def _add_send(self, start: int, end: int) -> None:
        if self._send_start is None:
            self._send_start = start
        self._send_end = end

    def _end_send(self) -> Sequence[Send]:
        start, self._send_start = self._send_start, None
        return () if start is None else (Send(ByteRange(start, self._send_end - start)),)

    def _end_copy(self) -> Sequence[Copy | Send]:
        source, self._source = self._source, None
        if source is None:
            return ()
        start, size = self._copy_start, self._copy_end - self._copy_start
        if size < self._smallest:
            self._add_send(start, self._copy_end)
            return ()
        return (*self._end_send(), Copy(ByteRange(start, size), source))
