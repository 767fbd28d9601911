from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partwise.core.signature import BadSignature, Signature, largest_signature
from tests.support.edits import counted, noise, sign

PAGE = Path(__file__).parents[3] / "docs" / "delta.md"


@settings(max_examples=25, deadline=None)
@given(size=st.integers(0, 200_000), seed=st.integers(0, 3))
def test_what_was_encoded_is_decoded(size: int, seed: int) -> None:
    signature = sign(noise(seed, size))
    data = signature.encode()
    assert Signature.decode(data) == signature
    assert len(data) == 56 + 36 * signature.count + 32
    assert sum(piece.size for piece in signature.pieces()) == size
    assert len(data) <= largest_signature(size)


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_any_damaged_byte_is_noticed(place: int, flip: int) -> None:
    data = bytearray(sign(noise(1, 50_000)).encode())
    data[place % len(data)] ^= flip
    with pytest.raises(BadSignature):
        Signature.decode(bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadSignature):
        Signature.decode(data)


def lying(**members: int) -> bytes:
    """A signature with a right trailer, of which some members of the head or sizes of pieces are others."""
    signature = sign(noise(2, 30_000))
    head = list(struct.unpack(">4sBBHIIQ32s", signature.encode()[:56]))
    table = bytearray(signature.table)
    for name, value in members.items():
        if name == "piece":
            table[:4] = struct.pack(">I", value)
        elif name == "last":
            table[-36:-32] = struct.pack(">I", value)
        else:
            head[["magic", "version", "level", "zero", "average", "count", "size"].index(name)] = value
    content = struct.pack(">4sBBHIIQ32s", *head) + bytes(table)
    return content + hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    "members, words",
    [
        ({"version": 2}, "version 2"),
        ({"level": 2}, "level 2"),
        ({"zero": 1}, "this program reads"),
        ({"average": 5000}, "power of two"),
        ({"average": 0}, "power of two"),
        ({"count": 2**32 - 1}, "do not fill"),
        ({"count": 0}, "do not fill"),
        ({"size": 2**64 - 1}, "in all"),
        ({"size": 0}, "in all"),
        ({"piece": 0}, "in all"),
        ({"piece": 2**32 - 1}, "in all"),
    ],
)
def test_a_signature_that_lies_is_refused(members: dict[str, int], words: str) -> None:
    with pytest.raises(BadSignature, match=words):
        Signature.decode(lying(**members))


def of_sizes(*sizes: int) -> bytes:
    """A signature of pieces of these sizes, with a right trailer."""
    content = struct.pack(">4sBBHIIQ32s", b"PWSG", 1, 1, 0, 4096, len(sizes), sum(sizes), bytes(32))
    content += b"".join(struct.pack(">I32s", size, bytes(32)) for size in sizes)
    return content + hashlib.sha256(content).digest()


@pytest.mark.parametrize("sizes", [(1023, 2000), (16385, 2000), (2000, 0), (2000, 16385), (0,)])
def test_pieces_of_impossible_sizes_are_refused(sizes: tuple[int, ...]) -> None:
    assert Signature.decode(of_sizes(1024, 16384, 1)).count == 3
    with pytest.raises(BadSignature, match="average size allows"):
        Signature.decode(of_sizes(*sizes))


def test_the_page_has_the_signature_of_its_example() -> None:
    examples = dict(re.findall(r"<!-- signature of (\d+) -->\n```\n(.*?)```", PAGE.read_text(), re.DOTALL))
    assert set(examples) == {"0", "5000", "20000"}
    for size, written in examples.items():
        encoded = bytes.fromhex("".join(re.sub(r"#.*", "", line) for line in written.splitlines()))
        assert encoded == sign(counted(int(size))).encode()
        assert Signature.decode(encoded).size == int(size)
