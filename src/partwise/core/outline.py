"""The outline of a signature: one SHA-256 for each group of pieces, so that only changed groups have to be fetched.

A group ends behind a piece whose SHA-256 has four zero bits at its end, or with 64 pieces. Groups therefore depend on
the content alone, as pieces do. Version 1, all numbers unsigned and big-endian (``docs/delta.md`` has an example)::

    head      4  magic "PWSO"
              1  version, 1
              3  zero
             56  head of the signature
             32  trailer of the signature
              4  number of groups
    group     2  number of its pieces, 1 to 64
             32  SHA-256 of its pieces, as the signature has them
    trailer  32  SHA-256 of all bytes before it
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from partwise.core.pieces import Cutting
from partwise.core.signature import HEAD_BYTES, PIECE_BYTES, TRAILER_BYTES, BadSignature, Head, Table

MEDIA_TYPE = "application/vnd.partwise.signature-outline"
#: A group ends where these bits of the last byte of a SHA-256 are zero, and has so many pieces at most.
_END_BITS, MOST_PIECES = 15, 64

_MAGIC, _VERSION = b"PWSO", 1
_HEAD = struct.Struct(f">4sB3s{HEAD_BYTES}s{TRAILER_BYTES}sI")
_GROUP = struct.Struct(">H32s")


def split_groups(table: Table) -> Iterator[tuple[int, int]]:
    """Yield the first and the last piece of each group of a signature's table, and one more."""
    first = 0
    for number, last_byte in enumerate(bytes(memoryview(table)[PIECE_BYTES - 1 :: PIECE_BYTES]), 1):
        if not last_byte & _END_BITS or number - first == MOST_PIECES:
            yield first, number
            first = number
    if first < len(table) // PIECE_BYTES:
        yield first, len(table) // PIECE_BYTES


def _digest(table: Table, first: int, stop: int) -> bytes:
    return hashlib.sha256(memoryview(table)[first * PIECE_BYTES : stop * PIECE_BYTES]).digest()


def make_outline(signature: bytes) -> bytes:
    """Return the outline of a sound signature in its binary form."""
    table = memoryview(signature)[HEAD_BYTES:-TRAILER_BYTES]
    groups = [_GROUP.pack(stop - first, _digest(table, first, stop)) for first, stop in split_groups(table)]
    head = _HEAD.pack(_MAGIC, _VERSION, bytes(3), signature[:HEAD_BYTES], signature[-TRAILER_BYTES:], len(groups))
    content = head + b"".join(groups)
    return content + hashlib.sha256(content).digest()


def is_outline(data: bytes) -> bool:
    """Return whether these bytes begin as an outline does."""
    return data.startswith(_MAGIC)


@dataclass(frozen=True, slots=True)
class Outline:
    """The head of a signature and its groups: number of pieces, and SHA-256."""

    head: Head
    cutting: Cutting
    groups: Sequence[tuple[int, bytes]]
    #: Head and trailer of the signature, as they are.
    head_bytes: bytes
    trailer: bytes

    @classmethod
    def decode(cls, data: bytes) -> Outline:
        """Read the binary form. Raises BadSignature."""
        if len(data) < _HEAD.size + TRAILER_BYTES:
            raise BadSignature("The outline is too short.")
        magic, version, zero, head_bytes, trailer, count = _HEAD.unpack_from(data)
        if (magic, version, zero) != (_MAGIC, _VERSION, bytes(3)):
            raise BadSignature(f"The outline has version {version}; this program reads {_VERSION}.")
        if len(data) != _HEAD.size + count * _GROUP.size + TRAILER_BYTES:
            raise BadSignature(f"The outline tells of {count} groups, which do not fill its {len(data)} bytes.")
        if hashlib.sha256(memoryview(data)[:-TRAILER_BYTES]).digest() != data[-TRAILER_BYTES:]:
            raise BadSignature("The outline is damaged: its own SHA-256 is another.")
        head = Head.read(head_bytes)
        groups = list(_GROUP.iter_unpack(memoryview(data)[_HEAD.size : -TRAILER_BYTES]))
        if sum(pieces for pieces, _ in groups) != head.count or not all(1 <= one <= MOST_PIECES for one, _ in groups):
            raise BadSignature("The groups of the outline are not those of its signature.")
        try:
            return cls(head, Cutting(head.average), groups, head_bytes, trailer)
        except ValueError as error:
            raise BadSignature(str(error)) from None


class Filling:
    """Makes a signature of its outline, of the pieces of a similar file, and of pieces that are fetched."""

    def __init__(self, outline: Outline, table: Table) -> None:
        """``table``: the pieces of the similar file, as a signature has them."""
        self._outline = outline
        known = {_digest(table, first, stop): (first, stop) for first, stop in split_groups(table)}
        self._parts: list[Table | None] = []
        #: The first and the last of pieces that are missing, counted from 0. Neighbours are one range.
        self.missing: list[tuple[int, int]] = []
        number = 0
        for count, digest in outline.groups:
            first, stop = known.get(digest, (0, 0))
            if stop - first == count:
                self._parts.append(memoryview(table)[first * PIECE_BYTES : stop * PIECE_BYTES])
            else:
                self._parts.append(None)
                begins = number
                if self.missing and self.missing[-1][1] == number - 1:
                    begins = self.missing.pop()[0]
                self.missing.append((begins, number + count - 1))
            number += count

    @property
    def missing_count(self) -> int:
        """The number of pieces that are missing."""
        return sum(last - first + 1 for first, last in self.missing)

    def signature(self, fetched: bytes) -> bytes:
        """Return the signature in its binary form, with the missing pieces in their order. Raises BadSignature."""
        if len(fetched) != self.missing_count * PIECE_BYTES:
            raise BadSignature("The pieces are not those that were asked for.")
        parts: list[Table] = [self._outline.head_bytes]
        left = memoryview(fetched)
        for (count, _), part in zip(self._outline.groups, self._parts, strict=True):
            if part is None:
                part, left = left[: count * PIECE_BYTES], left[count * PIECE_BYTES :]
            parts.append(part)
        return b"".join([*parts, self._outline.trailer])
