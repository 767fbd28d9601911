"""Authentication by tokens, sent as ``Authorization: Bearer TOKEN`` or as the password of Basic with any user name.

A token is 256 random bits. The catalog stores only its SHA-256 and looks tokens up by it. Timing a look-up therefore
reveals nothing about a token: the time depends on a digest that the sender cannot choose. A token of 256 random bits
cannot be guessed, so a slow password hash is not needed. Results are cached for a few seconds. A revoked token may be
accepted until its cache entry expires.

A page cannot set a header field on a download link, so downloads also accept a cookie (``SESSION_PATH``). The cookie
grants nothing else, and other sites cannot make a browser send it.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import logging
import re
import secrets
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from partwise.core.errors import OutOfScope, PartwiseError
from partwise.core.records import Principal, Scope
from partwise.engine.context import utc_now
from partwise.engine.ports import Tickets, Token, Tokens
from partwise.engine.tickets import PREFIX as TICKET_PREFIX
from partwise.http.problems import (
    BASE,
    FOREIGN_ORIGIN,
    METHOD_NOT_ALLOWED,
    NOT_SIGNED_IN,
    TICKET_ONLY,
    TOO_MANY_FAILURES,
    refuse,
    render_any,
)
from partwise.server.failures import FailedSignIns

#: What tokens begin with, so that people and scanners for leaked secrets know them.
PREFIX = "partwise_"

#: Who asks, in the scope of a request.
PRINCIPAL = "partwise.principal"

#: And what tells who that is now, as the principal or None.
_ASK_AGAIN = "partwise.ask-again"

#: Where a page gets the cookie for downloads (POST), and gives it back (DELETE).
SESSION_PATH = "/session"

_COOKIE = "partwise_download"

#: How long a token is taken as it was when the catalog was asked last, and how many are remembered.
_TTL_SECONDS = 5.0
_REMEMBERED = 10_000

#: How exact a token's time of last use is: noting each use would cost a write for each request.
_LAST_USE = timedelta(minutes=1)

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_SECRET = re.compile(r"[A-Za-z0-9_-]{20,200}", re.ASCII)

_logger = logging.getLogger(__name__)


def new_secret() -> str:
    """A token as it is handed out, once."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """Return the hash by which the catalog identifies a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


#: Tells who makes a request, in place of tokens; None: nobody who is known. It reads header fields, and no body.
Identity = Callable[[Request], Awaitable[Principal | None]]


class TokensAndTickets(Tokens, Tickets, Protocol):
    """Both kinds of secrets."""


class Authenticator:
    """Looks tokens up, and remembers what it found for a few seconds."""

    def __init__(
        self,
        tokens: TokensAndTickets,
        *,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._monotonic = monotonic
        self._known: dict[str, tuple[float, Principal]] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def find(self, secret: str) -> Principal | None:
        """Return the principal of a token, or None if the token is unknown or revoked."""
        if not _SECRET.fullmatch(secret):
            return None
        digest = digest_of(secret)
        until, known = self._known.get(digest, (0.0, None))
        if known is not None and self._monotonic() < until:
            return known
        principal = await self._ask(secret, digest)
        if principal is None:
            self._known.pop(digest, None)
            return None
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[digest] = (self._monotonic() + _TTL_SECONDS, principal)
        return principal

    def was_valid(self, secret: str) -> bool:
        """Return whether a secret was valid at its last check, as far as this process remembers."""
        return digest_of(secret) in self._known

    async def is_token(self, secret: str) -> bool:
        """Return whether a secret is a token, and no ticket."""
        return not secret.startswith(TICKET_PREFIX) and await self.find(secret) is not None

    async def _ask(self, secret: str, digest: str) -> Principal | None:
        if secret.startswith(TICKET_PREFIX):
            ticket = await self._tokens.find_ticket(digest)
            return None if ticket is None else Principal(ticket.owner, ticket=ticket.upload_id)
        token = await self._tokens.find_token(digest)
        if token is None or (token.expires is not None and token.expires <= self._clock()):
            return None
        self._note_use(token)
        return Principal(token.owner, token.admin, token=token.name, scope=token.scope)

    def _note_use(self, token: Token) -> None:
        now = self._clock()
        if token.last_used is None or now - token.last_used > _LAST_USE:
            note = asyncio.create_task(self._use(token.name, now), name=f"note the use of token {token.name}")
            self._notes.add(note)
            note.add_done_callback(self._notes.discard)

    async def _use(self, name: str, now: datetime) -> None:
        try:
            await self._tokens.use_token(name, now)
        except PartwiseError as error:
            _logger.warning("cannot record the last use of the token %s: %s", name, error)

    async def stop(self) -> None:
        """Wait for what is being noted."""
        if self._notes:
            await asyncio.wait(self._notes)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials of a request. ``ambient``: a browser adds them on its own, whichever page made the request."""

    secret: str
    ambient: bool


def credentials_of(scope: AsgiScope, downloads: re.Pattern[str]) -> Credentials | None:
    """The token of a request, or None when it brings none that can be read."""
    headers = Headers(scope=scope)
    values = headers.getlist("authorization")
    if len(values) > 1:
        return None
    if values:
        scheme, _, rest = values[0].partition(" ")
        rest = rest.strip()
        if scheme.lower() in ("bearer", "token"):  # the second is Django REST framework's
            return Credentials(rest, ambient=False)
        if scheme.lower() == "basic":
            secret = _password(rest)
            return None if secret is None else Credentials(secret, ambient=True)
        return None
    if scope["method"] in _SAFE and downloads.fullmatch(scope["path"]):
        secret = cookie_parser(headers.get("cookie", "")).get(_COOKIE)
        return Credentials(secret, ambient=True) if secret else None
    return None


#: Basic credentials with an empty user name and an empty password.
_EMPTY_BASIC = b"Basic Og=="


def _password(encoded: str) -> str | None:
    """Return the password of Basic credentials; None when they are malformed or the password is empty."""
    try:
        _user, colon, password = b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return password if colon and password else None


class TokenRequired:
    """ASGI middleware that lets pass only who has a token, and notes in the scope who that is.

    ``downloads`` are the paths below which downloads are, as ``Dialect.downloads`` says. ``public`` are paths that
    anyone may read; one that ends with a slash stands for all below it too. ``greeting`` are paths that say less to
    those without a token: see ``is_known``. ``ticketed`` is what a ticket opens, and ``sign_in`` are paths of requests
    whose body has the token, as in ``Dialect``. ``origins`` are
    other sites whose pages may send a password along. ``identity`` names users in place of tokens, or with ``tokens``
    beside them; ``ambient``: it goes by what a browser sends by itself, whatever else the request has.
    ``max_failures``: wrong tokens of one address within a minute, after which more are refused unseen.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        downloads: Sequence[str],
        public: Iterable[str],
        greeting: Iterable[str] = (),
        ticketed: Iterable[tuple[frozenset[str], re.Pattern[str]]] = (),
        origins: Iterable[str] = (),
        identity: Identity | None = None,
        tokens: bool = True,
        ambient: bool = False,
        sign_in: Iterable[str] = (),
        max_failures: int | None = None,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        below = "|".join(map(re.escape, downloads)) or "(?!)"
        self._downloads = re.compile(f"(?:{below})[^/]+/download/?")
        self._cookie_paths = tuple(downloads)
        self._origins = frozenset(origins)
        paths = frozenset(public)
        self._public = paths
        self._public_below = tuple(path for path in paths if path.endswith("/") and path != "/")
        self._greeting = frozenset(greeting)
        self._sign_in = frozenset(sign_in)
        self._ticketed = tuple(ticketed)
        self._identity = identity
        self._tokens = tokens
        self._ambient = ambient
        self._failures = FailedSignIns(max_failures)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] != "http" or self._is_public(scope):
            await self._app(scope, receive, send)
            return
        signs_in = scope["path"] in self._sign_in
        if (wait := self._failures.wait_of(scope)) and (signs_in or not self._may_be_known(scope)):
            response = refuse(TOO_MANY_FAILURES, "", {"Retry-After": str(wait)}, setting="max_failed_sign_ins")
            await response(scope, receive, send)
            return
        if signs_in:
            await self._app(scope, receive, self._failures.counting(scope, send))
            return
        try:
            who, credentials = await self._ask(scope)
        except PartwiseError as error:
            await render_any(Request(scope), error)(scope, receive, send)
            return
        if who is None and self._is_greeted(scope):
            await self._app(scope, receive, send)
        elif who is None or credentials is None:
            if credentials is not None and self._is_ours(credentials):
                self._failures.count(scope)
            await _refusal(scope, known=credentials is not None, tokens=self._tokens)(scope, receive, send)
        elif credentials.ambient and _is_foreign(scope, self._origins):
            await refuse(
                FOREIGN_ORIGIN, "A page of another site made this request. Add its origin to cors_origins to allow it."
            )(scope, receive, send)
        elif who.ticket is not None and not self._is_ticketed(scope, who.ticket):
            await refuse(TICKET_ONLY)(scope, receive, send)
        elif scope["path"] == SESSION_PATH and self._identity is None:
            await self._session(scope, credentials)(scope, receive, send)
        elif who.scope is Scope.READ and scope["method"] not in _SAFE:
            await render_any(Request(scope), OutOfScope(who.scope))(scope, receive, send)
        else:
            scope[PRINCIPAL], scope[_ASK_AGAIN] = who, partial(self._ask, scope)
            await self._app(scope, receive, send)

    async def _ask(self, scope: AsgiScope) -> tuple[Principal | None, Credentials | None]:
        """Return the authenticated user and the credentials of the request."""
        credentials = credentials_of(scope, self._downloads)
        if self._identity is None or self._is_own(credentials):
            return await self._authenticator.find(credentials.secret) if credentials else None, credentials
        # Whoever names users may go by cookies, which a browser sends along with other sites' requests.
        ambient = self._ambient or credentials is None or credentials.ambient
        who = await self._identity(Request(scope))
        return who, Credentials("", ambient) if who is not None else credentials

    def _may_be_known(self, scope: AsgiScope) -> bool:
        """Return whether the request has no token, or one that was valid lately: others behind its address guess."""
        credentials = credentials_of(scope, self._downloads)
        if credentials is None or not self._is_ours(credentials):
            return True
        return self._authenticator.was_valid(credentials.secret)

    def _is_ours(self, credentials: Credentials) -> bool:
        """Return whether it is the database that tells who has these credentials, and nobody's own function."""
        return self._identity is None or self._is_own(credentials)

    def _is_own(self, credentials: Credentials | None) -> bool:
        """Return whether the request has a ticket, or a token where those count."""
        return credentials is not None and credentials.secret.startswith(PREFIX if self._tokens else TICKET_PREFIX)

    def _is_ticketed(self, scope: AsgiScope, upload_id: str) -> bool:
        """Return whether the request reads or writes this upload."""
        for methods, pattern in self._ticketed:
            found = pattern.fullmatch(scope["path"]) if scope["method"] in methods else None
            if found is not None:
                return found["id"] == upload_id
        return False

    def _is_public(self, scope: AsgiScope) -> bool:
        path = scope["path"]
        return scope["method"] in _SAFE and (path in self._public or path.startswith(self._public_below))

    def _is_greeted(self, scope: AsgiScope) -> bool:
        # Who sends something in place of a token is told that it is none. Katello sends an empty user and password.
        silent = all(value == _EMPTY_BASIC for name, value in scope["headers"] if name == b"authorization")
        return silent and scope["method"] in _SAFE and scope["path"] in self._greeting

    def _session(self, scope: AsgiScope, credentials: Credentials) -> Response:
        """Give out, or take back, the cookie that opens downloads."""
        if scope["method"] not in ("POST", "DELETE"):
            detail = "This path accepts POST (create the cookie for downloads) and DELETE (remove it)."
            return refuse(METHOD_NOT_ALLOWED, detail, {"Allow": "POST, DELETE"})
        response = Response(status_code=204, headers={"Cache-Control": "no-store"})
        # Behind a proxy that ends TLS only the page knows that it came by https.
        secure = scope["scheme"] == "https" or Headers(scope=scope).get("origin", "").startswith("https://")
        for path in self._cookie_paths:
            attributes: dict[str, Any] = {
                "path": scope.get(BASE, "") + path,
                "secure": secure,
                "httponly": True,
                "samesite": "strict",
            }
            if scope["method"] == "POST":
                response.set_cookie(_COOKIE, credentials.secret, **attributes)
            else:
                response.delete_cookie(_COOKIE, **attributes)
        return response


def principal_of(request: Request) -> Principal:
    """Return the authenticated user of a request that passed ``TokenRequired``."""
    principal: Principal = request.scope[PRINCIPAL]
    return principal


async def is_still_known(request: Request) -> bool:
    """Return whether the request would be let pass once more, for the same principal with the same rights."""
    try:
        who, _ = await request.scope[_ASK_AGAIN]()
    except Exception as error:
        # The client asks again, and is told.
        _logger.info("cannot check the token of an event stream again, ending the stream: %r", error)
        return False
    return bool(who == principal_of(request))


def is_known(request: Request) -> bool:
    """Return whether ``principal_of`` has an answer: it has none where ``TokenRequired`` merely greets."""
    return PRINCIPAL in request.scope


def _is_foreign(scope: AsgiScope, friends: frozenset[str]) -> bool:
    """Return whether a page of another site, not among ``friends``, makes a change.

    A proxy may have changed the scheme: the host tells.
    """
    headers = Headers(scope=scope)
    origins = headers.getlist("origin")
    if not origins or scope["method"] in _SAFE:
        return False
    if len(origins) > 1:
        return True
    origin = origins[0]
    if origin in friends:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True


def _refusal(scope: AsgiScope, *, known: bool, tokens: bool) -> Response:
    """The answer to nobody who is known. ``tokens``: a password dialog is of use, a token can be entered there."""
    detail = "Invalid or revoked token." if known else "The token is missing. Send 'Authorization: Bearer TOKEN'."
    if not tokens and not known:
        detail = "You are not signed in. Sign in to the application first."
    response = refuse(NOT_SIGNED_IN, detail)
    error = ', error="invalid_token"' if known else ""
    response.headers.append("WWW-Authenticate", f'Bearer realm="partwise"{error}')
    headers = Headers(scope=scope)
    # To a script's request a browser answers this challenge with a dialog of its own, over the page's.
    if tokens and headers.get("sec-fetch-dest") != "empty" and "x-requested-with" not in headers:
        response.headers.append("WWW-Authenticate", 'Basic realm="partwise", charset="UTF-8"')
    return response
