"""Answers as JSON: one record, or one page of a listing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from partwise.core.records import Page
from partwise.http.problems import BASE
from partwise.protocols.pulp.requests import end_of, page_window

#: Exactly this: a charset parameter trips Pulp's clients.
JSON = "application/json"


def json_response(
    request: Request, model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """``model`` as JSON, cut down to ``fields`` or without ``exclude_fields`` if the query asks for that."""
    wanted = members_wanted(request)
    if wanted is not None:
        return JSONResponse(_cut(model.model_dump(mode="json"), wanted), status, headers)
    return Response(model.model_dump_json(), status, headers, JSON)


class _Listed(Protocol):
    """A record of a listing."""

    @property
    def id(self) -> str: ...
    @property
    def created(self) -> datetime: ...


L = TypeVar("L", bound=_Listed)


def page_response(request: Request, page: Page[L], render: Callable[[L], BaseModel]) -> Response:
    """One page of a listing."""
    window = page_window(request)
    offset, limit = window.shown, window.limit
    wanted = members_wanted(request)
    results = [_cut(render(item).model_dump(mode="json"), wanted) for item in page.items]
    following = None
    if page.more:
        last = page.items[-1]
        end = offset + len(page.items)
        following = _page(request, end, limit, end_of(end, (last.created, last.id)))
    return JSONResponse(
        {
            "count": page.count,
            "next": following,
            "previous": _page(request, max(0, offset - limit), limit) if offset else None,
            "results": results,
        }
    )


def members_wanted(request: Request) -> Callable[[str], bool] | None:
    """Return a test for requested members by name (``fields``, ``exclude_fields``); None: all members."""
    wanted, unwanted = _names(request, "fields"), _names(request, "exclude_fields")
    if not wanted and not unwanted:
        return None
    return lambda name: (not wanted or name in wanted) and name not in unwanted


def _page(request: Request, offset: int, limit: int, after: str | None = None) -> str:
    window = {"offset": offset, "limit": limit} | ({"after": after} if after is not None else {})
    query = [(key, value) for key, value in request.query_params.multi_items() if key not in {*window, "after"}]
    return f"{request.scope.get(BASE, '')}{request.url.path}?{urlencode([*query, *window.items()])}"


def _names(request: Request, parameter: str) -> set[str]:
    values = request.query_params.getlist(parameter)
    return {name.strip() for value in values for name in value.split(",") if name.strip()}


def _cut(members: dict[str, Any], wanted: Callable[[str], bool] | None) -> dict[str, Any]:
    return members if wanted is None else {key: value for key, value in members.items() if wanted(key)}
