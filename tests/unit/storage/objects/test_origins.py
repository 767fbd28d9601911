"""Parts that an object store copies to make an object, and those that the server reads and sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.core.errors import NotFound
from partwise.core.ranges import ByteRange
from partwise.core.records import Segment
from partwise.storage.objects.origins import find_origins, is_copied

MIB = 1 << 20
LEAST = 5 * MIB


def segments(*sizes: int) -> list[Segment]:
    return [Segment(offset=sum(sizes[:number]), size=size, ref=f"{number}") for number, size in enumerate(sizes)]


def found(sizes: list[int], start: int, end: int) -> list[tuple[int, int, str]]:
    """Each part, and the objects that it is copied or (in brackets) read from."""
    parts = find_origins(segments(*sizes), ByteRange(start, end - start))
    return [(part.span.offset, part.span.end, names(part.source)) for part in parts]


def names(source: object) -> str:
    if isinstance(source, Segment):
        return source.ref
    assert isinstance(source, tuple)
    return f"({' '.join(segment.ref for segment in source)})"


def test_each_copied_part_lies_within_one_object() -> None:
    assert found([8 * MIB, 8 * MIB, 8 * MIB], 3 * MIB, 18 * MIB) == [
        (3 * MIB, 8 * MIB, "0"),
        (8 * MIB, 16 * MIB, "1"),
        (16 * MIB, 18 * MIB, "2"),
    ]


def test_too_little_of_an_object_is_read_with_what_follows() -> None:
    assert found([16 * MIB, 16 * MIB, 16 * MIB], 16 * MIB - 1, 40 * MIB) == [
        (16 * MIB - 1, 21 * MIB - 1, "(0 1)"),
        (21 * MIB - 1, 32 * MIB, "1"),
        (32 * MIB, 40 * MIB, "2"),
    ]


def test_large_objects_are_copied_in_steps() -> None:
    assert found([200 * MIB], 0, 133 * MIB) == [
        (0, 64 * MIB, "0"),
        (64 * MIB, 128 * MIB, "0"),
        (128 * MIB, 133 * MIB, "0"),
    ]
    assert found([200 * MIB], 0, 133 * MIB - 1) == [(0, 64 * MIB, "0"), (64 * MIB, 133 * MIB - 1, "0")]


@pytest.mark.parametrize(
    "sizes, start, end", [([MIB] * 20, 0, 20 * MIB), ([LEAST] * 4, 0, 2 * LEAST), ([64 * MIB], 5, MIB + 4)]
)
def test_nothing_is_copied_of_small_objects_or_for_a_small_range(sizes: list[int], start: int, end: int) -> None:
    assert found(sizes, start, end) == []


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), st.data())
def test_parts_are_what_stores_take(sizes: list[int], data: st.DataObject) -> None:
    end = data.draw(st.integers(1, sum(sizes)))
    span = ByteRange(start := data.draw(st.integers(0, end - 1)), end - start)
    parts = find_origins(segments(*sizes), span, least=7)
    position = span.offset
    for part in parts:
        assert part.span.offset == position
        position = part.span.end
        assert part.span.size >= 7 or position == span.end
        if isinstance(part.source, Segment):
            assert part.source.size > 7
            assert part.source.offset <= part.span.offset < position <= part.source.range.end
        else:
            assert part.span.size <= 7
    assert position == span.end if parts else not any(map(is_copied, parts))


@pytest.mark.parametrize("sizes, start, end", [([8 * MIB], MIB, 9 * MIB), ([], 0, 1)])
def test_segments_that_do_not_cover_the_range(sizes: list[int], start: int, end: int) -> None:
    with pytest.raises(NotFound):
        found(sizes, start, end)


def test_segments_with_a_gap() -> None:
    first, _, last = segments(8 * MIB, 8 * MIB, 8 * MIB)
    with pytest.raises(NotFound):
        find_origins([first, last], ByteRange(0, 24 * MIB))
