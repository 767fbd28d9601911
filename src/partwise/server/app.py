"""Puts the parts together: storage, catalog, engine, dialects, and what stands before them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from prometheus_client.core import Metric
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from structlog.contextvars import bind_contextvars

from partwise.core.records import Principal
from partwise.engine.engine import Engine
from partwise.http.dialect import ACTING, AnswerErrors, Dialect, InDialect, Site, always_known, any_token
from partwise.http.problems import ADMINS_ONLY, ERRORS_PAGE, errors_page, refuse, render_any
from partwise.protocols import DIALECTS
from partwise.server import host
from partwise.server.assembly import make_engine
from partwise.server.auth import Authenticator, Identity, TokenRequired, is_known, is_still_known, principal_of
from partwise.server.body import Intake
from partwise.server.connection import STATE_KEY, ConnectionLimits
from partwise.server.cors import cors
from partwise.server.guard import LoopbackOnly, NoNul
from partwise.server.identity import JwtIdentity, ProxyIdentity
from partwise.server.lifecycle import CutOff, Lifecycle
from partwise.server.limits import RequestsInFlight, affordable_connections, limit_values
from partwise.server.linger import LingeringClose
from partwise.server.metrics import CONTENT_TYPE, Metrics
from partwise.server.observe import Observed
from partwise.server.permission import PermissionAsker
from partwise.server.proxied import Proxied
from partwise.server.schema_watch import watch_schema
from partwise.server.settings import Settings
from partwise.server.shared_values import SharedRegistry
from partwise.server.webhooks import WebhookSender
from partwise.web import PAGE_PATHS, page_routes

#: Who everyone is on a server without authentication, which serves its own machine alone.
EVERYONE = Principal("local", admin=True)

#: What anyone may read, also where a token is needed for all else; a path that ends with a slash with all below it.
PUBLIC_PATHS = ("/livez", "/readyz", ERRORS_PAGE, *PAGE_PATHS)

_logger = logging.getLogger(__name__)


def _everyone(_request: Request) -> Principal:
    return EVERYONE


def _noted(who: Callable[[Request], Principal]) -> Callable[[Request], Principal]:
    """``who``, whose answer all log lines of the request have from then on."""

    def noted(request: Request) -> Principal:
        principal: Principal = request.scope.get(ACTING) or who(request)
        bind_contextvars(user=principal.name)
        if principal.token is not None:
            bind_contextvars(token=principal.token)
        return principal

    return noted


def create_app(
    settings: Settings,
    *,
    shared: SharedRegistry | None = None,
    workers: Callable[[], Iterable[Metric]] = tuple,
    lifecycle: Lifecycle | None = None,
) -> ASGIApp:
    """The ASGI application of one server process. The catalog must have been migrated.

    ``shared`` and ``workers`` are for the metrics of several processes, see ``Metrics``. ``lifecycle`` is what the
    process that serves it tells of its end.
    """
    connections = affordable_connections(settings.max_connections)
    return assemble(settings, connections, shared=shared, workers=workers, lifecycle=lifecycle).app


@dataclass(frozen=True, slots=True)
class Assembled:
    """The application, and the engine that it starts and stops by its lifespan."""

    app: Starlette
    engine: Engine


def assemble(
    settings: Settings,
    max_connections: int,
    *,
    shared: SharedRegistry | None = None,
    workers: Callable[[], Iterable[Metric]] = tuple,
    lifecycle: Lifecycle | None = None,
    identity: Identity | None = None,
    page: bool = True,
) -> Assembled:
    """Put the parts together, for a server of our own or for a host application.

    ``identity`` is the host's; None: as the settings say. ``page``: serve the upload page.
    """
    lifecycle = lifecycle or Lifecycle()
    metrics = Metrics(limit_values(settings, max_connections), shared=shared, workers=workers)
    engine, tokens = make_engine(settings)
    engine.observe, engine.limited = metrics.observe, metrics.limited
    engine.workers.events.draining = lambda: lifecycle.draining or lifecycle.stopping
    engine.workers.events.stopping = host.is_stopping
    senders = [WebhookSender(webhook) for webhook in settings.webhooks]
    engine.endpoints, engine.attempted = [sender.endpoint for sender in senders], metrics.attempted
    asker = None if settings.before_create is None else PermissionAsker(settings.before_create)
    engine.before_create = asker
    authenticator = Authenticator(tokens)
    intake = Intake(
        idle_timeout_seconds=settings.body_idle_timeout_seconds,
        min_rate=settings.body_min_rate,
        remote=engine.storage.remote,
    )
    connections = ConnectionLimits(
        max_connections=max_connections,
        header_timeout_seconds=settings.header_timeout_seconds,
        base=settings.base,
        body_handover=settings.body_handover,
        on_refusal=metrics.refuse,
        on_change=metrics.connections.inc,
        on_stop=engine.workers.events.close,
    )
    with_tokens = settings.auth != "none" or identity is not None
    site = Site(
        engine=engine,
        body_of=intake.body_of,
        who=_noted(principal_of if with_tokens else _everyone),
        signed_in=is_known if with_tokens else lambda _request: True,
        still_known=is_still_known if with_tokens else always_known,
        is_token=authenticator.is_token if with_tokens else any_token,
        # A host or a proxy may go by anything, such as a cookie.
        authenticated=with_tokens and identity is None and settings.auth != "proxy",
        api_prefix=settings.api_prefix,
        base=settings.base,
        origin=next(iter(settings.own_origins), None),
        release_folder=settings.release_folder,
        chunk_size=settings.chunk_size,
        parallel=settings.parallel,
    )
    dialects = [DIALECTS[name](site) for name in settings.dialect_names]

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, object]]:
        await engine.start()
        watch = asyncio.create_task(watch_schema(tokens), name="watch schema")
        try:
            yield {STATE_KEY: connections}
        finally:
            engine.workers.events.close()
            await lifecycle.requests_ended()
            watch.cancel()
            await asyncio.wait({watch})
            await authenticator.stop()
            await engine.stop()
            intake.close()
            for sender in senders:
                sender.close()
            if asker is not None:
                asker.close()

    page_tokens = identity is None and settings.auth != "proxy"
    app = Starlette(
        routes=[
            *(route for dialect in dialects for route in dialect.routes),
            *(page_routes(site.base + site.api_prefix, tokens=page_tokens) if page else ()),
            *_plain_routes(engine, lifecycle),
            _figures(site, metrics),
        ],
        middleware=[
            Middleware(Proxied, base=settings.base, trusted=settings.proxies),
            Middleware(LingeringClose),
            Middleware(InDialect, dialects=dialects),
            Middleware(Observed, metrics=metrics),
            Middleware(CutOff, lifecycle=lifecycle),
            Middleware(RequestsInFlight, limit=settings.max_requests),
            *cors(settings.origins, dialects, settings.more_request_fields),
            _access(settings, authenticator, dialects, identity),
            Middleware(NoNul),
            Middleware(AnswerErrors),
        ],
        exception_handlers={HTTPException: render_any},
        lifespan=lifespan,
    )
    # A path is right or wrong: a redirect would make clients send a body twice, or drop it.
    app.router.redirect_slashes = False
    return Assembled(app, engine)


def _access(
    settings: Settings, authenticator: Authenticator, dialects: Sequence[Dialect], identity: Identity | None
) -> Middleware:
    """Return the authentication middleware."""
    origins = (*settings.origins, *settings.own_origins)
    by_host = identity is not None
    if identity is None:
        identity = _identity_of(settings)
    if settings.auth == "none" and identity is None:
        return Middleware(LoopbackOnly, origins=origins)
    return Middleware(
        TokenRequired,
        authenticator=authenticator,
        downloads=[dialect.downloads for dialect in dialects if dialect.downloads is not None],
        public=[*PUBLIC_PATHS, *(path for dialect in dialects for path in dialect.public)],
        greeting=[path for dialect in dialects for path in dialect.greeting],
        sign_in=[path for dialect in dialects for path in dialect.sign_in],
        ticketed=[each for dialect in dialects for each in dialect.ticketed],
        origins=origins,
        identity=identity,
        tokens=not by_host,
        ambient=settings.auth == "proxy" and not by_host,
        max_failures=settings.max_failed_sign_ins,
    )


def _identity_of(settings: Settings) -> Identity | None:
    """Return the external source of user names, or None with own tokens. The settings were checked at the start."""
    if settings.auth == "proxy":
        assert settings.proxy_user_header is not None, "checked at the start"
        return ProxyIdentity(settings.proxy_user_header, settings.proxies, settings.admin_names)
    if settings.auth == "oidc":
        return JwtIdentity(
            issuer=settings.oidc_issuer or "",
            audience=settings.oidc_audience or "",
            jwks=settings.oidc_jwks or "",
            claim=settings.oidc_user_claim,
            admins=settings.admin_names,
        )
    return None


def _figures(site: Site, metrics: Metrics) -> Route:
    async def figures(request: Request) -> Response:
        """Figures for Prometheus. They are about all users, so they are for admins."""
        if not site.who(request).admin:
            return refuse(
                ADMINS_ONLY, "Metrics cover all users, so they need an admin's token (partwise token create --admin)."
            )
        return Response(await metrics.render(site.engine), media_type=CONTENT_TYPE)

    return Route("/metrics", figures)


def _plain_routes(engine: Engine, lifecycle: Lifecycle) -> list[Route]:
    page = errors_page()

    async def errors(_request: Request) -> Response:
        return HTMLResponse(page)

    async def livez(_request: Request) -> Response:
        """The process serves requests."""
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        """Metadata database and storage answer too, the database takes writes, and the server does not stop soon."""
        if lifecycle.draining or lifecycle.stopping:
            return PlainTextResponse("stopping\n", 503, {"Retry-After": "1"})
        try:
            await engine.catalog.check_writable()
            await engine.storage.space()
        except Exception as error:
            _logger.warning("not ready: %s", error)
            return PlainTextResponse("not ready\n", 503, {"Retry-After": "1"})
        return PlainTextResponse("ok\n")

    return [Route(ERRORS_PAGE, errors), Route("/livez", livez), Route("/readyz", readyz)]
