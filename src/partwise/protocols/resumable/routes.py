"""Routes of resumable uploads."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from partwise.core.errors import PartwiseError
from partwise.http.dialect import Dialect, Site
from partwise.http.problems import METHOD_NOT_ALLOWED, Refusal
from partwise.protocols.resumable import uploads
from partwise.protocols.resumable.answers import FILES, PREFIX, limits, refused, render
from partwise.protocols.resumable.fields import LENGTH, LIMIT, OFFSET, read
from partwise.protocols.resumable.versions import FIELD

#: Fields of requests and of answers, for pages of other origins (CORS). tus-js-client adds those of tus.
REQUEST_FIELDS = (
    FIELD,
    "Upload-Complete",
    "Upload-Incomplete",
    OFFSET,
    LENGTH,
    "Content-Disposition",
    "Repr-Digest",
    "Want-Repr-Digest",
    "Upload-Metadata",
    "Upload-Defer-Length",
    "X-Request-ID",
)
ANSWER_FIELDS = (
    FIELD,
    "Location",
    "Upload-Complete",
    "Upload-Incomplete",
    OFFSET,
    LENGTH,
    LIMIT,
    "Repr-Digest",
)

Handler = Callable[[Site, Request], Awaitable[Response]]

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def dialect(site: Site) -> Dialect:
    """Resumable uploads, below ``/resumable/``."""
    root = _dispatch(site, {"POST": uploads.create, "PUT": uploads.create, "OPTIONS": _options})
    one = _dispatch(
        site,
        {
            "HEAD": uploads.retrieve,
            "GET": uploads.retrieve,
            "PATCH": uploads.append,
            "DELETE": uploads.cancel,
            "OPTIONS": _allowed,
        },
    )
    file = _dispatch(site, {"GET": uploads.download, "HEAD": uploads.download})
    paths = {
        PREFIX: root,
        PREFIX.rstrip("/"): root,
        f"{PREFIX}{{upload_id}}": one,
        f"{FILES}{{artifact_id}}": file,
    }
    return Dialect(
        prefix=PREFIX,
        routes=[Route(path, endpoint, methods=_METHODS) for path, endpoint in paths.items()],
        request_fields=REQUEST_FIELDS,
        answer_fields=ANSWER_FIELDS,
        ticketed=[(frozenset({"HEAD", "GET", "PATCH"}), re.compile(f"{PREFIX}(?P<id>[^/]+)"))],
        render=render,
    )


def _dispatch(site: Site, handlers: Mapping[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
    allowed = ", ".join(handlers)

    async def endpoint(request: Request) -> Response:
        handler = handlers.get(request.method)
        if handler is None:
            raise Refusal(METHOD_NOT_ALLOWED, headers={"Allow": allowed})
        try:
            return await handler(site, request)
        except (PartwiseError, Refusal) as error:
            return await refused(site, request, error)

    return endpoint


async def _options(site: Site, request: Request) -> Response:
    """Tell that uploads can be created here, and within which limits."""
    fields = {"Allow": "POST, PUT, OPTIONS", **limits(site, read(request.headers).version)}
    return Response(status_code=204, headers=fields)


async def _allowed(_site: Site, _request: Request) -> Response:
    return Response(status_code=204, headers={"Allow": "HEAD, GET, PATCH, DELETE, OPTIONS"})
