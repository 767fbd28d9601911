from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.core.content_range import format_content_range, parse_content_range
from partwise.core.errors import BadContentRange
from partwise.core.ranges import MAX_SIZE, ByteRange


@pytest.mark.parametrize(
    "value, offset, size, total",
    [
        ("bytes 0-0/1", 0, 1, 1),
        ("bytes 6291456-10485759/10485760", 6291456, 4194304, 10485760),
        ("bytes 5-9/*", 5, 5, None),
        ("  Bytes\t5-9/10 ", 5, 5, 10),
        ("bytes 007-9/0010", 7, 3, 10),
    ],
)
def test_content_range_is_parsed(value: str, offset: int, size: int, total: int | None) -> None:
    parsed = parse_content_range(value)
    assert (parsed.range, parsed.total) == (ByteRange(offset, size), total)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes */10",
        "bytes 0-9",
        "bytes=0-9/10",
        "bytes 0-9/10, bytes 10-19/20",
        "bytes -1-9/10",
        "bytes +0-9/10",
        "bytes 9-0/10",
        "bytes 0-10/10",
        "bytes 0-9/9",
        "bytes 0 - 9/10",
        "bytes \u0660-\u0669/10",
        "chunks 0-9/10",
        f"bytes 0-{MAX_SIZE + 1}/*",
        f"bytes 0-9/{MAX_SIZE + 1}",
        "bytes 0-99999999999999999999999999/*",
        "bytes 0-9/10\x00",
        "bytes 1e1-20/30",
    ],
)
def test_content_range_is_refused(value: str) -> None:
    with pytest.raises(BadContentRange):
        parse_content_range(value)


@given(st.integers(0, 2**40), st.integers(1, 2**40), st.integers(0, 2**40))
def test_content_range_survives_a_round_trip(offset: int, size: int, more: int) -> None:
    span = ByteRange(offset, size)
    parsed = parse_content_range(format_content_range(span, span.end + more))
    assert (parsed.range, parsed.total) == (span, span.end + more)
