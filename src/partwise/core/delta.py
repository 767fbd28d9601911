"""Comparison of a new file's pieces with the signature of an old file.

Both are cut by the same parameters, those of the signature. A piece of the new file whose SHA-256 the signature has is
copied from there, all others are sent. Neighbours are merged.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from partwise.core.pieces import Piece
from partwise.core.ranges import ByteRange
from partwise.core.signature import Signature

#: A shorter range is sent, not copied: a request and a record of its own cost more than its bytes.
SMALLEST_COPY = 8 << 10


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
                return source
        number = self._slots[self._slot(key)]
        return self._offsets[number - 1] if number else None

    def _number_at(self, offset: int) -> int | None:
        number = bisect_left(self._offsets, offset)
        return number if number < len(self._offsets) and self._offsets[number] == offset else None


class Script:
    """Makes the ranges to copy and to send of a new file whose pieces come one after the other."""

    def __init__(self, matcher: Matcher, *, smallest_copy: int = SMALLEST_COPY) -> None:
        self._matcher, self._smallest = matcher, smallest_copy
        self._copy: Copy | None = None
        self._send: ByteRange | None = None

    def add(self, piece: Piece) -> Iterator[Copy | Send]:
        """Take the next piece; yields the ranges that are certain now, in the order of the file."""
        going = self._copy
        source = self._matcher.find(piece, going.source + going.range.size if going else None)
        if source is None:
            yield from self._end_copy()
            self._add_send(ByteRange(piece.offset, piece.size))
            return
        if going is not None and going.source + going.range.size == source:
            self._copy = Copy(ByteRange(going.range.offset, going.range.size + piece.size), going.source)
            return
        yield from self._end_copy()
        self._copy = Copy(ByteRange(piece.offset, piece.size), source)

    def end(self) -> Iterator[Copy | Send]:
        """Yield what is left when the new file is over."""
        yield from self._end_copy()
        if self._send is not None:
            yield Send(self._send)
            self._send = None

    def _add_send(self, span: ByteRange) -> None:
        if self._send is not None:
            span = ByteRange(self._send.offset, self._send.size + span.size)
        self._send = span

    def _end_copy(self) -> Iterator[Copy | Send]:
        copy, self._copy = self._copy, None
        if copy is None:
            return
        if copy.range.size < self._smallest:
            self._add_send(copy.range)
            return
        if self._send is not None:
            yield Send(self._send)
            self._send = None
        yield copy
