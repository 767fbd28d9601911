"""Sizes as clients write them: JSON numbers, or the decimal strings of forms and of httpie's ``size=…``."""

from __future__ import annotations

import re

from partwise.core.errors import BadSize
from partwise.core.ranges import MAX_SIZE

_DECIMAL = re.compile(r"[0-9]{1,20}", re.ASCII)


def parse_size(value: object) -> int:
    """The size in bytes that ``value`` declares: an int, or a string of ASCII decimal digits.

    Raises BadSize for all else (booleans, floats, signs, exponents, other scripts' digits) and above MAX_SIZE.
    """
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadSize("The size is not valid. Send a whole number of bytes, such as 10485760.")
    if value < 0:
        raise BadSize("The size is negative. Send a whole number of bytes.")
    if value > MAX_SIZE:
        raise BadSize(f"The size exceeds the largest size, {MAX_SIZE} bytes.")
    return value
