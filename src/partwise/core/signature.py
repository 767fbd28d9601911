"""The signature of a file: its pieces in order, each with its length and SHA-256, in a compact form.

Version 1, all numbers unsigned and big-endian (``docs/delta.md`` has examples)::

    head      4  magic "PWSG"
              1  version, 1
              1  normalization level of the cuts, 1
              2  zero
              4  average size of a piece in bytes: a power of two from 4 KiB to 4 MiB
              4  number of pieces
              8  size of the file in bytes
             32  SHA-256 of the file
    piece     4  size in bytes, from a quarter of the average (the last piece: from 1) to four times the average
             32  SHA-256 of the piece
    trailer  32  SHA-256 of all bytes before it

A signature says what its maker claims. Nothing made by it is trusted before the SHA-256 of the whole is verified.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from partwise.core.pieces import LEVEL, SMALLEST_AVERAGE, Cutting, Piece
from partwise.core.ranges import MAX_SIZE

#: The media type of the binary form.
MEDIA_TYPE = "application/vnd.partwise.signature"
#: The largest file that can have a signature, in bytes: below it no signature is larger than some 150 MB.
MAX_SIGNED = 4 << 40

_MAGIC, _VERSION = b"PWSG", 1
_HEAD = struct.Struct(">4sBBHIIQ32s")
_PIECE = struct.Struct(">I32s")
#: The sizes of the parts of a signature in bytes.
HEAD_BYTES, PIECE_BYTES, TRAILER_BYTES = _HEAD.size, _PIECE.size, 32


#: Some pieces as version 1 writes them.
Table = bytes | memoryview


class BadSignature(ValueError):
    """Bytes that are no signature. ``str(error)`` says what is wrong with them."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a signature: the average size of a piece, the number of pieces, and the file's size and SHA-256."""

    average: int
    count: int
    size: int
    sha256: str

    @classmethod
    def read(cls, data: bytes) -> Head:
        """Read the first bytes of a signature. Raises BadSignature when they are those of no version 1."""
        magic, version, level, zero, average, count, size, sha256 = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise BadSignature("These bytes do not begin as a signature does.")
        if version != _VERSION or level != LEVEL or zero:
            raise BadSignature(f"The signature has version {version}, level {level}; this program reads 1 and {LEVEL}.")
        return cls(average, count, size, sha256.hex())


class Reading:
    """Checks the binary form while it is read in blocks: its head, its length and its own SHA-256."""

    def __init__(self) -> None:
        self._hasher = hashlib.sha256()
        self._head = self._tail = b""
        self._bytes = 0

    def take(self, block: bytes) -> None:
        """Take the next block."""
        self._bytes += len(block)
        self._head += block[: HEAD_BYTES - len(self._head)]
        whole = self._tail + block
        self._hasher.update(memoryview(whole)[:-TRAILER_BYTES])
        self._tail = whole[-TRAILER_BYTES:]

    def is_signature_of(self, sha256: str, size: int) -> bool:
        """Return whether all blocks are an undamaged signature of a file with this SHA-256 and size."""
        if len(self._head) < HEAD_BYTES:
            return False
        try:
            head = Head.read(self._head)
        except BadSignature:
            return False
        length = HEAD_BYTES + head.count * PIECE_BYTES + TRAILER_BYTES
        fits = (head.sha256, head.size, length) == (sha256, size, self._bytes)
        return fits and self._hasher.digest() == self._tail


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature of one file."""

    cutting: Cutting
    #: Of the file, in bytes.
    size: int
    #: Of the file, in hex.
    sha256: str
    #: The pieces as version 1 writes them.
    table: Table

    @property
    def count(self) -> int:
        """The number of pieces."""
        return len(self.table) // PIECE_BYTES

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces in the order of the file."""
        offset = 0
        for size, sha256 in read_pieces(self.table):
            yield Piece(offset, size, sha256)
            offset += size

    def encode(self) -> bytes:
        """Return the binary form."""
        head = _HEAD.pack(
            _MAGIC, _VERSION, LEVEL, 0, self.cutting.average, self.count, self.size, bytes.fromhex(self.sha256)
        )
        content = head + self.table
        return content + hashlib.sha256(content).digest()

    @classmethod
    def decode(cls, data: bytes) -> Signature:
        """Read the binary form. Raises BadSignature for anything that ``encode`` would not have written."""
        if len(data) < HEAD_BYTES + TRAILER_BYTES:
            raise BadSignature(f"A signature has at least {HEAD_BYTES + TRAILER_BYTES} bytes; these are {len(data)}.")
        head = Head.read(data)
        if len(data) != HEAD_BYTES + head.count * PIECE_BYTES + TRAILER_BYTES:
            raise BadSignature(f"The signature tells of {head.count} pieces, which do not fill its {len(data)} bytes.")
        if hashlib.sha256(memoryview(data)[:-TRAILER_BYTES]).digest() != data[-TRAILER_BYTES:]:
            raise BadSignature("The signature is damaged: its own SHA-256 is another.")
        try:
            cutting = Cutting(head.average)
        except ValueError as error:
            raise BadSignature(str(error)) from None
        table = memoryview(data)[HEAD_BYTES:-TRAILER_BYTES]  # no copy: there may be many megabytes
        _check_sizes(cutting, head.size, table)
        return cls(cutting, head.size, head.sha256, table)


def _check_sizes(cutting: Cutting, size: int, table: Table) -> None:
    """Raise BadSignature unless the pieces fill the file, and are as large as pieces may be."""
    total, last, fit = 0, None, True
    for piece_size, _ in read_pieces(table):
        fit = fit and (last is None or cutting.minimum <= last <= cutting.maximum)
        total, last = total + piece_size, piece_size
    if size > MAX_SIZE or total != size:
        raise BadSignature(f"The pieces have {total} bytes in all, but the file has {size}.")
    if not fit:
        raise BadSignature("A piece is smaller or larger than the average size allows.")
    if last is not None and not 1 <= last <= cutting.maximum:
        raise BadSignature("The last piece is empty, or larger than the average size allows.")


def largest_signature(size: int) -> int:
    """Return the most bytes that the signature of a file of ``size`` bytes may have, whatever it is cut by."""
    return HEAD_BYTES + (size // Cutting(SMALLEST_AVERAGE).minimum + 1) * PIECE_BYTES + TRAILER_BYTES


def pack(pieces: Iterable[Piece]) -> bytes:
    """Return pieces as the table of a signature has them."""
    return b"".join([_PIECE.pack(piece.size, piece.sha256) for piece in pieces])


def read_pieces(table: Table) -> Iterator[tuple[int, bytes]]:
    """Yield size and SHA-256 of the pieces in a table, or in whole records of one."""
    return _PIECE.iter_unpack(table)
