"""Routes of tus: protocol version, methods, and errors."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from partwise.http.dialect import Dialect, Site
from partwise.http.problems import METHOD_NOT_ALLOWED, UNSUPPORTED_VERSION, ProblemResponse, Refusal
from partwise.http.requests import single
from partwise.protocols.tus import uploads
from partwise.protocols.tus.fields import ALGORITHMS
from partwise.protocols.tus.uploads import PREFIX

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "checksum",
    "expiration",
    "termination",
    "concatenation",
)

#: Fields that a request has once.
SINGLE_FIELDS = (
    "Tus-Resumable",
    "Upload-Length",
    "Upload-Offset",
    "Upload-Defer-Length",
    "Upload-Metadata",
    "Upload-Concat",
    "Upload-Checksum",
    "X-HTTP-Method-Override",
)

#: Fields of requests and of answers, for pages of other origins (CORS).
REQUEST_FIELDS = (*SINGLE_FIELDS, "X-Request-ID", "X-Requested-With")
ANSWER_FIELDS = (
    "Location",
    "Tus-Resumable",
    "Tus-Version",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Checksum-Algorithm",
    "Upload-Length",
    "Upload-Offset",
    "Upload-Defer-Length",
    "Upload-Metadata",
    "Upload-Concat",
    "Upload-Expires",
    "Repr-Digest",
)

Handler = Callable[[Site, Request], Awaitable[Response]]

#: Every method is let in, since another one may be meant (X-HTTP-Method-Override), and refusals are of tus too.
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def dialect(site: Site) -> Dialect:
    """tus, below ``/tus/``."""
    return Dialect(
        prefix=PREFIX,
        routes=_routes(site),
        request_fields=REQUEST_FIELDS,
        answer_fields=ANSWER_FIELDS,
        ticketed=[(frozenset({"HEAD", "PATCH"}), re.compile(f"{PREFIX}(?P<id>[^/]+)"))],
        method_override=True,
        render=_render,
    )


def _render(problem: ProblemResponse) -> Response:
    """Every answer names the version, also one that is given before the request comes here."""
    response = problem.plain()
    response.headers["Tus-Resumable"] = VERSION
    return response


def _routes(tus: Site) -> list[Route]:
    """The place where uploads are created, and the uploads."""
    root = _dispatch(tus, {"POST": uploads.create})
    one = _dispatch(tus, {"HEAD": uploads.head, "PATCH": uploads.patch, "DELETE": uploads.delete, "GET": uploads.get})
    paths = {PREFIX: root, PREFIX.rstrip("/"): root, f"{PREFIX}{{upload_id}}": one}
    return [Route(path, endpoint, methods=_METHODS) for path, endpoint in paths.items()]


def _dispatch(tus: Site, handlers: Mapping[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
    allowed = ", ".join((*handlers, "OPTIONS"))

    async def endpoint(request: Request) -> Response:
        method = request.method
        for name in SINGLE_FIELDS:
            single(request, name)
        if method == "OPTIONS":
            return _options(tus)
        # Reading is none of the protocol's methods: a browser or curl need not know the version.
        if method != "GET" and request.headers.get("Tus-Resumable") != VERSION:
            raise Refusal(UNSUPPORTED_VERSION, f"Send 'Tus-Resumable: {VERSION}'.", {"Tus-Version": VERSION})
        if method not in handlers:
            raise Refusal(METHOD_NOT_ALLOWED, headers={"Allow": allowed})
        response = await handlers[method](tus, request)
        response.headers["Tus-Resumable"] = VERSION
        return response

    return endpoint


def _options(tus: Site) -> Response:
    headers = {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": ",".join(EXTENSIONS),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    largest = tus.engine.limits.max_upload_size
    if largest is not None:
        headers["Tus-Max-Size"] = str(largest)
    return Response(status_code=204, headers=headers)
