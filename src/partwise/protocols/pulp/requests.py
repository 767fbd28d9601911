"""Reading the query of a request, and what it prefers. What is wrong becomes an error of the tree."""

from __future__ import annotations

import re
from enum import StrEnum

from starlette.requests import Request

from partwise.core.errors import BadRequest

#: The most items of one page of a listing; a larger ``limit`` is taken as this.
MAX_LIMIT = 1000

_PARTIAL = re.compile(r'partial[ \t]*=[ \t]*(keep|"keep")', re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)


def keeps_partial(request: Request) -> bool:
    """Whether the client prefers that what came of a body that was cut is kept: ``Prefer: partial=keep`` (RFC 7240)."""
    preferences = ",".join(request.headers.getlist("prefer")).lower().split(",")
    return any(_PARTIAL.fullmatch(preference.strip()) for preference in preferences)


def page_window(request: Request) -> tuple[int, int]:
    """``offset`` and ``limit`` of a listing. Raises BadRequest when they are no numbers."""
    return whole_number(request, "offset", 0), page_limit(request)


def page_limit(request: Request) -> int:
    """``limit`` of a listing. Raises BadRequest when it is no number."""
    return min(max(1, whole_number(request, "limit", 100)), MAX_LIMIT)


def whole_number(request: Request, name: str, default: int) -> int:
    """A query parameter that is a whole number. Raises BadRequest when it is something else."""
    value = request.query_params.get(name, "")
    if not value:
        return default
    if not _NUMBER.fullmatch(value):
        raise BadRequest(f"'{name}' must be a whole number.", field=name)
    return int(value)


def numbers(request: Request, name: str) -> frozenset[int] | None:
    """The whole numbers that a query parameter, given once or often, names; None when it is not given."""
    values = request.query_params.getlist(name)
    if not all(_NUMBER.fullmatch(value) for value in values):
        raise BadRequest(f"'{name}' must be a whole number.", field=name)
    return frozenset(map(int, values)) or None


def chosen(request: Request, name: str, known: type[StrEnum], *, what: str = "state") -> tuple[str, ...]:
    """The values of a query parameter that may come several times, or with commas. Raises BadRequest."""
    values = tuple(value for text in request.query_params.getlist(name) for value in text.split(",") if value)
    names = {member.value for member in known}
    if not names.issuperset(values):
        raise BadRequest(f"A {what} is one of: {', '.join(sorted(names))}.", field=name)
    return values


def flag(request: Request, name: str) -> bool:
    """Whether a query parameter says yes."""
    return request.query_params.get(name, "").lower() in {"true", "1", "yes"}
