"""Sizes as people write and read them. ``16MiB``, ``16M`` and ``16777216`` are the same; ``16MB`` is 16,000,000."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {
    "": 1, "b": 1,
    "k": 2**10, "kib": 2**10, "kb": 10**3,
    "m": 2**20, "mib": 2**20, "mb": 10**6,
    "g": 2**30, "gib": 2**30, "gb": 10**9,
    "t": 2**40, "tib": 2**40, "tb": 10**12,
}  # fmt: skip
_AGES = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_AGE = re.compile(r"([0-9]{1,5})([mhd])", re.ASCII)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([a-z]*)", re.ASCII | re.IGNORECASE)


def parse_size(text: str) -> int:
    """Whole bytes, at least one. Raises ValueError with a sentence that says how sizes are written."""
    match = _SIZE.fullmatch(text.strip())
    size = float(match[1]) * _UNITS.get(match[2].lower(), 0) if match else 0
    if size < 1 or size != int(size):
        raise ValueError(f"{text!r} is not a size. Write bytes (1048576) or a unit (16MiB, 64M, 1GB).")
    return int(size)


def parse_age(text: str) -> timedelta:
    """A time from its number and unit: ``30m``, ``12h``, ``7d``. Raises ValueError with a sentence."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration. Write a number and a unit, such as 30m, 12h or 7d.")
    return int(match[1]) * _AGES[match[2]]


def format_size(size: float) -> str:
    """A size with three significant digits or so: ``512 B``, ``1.5 MiB``, ``10.0 GiB``."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1000 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{int(size)} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def format_seconds(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3:07``, ``1:02:45``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
