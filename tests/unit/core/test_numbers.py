from __future__ import annotations

import pytest

from partwise.core.errors import BadSize
from partwise.core.numbers import parse_size
from partwise.core.ranges import MAX_SIZE


@pytest.mark.parametrize("value, size", [(0, 0), (10485760, 10485760), ("10485760", 10485760), (MAX_SIZE, MAX_SIZE)])
def test_sizes_are_whole_numbers(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        1.5,
        1.0,
        -1,
        "-1",
        "+1",
        "1e9",
        "1.0",
        "",
        " 1",
        "٣",
        "²",
        "0x10",
        "1_000",
        [],
        {},
        MAX_SIZE + 1,
        "9" * 30,
    ],
)
def test_what_is_no_whole_number_is_no_size(value: object) -> None:
    with pytest.raises(BadSize):
        parse_size(value)
