"""The Content-Range field, which says where the bytes of a body belong (RFC 9110, section 14.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from partwise.core.errors import BadContentRange
from partwise.core.ranges import MAX_SIZE, ByteRange


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A parsed ``Content-Range`` request field; ``total`` is None where the client wrote ``*``."""

    range: ByteRange
    total: int | None


_CONTENT_RANGE = re.compile(r"bytes[ \t]+([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII | re.IGNORECASE)


def parse_content_range(value: str) -> ContentRange:
    """Parse ``bytes FIRST-LAST/(TOTAL|*)`` (RFC 9110, section 14.4).

    Raises BadContentRange, saying which rule is broken, for anything else: another unit, the unsatisfied form
    ``*/N``, signs, a first byte after the last, a last byte beyond the total, numbers above MAX_SIZE.
    """
    match = _CONTENT_RANGE.fullmatch(value.strip(" \t"))
    if match is None:
        raise BadContentRange("Content-Range is not valid. Write 'bytes FIRST-LAST/TOTAL'; TOTAL may be '*'.")
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if first > last:
        raise BadContentRange(f"Content-Range is not valid: its first byte {first} is after its last byte {last}.")
    if last > MAX_SIZE or (total or 0) > MAX_SIZE:
        raise BadContentRange(f"Content-Range exceeds the largest size, {MAX_SIZE} bytes.")
    if total is not None and last >= total:
        raise BadContentRange(f"Content-Range is not valid: its last byte {last} exceeds its total of {total} bytes.")
    return ContentRange(ByteRange(first, last - first + 1), total)


def format_content_range(chunk: ByteRange, total: int | None) -> str:
    """The value of ``Content-Range`` for a chunk of a file of ``total`` bytes (RFC 9110, section 14.4).

    ``total`` None: not known.
    """
    return f"bytes {chunk}/{'*' if total is None else total}"
