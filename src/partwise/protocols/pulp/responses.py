"""Answers as JSON: one record, or one page of a listing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from partwise.protocols.pulp.requests import page_window

#: Exactly this: a charset parameter trips Pulp's clients.
_JSON = "application/json"


def json_response(
    request: Request, model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """``model`` as JSON, cut down to ``fields`` or without ``exclude_fields`` if the query asks for that."""
    wanted, unwanted = _names(request, "fields"), _names(request, "exclude_fields")
    if wanted or unwanted:
        return JSONResponse(_cut(model.model_dump(mode="json"), wanted, unwanted), status, headers)
    return Response(model.model_dump_json(), status, headers, _JSON)


def page_response(request: Request, items: Iterable[BaseModel], count: int) -> Response:
    """One page of a listing of ``count`` items."""
    offset, limit = page_window(request)
    wanted, unwanted = _names(request, "fields"), _names(request, "exclude_fields")
    results = [_cut(item.model_dump(mode="json"), wanted, unwanted) for item in items]
    return JSONResponse(
        {
            "count": count,
            "next": _page(request, offset + limit, limit) if offset + limit < count else None,
            "previous": _page(request, max(0, offset - limit), limit) if offset else None,
            "results": results,
        }
    )


def _page(request: Request, offset: int, limit: int) -> str:
    others = [(key, value) for key, value in request.query_params.multi_items() if key not in {"offset", "limit"}]
    return f"{request.url.path}?{urlencode([*others, ('offset', offset), ('limit', limit)])}"


def _names(request: Request, parameter: str) -> set[str]:
    values = request.query_params.getlist(parameter)
    return {name.strip() for value in values for name in value.split(",") if name.strip()}


def _cut(members: dict[str, Any], wanted: set[str], unwanted: set[str]) -> dict[str, Any]:
    return {key: value for key, value in members.items() if (not wanted or key in wanted) and key not in unwanted}
