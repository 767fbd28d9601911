from __future__ import annotations

import pytest

from partwise.cli.sizes import format_seconds, format_size, parse_size


@pytest.mark.parametrize(
    "text,size",
    [
        ("1", 1), ("16777216", 2**24), ("16MiB", 2**24), ("16M", 2**24), ("16 mib", 2**24), ("16MB", 16_000_000),
        ("1.5K", 1536), ("2T", 2**41), ("10b", 10), (" 7 ", 7),
    ],
)  # fmt: skip
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "M", "1.5", "1e9", "16 XB", "٣", "0x10", "1,5M", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    "size,text",
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (1536, "1.5 KiB"), (2**30, "1.0 GiB"), (5 * 2**50, "5120.0 TiB")],
)
def test_sizes_are_written(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize("seconds,text", [(0.42, "0.4 s"), (12.3, "12 s"), (187, "3:07"), (3765, "1:02:45")])
def test_times_are_written(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
