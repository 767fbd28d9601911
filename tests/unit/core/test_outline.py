from __future__ import annotations

import hashlib
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partwise.core.outline import MOST_PIECES, Filling, Outline, is_outline, make_outline, split_groups
from partwise.core.signature import BadSignature, Signature
from tests.support.edits import Edit, counted, edited, noise, scripts, sign

PAGE = Path(__file__).parents[3] / "docs" / "delta.md"
BASE = noise(3, 1_500_000)
SIGNED = sign(BASE)
OUTLINE = make_outline(SIGNED.encode())


def fetched(signature: Signature, filling: Filling) -> bytes:
    """What a server gives of the missing pieces."""
    return b"".join(bytes(signature.table[first * 36 : (last + 1) * 36]) for first, last in filling.missing)


@settings(max_examples=40, deadline=None)
@given(size=st.integers(0, 400_000), script=scripts)
def test_an_outline_and_what_is_missing_make_the_signature(size: int, script: list[Edit]) -> None:
    base = noise(1, size)
    signature = sign(base)
    outline = Outline.decode(make_outline(signature.encode()))
    filling = Filling(outline, sign(edited(base, script), signature.cutting).table)
    assert filling.signature(fetched(signature, filling)) == signature.encode()
    assert sum(last - first + 1 for first, last in filling.missing) == filling.missing_count <= signature.count
    assert all(one[1] + 1 < other[0] for one, other in zip(filling.missing, filling.missing[1:], strict=False))


def test_little_is_missing_of_a_file_that_changed_little() -> None:
    filling = Filling(Outline.decode(OUTLINE), sign(BASE[:700_000] + b"new" + BASE[700_000:], SIGNED.cutting).table)
    assert len(filling.missing) == 1
    assert filling.missing_count <= 2 * MOST_PIECES < SIGNED.count
    assert Filling(Outline.decode(OUTLINE), SIGNED.table).missing == []
    assert Filling(Outline.decode(OUTLINE), b"").missing == [(0, SIGNED.count - 1)]
    assert len(OUTLINE) * 6 < len(SIGNED.encode())


def test_groups_have_a_bound() -> None:
    same = struct.pack(">I32s", 4096, b"\1" * 32) * 200
    assert list(split_groups(same)) == [(0, 64), (64, 128), (128, 192), (192, 200)]


def test_other_pieces_than_those_that_are_missing_are_noticed() -> None:
    filling = Filling(Outline.decode(OUTLINE), b"")
    with pytest.raises(BadSignature, match="not those that were asked for"):
        filling.signature(bytes(SIGNED.table)[:-36])
    with pytest.raises(BadSignature, match="its own SHA-256 is another"):
        Signature.decode(filling.signature(bytes(SIGNED.table)[:-1] + b"?"))


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_any_damaged_byte_is_noticed(place: int, flip: int) -> None:
    data = bytearray(OUTLINE)
    data[place % len(data)] ^= flip
    with pytest.raises(BadSignature):
        Outline.decode(bytes(data))


def lying(place: int, new: bytes) -> bytes:
    """The outline with other bytes from ``place`` on, and a right trailer."""
    content = bytearray(OUTLINE[:-32])
    content[place : place + len(new)] = new
    return bytes(content) + hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "too short"),
        (OUTLINE[:100], "too short"),
        (OUTLINE[:-1], "do not fill"),
        (OUTLINE + b"\0", "do not fill"),
        (lying(4, b"\2"), "version 2"),
        (lying(5, b"\1"), "this program reads 1"),
        (lying(8, b"what"), "do not begin"),
        (lying(16, struct.pack(">I", 5000)), "power of two"),
        (lying(20, struct.pack(">I", 2**32 - 1)), "not those of its signature"),
        (lying(96, struct.pack(">I", 2**32 - 1)), "do not fill"),
        (lying(100, struct.pack(">H", 0)), "not those of its signature"),
        (lying(100, struct.pack(">H", 2**16 - 1)), "not those of its signature"),
    ],
)
def test_an_outline_that_lies_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadSignature, match=words):
        Outline.decode(data)


def test_one_is_told_from_a_signature() -> None:
    assert is_outline(OUTLINE)
    assert not is_outline(SIGNED.encode())


def test_the_page_has_the_outline_of_its_example() -> None:
    (written,) = re.findall(r"<!-- outline of 20000 -->\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    encoded = bytes.fromhex("".join(re.sub(r"#.*", "", line) for line in written.splitlines()))
    assert encoded == make_outline(sign(counted(20_000)).encode())
