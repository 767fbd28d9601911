"""Routes of drf-chunked-upload's clients, and their error responses."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from partwise.http.dialect import Dialect, Site
from partwise.http.problems import METHOD_NOT_ALLOWED, ProblemResponse, Refusal
from partwise.protocols.drf import uploads
from partwise.protocols.drf.record import FILES, PREFIX

Handler = Callable[[Site, Request], Awaitable[Response]]


def dialect(site: Site) -> Dialect:
    """drf-chunked-upload, below ``/drf/``. Every path may be written with or without its final slash."""
    root = _dispatch(site, {"GET": uploads.index, "PUT": uploads.begin, "POST": uploads.store})
    one = _dispatch(site, {"GET": uploads.show, "HEAD": uploads.show, "PUT": uploads.append, "POST": uploads.complete})
    file = _dispatch(site, {"GET": uploads.download, "HEAD": uploads.download})
    handlers = {PREFIX: root, f"{PREFIX}{{upload_id}}/": one, f"{FILES}{{artifact_id}}/": file}
    paths = handlers | {path.rstrip("/"): endpoint for path, endpoint in handlers.items()}
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    routes = [Route(path, endpoint, methods=methods) for path, endpoint in paths.items()]
    ticketed = [(frozenset({"GET", "HEAD", "PUT", "POST"}), re.compile(f"{PREFIX}(?P<id>[^/]+)/?"))]
    return Dialect(prefix=PREFIX, routes=routes, ticketed=ticketed, render=_render)


def _dispatch(site: Site, handlers: Mapping[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
    allowed = ", ".join(handlers)

    async def endpoint(request: Request) -> Response:
        handler = handlers.get(request.method)
        if handler is None:
            raise Refusal(METHOD_NOT_ALLOWED, f'Method "{request.method}" not allowed.', {"Allow": allowed})
        return await handler(site, request)

    return endpoint


def _render(problem: ProblemResponse) -> Response:
    """``detail``, and what a client needs beside it to go on."""
    left_out = {"type", "title", "status"}
    content = {name: value for name, value in problem.content.items() if name not in left_out}
    headers = {name: value for name, value in problem.headers.items() if not name.startswith("content-")}
    return JSONResponse(content, problem.status_code, headers)
