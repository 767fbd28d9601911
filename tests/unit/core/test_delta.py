from __future__ import annotations

import tracemalloc
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from partwise.core.delta import SMALLEST_COPY, Copy, Matcher, Script, Send
from partwise.core.pieces import Cutting, Piece
from partwise.core.ranges import ByteRange
from partwise.core.signature import Signature, pack
from tests.support.edits import Edit, cut, edited, noise, scripts, sign


def made(signature: Signature, new: bytes, smallest: int = SMALLEST_COPY) -> list[Copy | Send]:
    """The script that makes ``new`` of the file that was signed."""
    script = Script(Matcher(signature), smallest_copy=smallest)
    ranges = [part for piece in cut(new, signature.cutting) for part in script.add(piece)]
    return ranges + list(script.end())


def rebuilt(base: bytes, new: bytes, ranges: list[Copy | Send]) -> bytes:
    """What ``ranges`` amount to: copies come from ``base``."""
    parts = []
    for part in ranges:
        if isinstance(part, Copy):
            parts.append(base[part.source : part.source + part.range.size])
        else:
            parts.append(new[part.range.offset : part.range.end])
    return b"".join(parts)


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 400_000), seed=st.integers(0, 2), script=scripts, smallest=st.sampled_from([1, 8192, 30_000])
)
def test_any_edit_script_gives_the_right_file(size: int, seed: int, script: list[Edit], smallest: int) -> None:
    base = noise(seed, size)
    new = edited(base, script)
    ranges = made(sign(base), new, smallest)
    assert rebuilt(base, new, ranges) == new
    position = 0
    for part in ranges:
        assert part.range.offset == position
        position = part.range.end
        assert part.range.size > 0
        if isinstance(part, Copy):
            assert part.range.size >= smallest
            assert 0 <= part.source <= part.source + part.range.size <= len(base)
    for one, next_ in pairwise(ranges):
        assert not (isinstance(one, Send) and isinstance(next_, Send)), "neighbours are merged"


def test_an_unchanged_file_is_one_copy() -> None:
    base = noise(1, 300_000)
    assert made(sign(base), base) == [Copy(ByteRange(0, 300_000), 0)]


def test_an_insertion_at_the_front_moves_all_the_rest() -> None:
    base = noise(1, 2 << 20)
    first, second = made(sign(base), noise(2, 10_000) + base)
    assert isinstance(first, Send)
    assert isinstance(second, Copy)
    assert first.range.size < 10_000 + 2 * 16_384
    assert second.source + second.range.size == len(base)


def test_repeated_pieces_go_on_with_their_run() -> None:
    # Zeros are in the base twice: a copy must not jump back to the first ones and be cut in two.
    base = noise(1, 100_000) + bytes(64 << 10) + noise(2, 100_000) + bytes(64 << 10) + noise(3, 100_000)
    assert made(sign(base), base) == [Copy(ByteRange(0, len(base)), 0)]


def test_nothing_in_common_is_sent_in_one_range() -> None:
    assert made(sign(noise(1, 500_000)), noise(2, 500_000)) == [Send(ByteRange(0, 500_000))]
    assert made(sign(b""), noise(2, 500_000)) == [Send(ByteRange(0, 500_000))]
    assert made(sign(noise(1, 500_000)), b"") == []


def test_a_piece_of_another_size_does_not_match() -> None:
    # A signature may lie: the size belongs to what is compared, else a copy could reach beyond the old file.
    signature = sign(noise(1, 100_000))
    pieces = list(signature.pieces())
    matcher = Matcher(signature)
    assert matcher.find(pieces[1]) == pieces[1].offset
    assert matcher.find(pieces[1]._replace(size=pieces[1].size - 1)) is None


def test_the_signature_of_fifty_gibibytes_takes_little_memory() -> None:
    size, cutting = 50 << 30, Cutting.of_size(50 << 30)
    pieces = [Piece(offset, cutting.average, offset.to_bytes(32, "big")) for offset in range(0, size, cutting.average)]
    encoded = Signature(cutting, size, "0" * 64, pack(pieces)).encode()
    assert len(encoded) < 8 << 20
    tracemalloc.start()
    matcher = Matcher(Signature.decode(encoded))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 6 << 20
    assert all(matcher.find(piece) == piece.offset for piece in pieces[::1000])
