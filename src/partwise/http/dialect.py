"""The seam of the ways in: a *dialect* is one protocol of uploads, which translates to the engine and nothing else.

A dialect is a folder below ``partwise.protocols`` with a function that makes a ``Dialect`` of a ``Site``, and a line in
that package's table. Limits, owners, authentication, metrics, CORS and problems come from what stands before it; none
of that knows which dialects there are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from partwise.core.errors import PartwiseError
from partwise.core.records import Principal, Upload
from partwise.engine.creation import acting
from partwise.engine.engine import Engine
from partwise.http.intake import ABORT, BodyOf
from partwise.http.problems import RENDER, ProblemResponse, render_any
from partwise.http.sending import Sending

#: Who goes on with what a request has created, in its scope.
ACTING = "partwise.acting"

_logger = logging.getLogger(__name__)


async def any_token(_secret: str) -> bool:
    """Accept any token, for servers without authentication."""
    return True


async def always_known(_request: Request) -> bool:
    """Confirm the user again, on servers where permissions never change."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Environment of a dialect: the engine, request bodies, the authenticated user, and the operator's settings."""

    engine: Engine
    body_of: BodyOf
    who: Callable[[Request], Principal]
    #: Whether ``who`` may be asked; not so on paths that ``Dialect.greeting`` names.
    signed_in: Callable[[Request], bool] = lambda _request: True
    #: Whether whoever made a request would be let in once more, with the same rights: for answers that take long.
    still_known: Callable[[Request], Awaitable[bool]] = always_known
    #: Whether a secret is a token that opens something here.
    is_token: Callable[[str], Awaitable[bool]] = any_token
    #: Whether requests need credentials in their Authorization field.
    authenticated: bool = False
    #: The path of the REST API. Begins and ends with a slash.
    api_prefix: str = "/pulp/api/v3/"
    #: The path below which a proxy has put all of the server; empty, or without a final slash. Before every path that
    #: a client is told, and in none that a request is matched with.
    base: str = ""
    #: The scheme and host that clients reach the server by; None: those of each request.
    origin: str | None = None
    #: The folder into which administrators may release artifacts; None: nowhere.
    release_folder: Path | None = None
    #: Advice to clients: bytes of a chunk, and how many to send at once.
    chunk_size: int = 16 << 20
    parallel: int = 8

    def act_for_owner(self, request: Request, upload: Upload) -> Principal:
        """Have ``who`` say the owner of an upload that the request created, where the application chose another.

        The application allowed the request as a whole. Later requests are their sender's own.
        """
        request.scope[ACTING] = acting(self.who(request), upload.owner)
        return self.who(request)

    def absolute(self, request: Request, path: str) -> str:
        """The URL of a path of the server, for protocols that tell their clients whole URLs."""
        origin = self.origin or f"{request.url.scheme}://{request.headers.get('host', '')}"
        return f"{origin}{self.base}{path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One protocol of uploads, as the server sees it. Paths are absolute; all of them are below ``prefix``."""

    prefix: str
    routes: Sequence[BaseRoute]
    #: Header fields of requests and of answers that pages of other origins may use (CORS), beside the general ones.
    request_fields: Sequence[str] = ()
    answer_fields: Sequence[str] = ()
    #: Paths that anyone may read, also where a token is needed for all else.
    public: Sequence[str] = ()
    #: Paths that say less to those without a token.
    greeting: Sequence[str] = ()
    #: Paths of requests that bring their token in the body, and answer with what to send as one from then on.
    sign_in: Sequence[str] = ()
    #: Where downloads are, which the cookie for downloads opens: ``{downloads}ID/download/``.
    downloads: str | None = None
    #: What a ticket opens: methods, and a pattern of whole paths whose group ``id`` is the upload's.
    ticketed: Sequence[tuple[frozenset[str], re.Pattern[str]]] = ()
    #: Whether ``X-HTTP-Method-Override`` names the method that is meant.
    method_override: bool = False
    #: How this dialect's clients want to be told of a problem; as problem details by default, which are its ``plain``.
    render: Callable[[ProblemResponse], Response] | None = None


#: What makes a dialect.
MakeDialect = Callable[[Site], Dialect]


class AnswerErrors:
    """ASGI middleware that answers what a handler raises: no handler needs to render an error itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on. An answer that has begun breaks off, connection and all: nothing else can be said then."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sending = Sending(send)
        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            if sending.begun:
                abort = scope.get("extensions", {}).get(ABORT)
                if abort is None or not isinstance(error, PartwiseError):
                    raise
                _logger.error("a response was aborted: %s", error)
                abort()
                return
            await render_any(Request(scope), error)(scope, receive, send)


class InDialect:
    """ASGI middleware that gives each request the rules of its dialect: its method and the look of its problems.

    It stands before whatever notes what came of a request, and whatever looks at the method to decide who may do
    what: a check that sees another method than the handler lets changes through as reads.
    """

    def __init__(self, app: ASGIApp, dialects: Sequence[Dialect]) -> None:
        self._app = app
        # The longest prefix first: that of another may begin with it.
        self._dialects = sorted(dialects, key=lambda dialect: -len(dialect.prefix))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] == "http":
            path = f"{scope['path']}/"
            dialect = next((each for each in self._dialects if path.startswith(each.prefix)), None)
            if dialect is not None:
                scope = _in(dialect, scope)
        await self._app(scope, receive, send)


def _in(dialect: Dialect, scope: Scope) -> Scope:
    """The scope as the dialect has it. A copy: the server below has to know the method that was sent."""
    changed = {**scope, RENDER: dialect.render}
    if dialect.method_override:
        meant = [value for name, value in scope["headers"] if name == b"x-http-method-override"]
        if meant:
            changed["method"] = meant[0].decode("latin-1").upper()
    return changed
