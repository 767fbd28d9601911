"""Edit scripts on bytes, for tests of delta transfers: what people do to files between two uploads."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import strategies as st

from partwise.core.pieces import Cutter, Cutting, Piece
from partwise.core.signature import Signature, pack


def noise(seed: int, size: int) -> bytes:
    """Bytes in which no two pieces are the same."""
    return random.Random(seed).randbytes(size)


def counted(size: int) -> bytes:
    """The bytes of the test vectors in ``docs/delta.md``: SHA-256 of the numbers 0, 1, 2, … in 8 bytes each."""
    blocks = (hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(-(-size // 32)))
    return b"".join(blocks)[:size]


@dataclass(frozen=True)
class Edit:
    """One change: ``place`` and ``length`` are shares of the file's size."""

    kind: str
    place: float
    length: float
    seed: int

    def apply(self, data: bytes) -> bytes:
        """Return the changed bytes."""
        at, count = int(len(data) * self.place), int(len(data) * self.length)
        rest = data[at + count :]
        match self.kind:
            case "insert":
                return data[:at] + noise(self.seed, count) + data[at:]
            case "delete":
                return data[:at] + rest
            case "overwrite":
                return (data[:at] + noise(self.seed, count) + rest)[: len(data)]
            case "move":
                return data[at : at + count] + data[:at] + rest
            case "truncate":
                return data[:at]
            case "repeat":
                return data + data[at : at + count]
            case "zeros":
                return data[:at] + bytes(count) + rest
        raise ValueError(self.kind)


KINDS = ("insert", "delete", "overwrite", "move", "truncate", "repeat", "zeros")
edits = st.builds(
    Edit,
    kind=st.sampled_from(KINDS),
    place=st.floats(0, 1),
    length=st.floats(0, 0.3),
    seed=st.integers(0, 1000),
)
scripts = st.lists(edits, max_size=5)


def edited(data: bytes, script: list[Edit]) -> bytes:
    """``data`` after all edits."""
    for edit in script:
        data = edit.apply(data)
    return data


def cut(data: bytes, cutting: Cutting, block: int = 1 << 20) -> Iterator[Piece]:
    """The pieces of ``data``, fed in blocks."""
    cutter = Cutter(cutting)
    for offset in range(0, len(data), block):
        yield from cutter.feed(memoryview(data)[offset : offset + block])
    yield from cutter.end()


def sign(data: bytes, cutting: Cutting | None = None) -> Signature:
    """The signature of ``data``."""
    cutting = cutting or Cutting.of_size(len(data))
    return Signature(cutting, len(data), hashlib.sha256(data).hexdigest(), pack(cut(data, cutting)))
