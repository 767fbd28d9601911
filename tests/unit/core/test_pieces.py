from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pyfastcdc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partwise.core.pieces import Cutter, Cutting, Piece
from tests.support.edits import counted, cut, noise

SMALL = Cutting(4 << 10)
PAGE = (Path(__file__).parents[3] / "docs" / "delta.md").read_text()


@pytest.mark.parametrize(
    "size, average",
    [
        (0, 4 << 10),
        (1, 4 << 10),
        (60 << 20, 4 << 10),
        (1 << 30, 16 << 10),
        (4 << 30, 32 << 10),
        (50 << 30, 256 << 10),
        (1 << 40, 4 << 20),
        (2**62 - 1, 4 << 20),
    ],
)
def test_the_average_grows_with_the_file(size: int, average: int) -> None:
    assert Cutting.of_size(size).average == average


@pytest.mark.parametrize("average", [0, 1, 2 << 10, 5000, 8 << 20])
def test_other_averages_are_refused(average: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Cutting(average)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(0, 300_000), seed=st.integers(0, 5), blocks=st.lists(st.integers(1, 70_000), min_size=1))
def test_cuts_are_the_same_however_the_bytes_come(size: int, seed: int, blocks: list[int]) -> None:
    data = noise(seed, size)
    whole = pyfastcdc.FastCDC(SMALL.average, min_size=SMALL.minimum, max_size=SMALL.maximum).cut_buf(data)
    cutter, position = Cutter(SMALL), 0
    pieces: list[Piece] = []
    while position < size:
        for block in blocks:
            pieces += cutter.feed(memoryview(data)[position : position + block])
            position += block
    pieces += cutter.end()
    assert [(piece.offset, piece.size) for piece in pieces] == [(chunk.offset, chunk.length) for chunk in whole]
    for piece in pieces:
        assert piece.sha256 == hashlib.sha256(data[piece.offset : piece.offset + piece.size]).digest()


@pytest.mark.parametrize("content", ["zeros", "noise", "text"])
def test_sizes_stay_within_their_bounds(content: str) -> None:
    data = {"zeros": bytes(1 << 20), "noise": noise(1, 1 << 20), "text": b"all work and no play\n" * 50_000}[content]
    pieces = list(cut(data, SMALL))
    assert sum(piece.size for piece in pieces) == len(data)
    assert all(SMALL.minimum <= piece.size <= SMALL.maximum for piece in pieces[:-1])


def test_an_insertion_changes_the_pieces_around_it_alone() -> None:
    data = noise(7, 1 << 20)
    before = {piece.sha256 for piece in cut(data, SMALL)}
    after = list(cut(data[:400_000] + b"inserted" + data[400_000:], SMALL))
    new = [piece for piece in after if piece.sha256 not in before]
    assert 1 <= len(new) <= 4
    assert new[0].offset <= 400_000 <= new[-1].offset + new[-1].size


def test_the_buffer_does_not_grow_with_the_stream() -> None:
    cutter = Cutter(SMALL)
    rooms = set()
    for number in range(100):
        rooms.add(len(cutter.room().obj))  # type: ignore[arg-type]
        list(cutter.feed(memoryview(noise(number, 1 << 20))))
    assert len(rooms) == 1
    assert max(rooms) < 5 << 20


def described_cuts(data: bytes, average: int) -> list[int]:
    """The sizes of the pieces by the description in docs/delta.md alone, with nothing of the library."""
    masks = {int(bits): int(mask, 16) for bits, mask in re.findall(r"\| (\d+) \| `(0x[0-9a-f]{16})` \|", PAGE)}
    gear = [int.from_bytes(hashlib.md5(bytes([byte]) * 64).digest()[:8], "big") for byte in range(256)]
    bits = average.bit_length() - 1
    sizes, start = [], 0
    while start < len(data):
        left = min(len(data) - start, average * 4)
        size, state = left, 0
        for position in range(average // 4, left - left % 2):
            state = (state * 2 + gear[data[start + position]]) % 2**64
            before_center = position < min(average, left) // 2 * 2
            if not state & masks[bits + 1 if before_center else bits - 1]:
                size = position
                break
        sizes.append(size)
        start += size
    return sizes


@pytest.mark.parametrize("content", [counted(300_001), noise(3, 200_000), bytes(100_000), b"text, again. " * 9000])
@pytest.mark.parametrize("average", [4 << 10, 16 << 10])
def test_the_page_describes_the_cuts(content: bytes, average: int) -> None:
    assert described_cuts(content, average) == [piece.size for piece in cut(content, Cutting(average))]


def test_the_published_cuts_do_not_change() -> None:
    # Stored signatures, and programs in other languages, rest on these.
    vectors = re.findall(r"<!-- cuts of (\d+) at (\d+) -->\n```\n(.*?)```", PAGE, re.DOTALL)
    assert len(vectors) == 2
    for size, average, sizes in vectors:
        assert list(map(int, sizes.split())) == [p.size for p in cut(counted(int(size)), Cutting(int(average)))]
