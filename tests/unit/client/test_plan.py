from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from partwise.client.plan import DEFAULT_CHUNK_BYTES, MIB, MOST_CHUNKS, choose_chunk_size, plan
from partwise.core.ranges import ByteRange, missing_ranges


def test_a_new_upload_is_cut_from_the_start_and_the_last_chunk_is_shorter() -> None:
    assert plan(25, [], 10) == [ByteRange(0, 10), ByteRange(10, 10), ByteRange(20, 5)]


def test_an_empty_file_needs_no_chunk() -> None:
    assert plan(0, [], 10) == []


def test_what_the_server_has_is_left_out_whatever_its_chunk_size_was() -> None:
    recorded = [ByteRange(90, 10), ByteRange(3, 4)]
    assert plan(100, recorded, 50) == [ByteRange(0, 3), ByteRange(7, 50), ByteRange(57, 33)]


@given(
    size=st.integers(0, 500),
    chunk_size=st.integers(1, 600),
    cuts=st.sets(st.integers(0, 500)),
    kept=st.sets(st.integers(0, 50)),
)
def test_plan_and_recorded_chunks_make_the_whole_file_without_overlap(
    size: int, chunk_size: int, cuts: set[int], kept: set[int]
) -> None:
    edges = sorted({0, size, *(cut for cut in cuts if cut < size)})
    spans = [ByteRange(a, b - a) for a, b in itertools.pairwise(edges)]
    recorded = [span for number, span in enumerate(spans) if number in kept]
    pieces = plan(size, recorded, chunk_size)
    assert pieces == sorted(pieces)
    assert all(0 < piece.size <= chunk_size for piece in pieces)
    both = sorted(pieces + recorded)
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(both))
    assert list(missing_ranges(size, both)) == []


def test_the_user_decides_the_chunk_size_then_the_server_then_we() -> None:
    assert choose_chunk_size(100, 7, 5) == 7
    assert choose_chunk_size(100, None, 5) == 5
    assert choose_chunk_size(5 * MOST_CHUNKS, None, 5) == 5
    assert choose_chunk_size(100, None, None) == DEFAULT_CHUNK_BYTES


def test_chunks_of_huge_files_grow_so_that_their_number_stays_bounded() -> None:
    size = 10 * 2**40
    chunk_size = choose_chunk_size(size, None, None)
    assert chunk_size % MIB == 0
    assert size / chunk_size <= MOST_CHUNKS
