"""partwise as a part of a host application: see ``partwise.embed``, which has its public names.

A guest leaves alone what is the host's. It reads no environment, raises no limits, and keeps the log context.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from partwise.core.events import EventType
from partwise.core.records import Principal, Release, Upload
from partwise.engine.creation import Creation
from partwise.engine.deliveries import Endpoint, Receipt
from partwise.engine.engine import Engine
from partwise.engine.ports import Delivery
from partwise.engine.release import release
from partwise.engine.tickets import make_ticket, revoke_tickets
from partwise.engine.uploads import create_upload
from partwise.http.problems import NOT_STARTED, refuse
from partwise.server.app import assemble
from partwise.server.run import prepare
from partwise.server.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

#: The host application itself.
_HOST = Principal("host", admin=True)

_HOW = (
    "The host application did not run the lifespan of partwise. Pass it on, as in FastAPI(lifespan=files.lifespan), or "
    "enter 'async with files.lifespan(app)' in the host's own lifespan."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to an upload or artifact. It may come again: store ``id`` with what you do."""

    id: str
    type: str
    timestamp: str
    data: Mapping[str, Any]


class Partwise:
    """partwise, mounted in a host application below ``base_path``.

    ``identity`` tells who makes a request: a user's name, a ``Principal``, or None for nobody who is known. It may be
    a coroutine function. It reads header fields and cookies, never the body. Without it the settings decide (tokens,
    or this machine only). ``page``: serve the upload page too.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        base_path: str = "",
        identity: Callable[[Request], Principal | str | Awaitable[Principal | str | None] | None] | None = None,
        page: bool = False,
    ) -> None:
        path = f"/{base_path.strip('/')}" if base_path.strip("/") else None
        self.settings = settings.model_copy(update={"base_path": path}) if path else settings
        self._identity = identity
        self._page = page
        self._endpoints: list[Endpoint] = []
        self._before_create: Callable[[Creation], Any] | None = None
        self._running: ASGIApp | None = None
        self._engine: Engine | None = None
        #: What to mount at ``base_path``.
        self.app: ASGIApp = self._serve

    @property
    def engine(self) -> Engine:
        """The engine, while the lifespan runs. RuntimeError at any other time."""
        if self._engine is None:
            raise RuntimeError(_HOW)
        return self._engine

    def on(self, *types: str, name: str | None = None) -> Callable[[F], F]:
        """Register a function that is called at least once for each event of these types (none: of all types).

        What it raises, or that it takes longer than 20 seconds, makes it a failure, which is tried again for some three
        days. Events are kept for it while the process is down. ``name`` tells it from others, and must stay the same
        from one start to the next; default: the function's own. A plain function runs in a thread.
        """
        kinds = [EventType(kind) for kind in types]

        def register(function: F) -> F:
            chosen = name or f"{function.__module__}.{function.__qualname__}"
            if self._engine is not None:
                raise RuntimeError("Register functions before the application starts.")
            if any(endpoint.name == chosen for endpoint in self._endpoints):
                raise ValueError(f"Two functions have the name {chosen}: give one of them another (name=...).")
            self._endpoints.append(Endpoint(name=chosen, send=functools.partial(_call, function), types=kinds))
            return function

        return register

    def before_create(self, function: F) -> F:
        """Register a function that is called once before an upload is created and before space is reserved.

        It takes a ``Creation``. It returns None or an ``Allowed``, or raises ``Denied`` with a sentence for the user.
        When it raises anything else, or takes longer than 5 seconds, nothing is created (503).
        """
        if self.settings.before_create is not None:
            raise ValueError("The settings name a URL for before_create. Use the URL or a function, not both.")
        if self._before_create is not None:
            raise ValueError("before_create is already registered. Register one function.")
        self._before_create = function
        return function

    @asynccontextmanager
    async def lifespan(self, _app: Any = None) -> AsyncIterator[dict[str, Any]]:
        """Prepare folder and records, serve, and stop: around all requests of the process. May be entered once."""
        await asyncio.to_thread(prepare, self.settings)
        assembled = assemble(
            self.settings,
            self.settings.max_connections,
            identity=None if self._identity is None else self._who,
            page=self._page,
        )
        engine = assembled.engine
        engine.endpoints = [*engine.endpoints, *self._endpoints]
        if self._before_create is not None:
            engine.before_create = functools.partial(_await, self._before_create)
        async with assembled.app.router.lifespan_context(assembled.app) as state:
            self._running, self._engine = assembled.app, engine
            try:
                yield dict(state or {})
            finally:
                self._running = self._engine = None

    async def create_upload(
        self,
        user: str,
        *,
        size: int | None,
        filename: str | None = None,
        media_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        auto_commit: bool = False,
    ) -> Upload:
        """Create an upload of ``user``, for which nobody else is asked but ``before_create``.

        ``auto_commit``: commit it once all bytes are there, as for tus clients. Raises what creating an upload raises
        (``partwise.core.errors``).
        """
        return await create_upload(
            self.engine,
            Principal(user),
            size=size,
            filename=filename,
            media_type=media_type,
            metadata=metadata,
            auto_commit=auto_commit,
        )

    async def make_ticket(self, upload_id: str) -> str:
        """Return a secret that opens this upload and nothing else, as a Bearer token. NotFound."""
        return await make_ticket(self.engine, _HOST, upload_id)

    async def release(self, artifact_id: str, path: str | os.PathLike[str]) -> Release:
        """Move the file of an artifact to ``path``, on the file system of the data folder, and forget the artifact.

        From then on the file is the host's alone. Call it again after a crash: it goes on, or answers the same.
        NotFound; Conflict when another user has the same content, or the path cannot be used.
        """
        return await release(self.engine, _HOST, artifact_id, await asyncio.to_thread(os.path.abspath, os.fspath(path)))

    async def revoke_tickets(self, upload_id: str) -> None:
        """Let all tickets of this upload open nothing any more. NotFound."""
        await revoke_tickets(self.engine, _HOST, upload_id)

    async def _who(self, request: Request) -> Principal | None:
        assert self._identity is not None
        found = self._identity(request)
        if inspect.isawaitable(found):
            found = await found
        return Principal(found) if isinstance(found, str) else found

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] != "http":
            raise RuntimeError(f"partwise speaks HTTP, not {scope['type']}.")
        elif self._running is None:
            await refuse(NOT_STARTED, _HOW, {"Retry-After": "1"})(scope, receive, send)
        else:
            await self._running(_own(scope), receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """The lifespan by ASGI messages, where partwise is not mounted in an application that runs it."""
        await receive()
        try:
            async with self.lifespan():
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            kind = "shutdown" if self._running is not None else "startup"
            await send({"type": f"lifespan.{kind}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def _own(scope: Scope) -> Scope:
    """The scope without what the host's router noted in it: partwise takes its base path off by itself."""
    hosts = {"app_root_path", "path_params", "endpoint", "route", "router", "app"}
    return {key: value for key, value in scope.items() if key not in hosts} | {"root_path": ""}


async def _call(function: Callable[[Event], Any], delivery: Delivery) -> Receipt:
    await _await(function, Event(**json.loads(delivery.body)))
    return Receipt(accepted=True)


async def _await(function: Callable[[Any], Any], argument: Any) -> Any:
    if inspect.iscoroutinefunction(function):
        return await function(argument)
    return await asyncio.to_thread(function, argument)
