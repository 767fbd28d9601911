"""partwise in a Starlette application that has a lifespan of its own: ``uvicorn app:app``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from partwise.embed import Event, Partwise, Principal, Settings

DATA = os.environ.get("EXAMPLE_DATA", "example-data")
#: API keys of the host's users. A real application keeps their digests in its database.
KEYS = {"key-of-ann": Principal("ann"), "key-of-root": Principal("root", admin=True)}
#: What was heard of, by the event's id.
HEARD: dict[str, Event] = {}


async def principal_of(request: Request) -> Principal | None:
    """Who makes a request below /files."""
    return KEYS.get(request.headers.get("x-api-key", ""))


files = Partwise(Settings.of(data=f"{DATA}/partwise"), base_path="/files", identity=principal_of, page=True)


@files.on("upload.completed", "upload.removed")
async def heard(event: Event) -> None:
    """Remember the event; a repeat takes the same place."""
    HEARD[event.id] = event


class Audit(BaseHTTPMiddleware):
    """A host's middleware that reads whole bodies when it is told to, as some do."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Read the body before the application does, and pass it on."""
        if "x-audit" in request.headers:
            await request.body()
        return await call_next(request)


async def events(_request: Request) -> Response:
    """What the host has heard."""
    return JSONResponse([{"type": event.type, **event.data} for event in HEARD.values()])


async def handed_out(request: Request) -> Response:
    """An upload and a ticket for it, to be handed to a browser."""
    user = await principal_of(request)
    if user is None:
        return JSONResponse({"detail": "Send your API key."}, 401)
    wish = await request.json()
    # Clients of tus, such as Uppy, ask for no commit: the server commits with the last byte.
    upload = await files.create_upload(
        user.name, size=wish["size"], filename=wish["name"], metadata={"from": "host"}, auto_commit="tus" in wish
    )
    ticket = await files.make_ticket(upload.id)
    return JSONResponse({"upload": upload.id, "ticket": ticket, "tus": f"/files/tus/{upload.id}"})


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """The host's own, around which partwise lives."""
    async with files.lifespan(app):
        yield


app = Starlette(
    routes=[
        Route("/events", events),
        Route("/uploads", handed_out, methods=["POST"]),
        Mount("/files", app=files.app),
    ],
    middleware=[Middleware(Audit)],
    lifespan=lifespan,
)

if __name__ == "__main__":
    import uvicorn

    from partwise.embed import BoundedProtocol

    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), http=BoundedProtocol)
