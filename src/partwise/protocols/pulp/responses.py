"""Answers as JSON: one record, or one page of a listing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from partwise.http.problems import BASE
from partwise.protocols.pulp.requests import page_window

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


def page_response(request: Request, items: Iterable[BaseModel], count: int) -> Response:
    """One page of a listing of ``count`` items."""
    offset, limit = page_window(request)
    wanted = members_wanted(request)
    results = [_cut(item.model_dump(mode="json"), wanted) for item in items]
    return JSONResponse(
        {
            "count": count,
            "next": _page(request, offset + limit, limit) if offset + limit < count else None,
            "previous": _page(request, max(0, offset - limit), limit) if offset else None,
            "results": results,
        }
    )


def members_wanted(request: Request) -> Callable[[str], bool] | None:
    """Whether a member of the answer, by its name, was asked for (``fields``, ``exclude_fields``); None: all were."""
    wanted, unwanted = _names(request, "fields"), _names(request, "exclude_fields")
    if not wanted and not unwanted:
        return None
    return lambda name: (not wanted or name in wanted) and name not in unwanted


def _page(request: Request, offset: int, limit: int) -> str:
    others = [(key, value) for key, value in request.query_params.multi_items() if key not in {"offset", "limit"}]
    return (
        f"{request.scope.get(BASE, '')}{request.url.path}?{urlencode([*others, ('offset', offset), ('limit', limit)])}"
    )


def _names(request: Request, parameter: str) -> set[str]:
    values = request.query_params.getlist(parameter)
    return {name.strip() for value in values for name in value.split(",") if name.strip()}


def _cut(members: dict[str, Any], wanted: Callable[[str], bool] | None) -> dict[str, Any]:
    return members if wanted is None else {key: value for key, value in members.items() if wanted(key)}
