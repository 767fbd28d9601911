"""Routes of Box's SDKs. The API, uploads and tokens have the same base URL."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from partwise.http.dialect import Dialect, Site
from partwise.http.problems import METHOD_NOT_ALLOWED, NOT_SIGNED_IN, Refusal
from partwise.http.requests import parse_members, read_small
from partwise.protocols.box import files, sessions
from partwise.protocols.box.render import API, DOWNLOADS, PREFIX, SESSIONS, problem

Handler = Callable[[Site, Request], Awaitable[Response]]

#: Where a client gets its access token by client credentials.
TOKENS = f"{PREFIX}oauth2/token"

#: Seconds after which a client asks for its access token again. It stays good beyond that.
_TOKEN_SECONDS = 3600

#: Paths, with what each method does. Every one is let in: refusals have Box's look, too.
_CALLS: dict[str, dict[str, Handler]] = {
    SESSIONS: {"POST": sessions.create},
    f"{SESSIONS}/{{session_id}}": {
        "GET": sessions.status,
        "PUT": sessions.put_part,
        "DELETE": sessions.abort,
    },
    f"{SESSIONS}/{{session_id}}/parts": {"GET": sessions.parts},
    f"{SESSIONS}/{{session_id}}/commit": {"POST": sessions.commit},
    f"{API}files/content": {"POST": files.upload, "OPTIONS": files.preflight},
    f"{API}files/{{file_id}}": {"GET": files.show, "DELETE": files.delete},
    f"{API}files/{{file_id}}/content": {
        "GET": files.content,
        "POST": files.no_versions,
        "OPTIONS": files.no_versions,
    },
    f"{API}files/{{file_id}}/upload_sessions": {"POST": files.no_versions},
    f"{API}folders/{{folder_id}}": {"GET": files.folder},
    f"{API}folders/{{folder_id}}/items": {"GET": files.items},
    f"{API}users/me": {"GET": files.me},
    f"{DOWNLOADS}{{file_id}}": {"GET": files.download, "HEAD": files.download},
}

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def dialect(site: Site) -> Dialect:
    """Box, below ``/box/``."""
    calls = _CALLS | {TOKENS: {"POST": token}}
    return Dialect(
        prefix=PREFIX,
        routes=[Route(path, _dispatch(site, handlers), methods=_METHODS) for path, handlers in calls.items()],
        request_fields=("Digest", "Content-MD5", "If-Match", "X-Box-Client-Event-Info"),
        sign_in=(TOKENS,),
        ticketed=[
            (frozenset({"GET", "PUT"}), re.compile(f"{re.escape(SESSIONS)}/(?P<id>[^/]+)")),
            (frozenset({"GET"}), re.compile(f"{re.escape(SESSIONS)}/(?P<id>[^/]+)/parts")),
            (frozenset({"POST"}), re.compile(f"{re.escape(SESSIONS)}/(?P<id>[^/]+)/commit")),
        ],
        render=problem,
    )


def _dispatch(site: Site, handlers: dict[str, Handler]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        handler = handlers.get(request.method)
        if handler is None:
            raise Refusal(METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(handlers)})
        return await handler(site, request)

    return endpoint


async def token(site: Site, request: Request) -> Response:
    """Give the access token of a client, which is its secret (RFC 6749, section 4.4)."""
    members = parse_members(request, await read_small(site, request))
    secret = members.get("client_secret")
    if not isinstance(secret, str) or not await site.is_token(secret):
        raise Refusal(NOT_SIGNED_IN, "client_secret must be a token of this server.")
    content = {"access_token": secret, "expires_in": _TOKEN_SECONDS, "token_type": "bearer", "restricted_to": []}
    return JSONResponse(content, headers={"Cache-Control": "no-store"})
