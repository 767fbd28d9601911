"""Reading the query of a request, and what it prefers. What is wrong becomes an error of the tree."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from starlette.requests import Request

from partwise.core.errors import BadRequest
from partwise.core.records import PageKey

#: The most items of one page of a listing; a larger ``limit`` is taken as this.
MAX_LIMIT = 1000

_PARTIAL = re.compile(r'partial[ \t]*=[ \t]*(keep|"keep")', re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: The number of items before a page, when the last of them was created (microseconds since 1970), and its id.
_END = re.compile(r"([0-9]{1,15})\.(-?[0-9]{1,18})\.([!-~]{1,100})", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)


def keeps_partial(request: Request) -> bool:
    """Return whether received bytes of an interrupted body are kept: ``Prefer: partial=keep`` (RFC 7240)."""
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return any(_PARTIAL.fullmatch(preference.strip()) for preference in preferences)


@dataclass(frozen=True, slots=True)
class Window:
    """The requested page of a listing: ``limit`` items after the item with the key ``after``, or from ``offset``."""

    #: Items to skip, from the begin or behind ``after``.
    offset: int
    limit: int
    after: PageKey | None
    #: The number of items before the page, as far as the client knows.
    shown: int


def page_window(request: Request) -> Window:
    """Return the page that ``offset``, ``limit`` and ``after`` name. Raises BadRequest."""
    offset, limit = whole_number(request, "offset", 0), page_limit(request)
    text = request.query_params.get("after")
    end, after = _parse_end(text) if text else (0, None)
    if after is not None and end != offset:  # a client that counts by itself took the rest of `next` along
        after = None
    return Window(0 if after is not None else offset, limit, after, offset)


def end_of(offset: int, key: PageKey) -> str:
    """Return ``after`` of the page that begins at ``offset``, behind the item with ``key``."""
    created, item = key
    text = f"{offset}.{(created - _EPOCH) // _MICROSECOND}.{item}"
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse_end(text: str) -> tuple[int, PageKey]:
    try:
        found = _END.fullmatch(urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
        if found is None:
            raise ValueError(text)
        return int(found[1]), (_EPOCH + timedelta(microseconds=int(found[2])), found[3])
    except (ValueError, OverflowError):
        raise BadRequest("'after' is no end of a page. Use the path that 'next' gives.", field="after") from None


def page_limit(request: Request) -> int:
    """``limit`` of a listing. Raises BadRequest when it is no number."""
    return min(max(1, whole_number(request, "limit", 100)), MAX_LIMIT)


def whole_number(request: Request, name: str, default: int) -> int:
    """A query parameter that is a whole number. Raises BadRequest when it is something else."""
    value = request.query_params.get(name, "")
    if not value:
        return default
    if not _NUMBER.fullmatch(value):
        raise BadRequest(f"'{name}' is not a whole number. Send decimal digits.", field=name)
    return int(value)


def numbers(request: Request, name: str) -> frozenset[int] | None:
    """The whole numbers that a query parameter, given once or often, names; None when it is not given."""
    values = request.query_params.getlist(name)
    if not all(_NUMBER.fullmatch(value) for value in values):
        raise BadRequest(f"'{name}' is not a whole number. Send decimal digits.", field=name)
    return frozenset(map(int, values)) or None


def chosen(request: Request, name: str, known: type[StrEnum], *, what: str = "state") -> tuple[str, ...]:
    """The values of a query parameter that may come several times, or with commas. Raises BadRequest."""
    values = tuple(value for text in request.query_params.getlist(name) for value in text.split(",") if value)
    names = {member.value for member in known}
    if not names.issuperset(values):
        raise BadRequest(f"The {what} is unknown. Use one of: {', '.join(sorted(names))}.", field=name)
    return values


def flag(request: Request, name: str) -> bool:
    """Return whether a query parameter is true."""
    return request.query_params.get(name, "").lower() in {"true", "1", "yes"}
