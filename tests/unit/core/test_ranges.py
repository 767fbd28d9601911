from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from partwise.core.ranges import ByteRange, Gaps, frontier, missing_ranges, split


@st.composite
def recorded_chunks(draw: st.DrawFn) -> tuple[int, list[ByteRange]]:
    """A size, and chunks that do not overlap, by offset."""
    cuts = sorted(draw(st.sets(st.integers(0, 60), min_size=1)))
    chunks = [ByteRange(a, b - a) for a, b in itertools.pairwise(cuts) if draw(st.booleans())]
    return cuts[-1] + draw(st.integers(0, 3)), chunks


@given(recorded_chunks())
def test_missing_ranges_are_the_bytes_that_no_chunk_covers(case: tuple[int, list[ByteRange]]) -> None:
    size, chunks = case
    covered = {byte for chunk in chunks for byte in range(chunk.offset, chunk.end)}
    gaps = list(missing_ranges(size, chunks))
    assert [byte for gap in gaps for byte in range(gap.offset, gap.end)] == sorted(set(range(size)) - covered)
    assert all(a.end < b.offset for a, b in itertools.pairwise(gaps)), "gaps are as long as can be"


@given(recorded_chunks(), st.integers(0, 5))
def test_gaps_found_in_passing_are_the_missing_ranges(case: tuple[int, list[ByteRange]], named: int) -> None:
    size, chunks = case
    gaps = Gaps(named)
    for chunk in chunks:
        gaps.pass_by(chunk)
    gaps.end_at(size)
    missing = list(missing_ranges(size, chunks))
    assert (gaps.first, gaps.count) == (missing[:named], len(missing))


@given(recorded_chunks(), st.integers(0, 60))
def test_frontier_is_the_end_of_the_run_that_covers_the_start(case: tuple[int, list[ByteRange]], start: int) -> None:
    covered = {byte for chunk in case[1] for byte in range(chunk.offset, chunk.end)}
    expected = start
    while expected in covered:
        expected += 1
    assert frontier(case[1], start) == expected


@given(st.integers(0, 50), st.integers(0, 200), st.integers(1, 60))
def test_split_covers_the_span_in_order(offset: int, size: int, piece: int) -> None:
    pieces = list(split(ByteRange(offset, size), piece))
    assert [b for p in pieces for b in range(p.offset, p.end)] == list(range(offset, offset + size))
    assert all(p.size == piece for p in pieces[:-1])


def test_overlap_is_about_shared_bytes() -> None:
    assert ByteRange(0, 10).overlaps(ByteRange(9, 1))
    assert not ByteRange(0, 10).overlaps(ByteRange(10, 1))
    assert not ByteRange(10, 1).overlaps(ByteRange(0, 10))
    assert str(ByteRange(5, 5)) == "5-9"
