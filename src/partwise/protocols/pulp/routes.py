"""The table of calls as routes. Every path may be written with or without its final slash: no call is redirected."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import fields
from functools import cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from partwise.http.dialect import Dialect, Site
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.openapi import document
from partwise.protocols.pulp.operations import OPERATIONS, Operation

Endpoint = Callable[[Request], Awaitable[Response]]


def dialect(site: Site) -> Dialect:
    """The REST API in Pulp's shape, below the site's ``api_prefix``."""
    api = Api(**{field.name: getattr(site, field.name) for field in fields(Site)})
    greeting = [api.prefix + operation.path for operation in OPERATIONS if operation.greets]
    return Dialect(
        prefix=api.prefix,
        routes=routes(api),
        # Clients read the description of the API before they sign in.
        public=[f"{api.prefix}docs/{name}.json" for name in ("api", "openapi")],
        greeting=[form for path in greeting for form in (path, path.rstrip("/"))],
        downloads=f"{api.prefix}artifacts/",
        request_fields=("Last-Event-ID",),
        ticketed=[
            (frozenset({"GET", "HEAD", "PUT"}), re.compile(f"{re.escape(api.prefix)}uploads/(?P<id>[^/]+)/?")),
            (frozenset({"PUT", "POST"}), re.compile(f"{re.escape(api.prefix)}uploads/(?P<id>[^/]+)/commit/?")),
        ],
    )


def routes(api: Api) -> list[Route]:
    """One route for each path and its form without the final slash, with all methods of that path."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    made = []
    for path, methods in by_path.items():
        made += _both(api.prefix + path, _dispatch(api, methods), list(methods))
    for name, pulp_paths in (("docs/api.json", True), ("docs/openapi.json", False)):
        made += _both(api.prefix + name, _document(api, pulp_paths), ["GET"])
    return made


def _both(path: str, endpoint: Endpoint, methods: list[str]) -> list[Route]:
    return [Route(form, endpoint, methods=methods) for form in dict.fromkeys((path, path.rstrip("/")))]


def _dispatch(api: Api, methods: dict[str, Operation]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        return await operation.handler(api, request)

    return endpoint


def _document(api: Api, pulp_paths: bool) -> Endpoint:
    @cache  # made when somebody first asks: it costs as much as the rest of a start
    def content() -> bytes:
        described = document(api.base + api.prefix, pulp_paths=pulp_paths, authenticated=api.authenticated)
        return json.dumps(described).encode()

    async def endpoint(_request: Request) -> Response:
        return Response(content(), media_type="application/json")

    return endpoint
