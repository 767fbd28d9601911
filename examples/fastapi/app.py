"""partwise in a FastAPI application: ``python app.py``, then log in at POST /login/NAME and upload at /files/."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from typing import Annotated

from fastapi import Cookie, FastAPI, HTTPException, Request, Response

from partwise.embed import Allowed, BoundedProtocol, Creation, Denied, Event, Partwise, Settings

DATA = os.environ.get("EXAMPLE_DATA", "example-data")
#: The host's own sessions: a cookie's value, and whose it is. A real application keeps them in its database.
SESSIONS: dict[str, str] = {}


def user_of(request: Request) -> str | None:
    """Who makes a request below /files: the host's own cookie tells."""
    return SESSIONS.get(request.cookies.get("session", ""))


files = Partwise(Settings.of(data=f"{DATA}/partwise"), base_path="/files", identity=user_of, page=True)


def database() -> closing[sqlite3.Connection]:
    """The host's own database."""
    connection = sqlite3.connect(f"{DATA}/host.db")
    connection.execute("CREATE TABLE IF NOT EXISTS inbox (event TEXT PRIMARY KEY)")
    connection.execute("CREATE TABLE IF NOT EXISTS documents (artifact TEXT, owner TEXT, name TEXT)")
    return closing(connection)


@files.before_create
async def check(creation: Creation) -> Allowed:
    """Uploads have a name, and at most 1 GiB."""
    if creation.filename is not None and creation.filename.endswith(".exe"):
        raise Denied("Programs are not taken here.")
    return Allowed(largest=1 << 30)


@files.on("upload.completed")
def completed(event: Event) -> None:
    """Note the document and that the event is done in one transaction: a repeat changes nothing."""
    with database() as connection, connection:
        if connection.execute("INSERT OR IGNORE INTO inbox VALUES (?)", (event.id,)).rowcount:
            row = (event.data["artifact"], event.data["user"], event.data["filename"])
            connection.execute("INSERT INTO documents VALUES (?, ?, ?)", row)


app = FastAPI(lifespan=files.lifespan)
app.mount("/files", files.app)


@app.post("/login/{name}")
def login(name: str, response: Response) -> dict[str, str]:
    """Begin a session. A real application asks for a password."""
    session = secrets.token_urlsafe()
    SESSIONS[session] = name
    response.set_cookie("session", session, httponly=True, samesite="lax")
    return {"user": name}


@app.get("/documents")
def documents(session: Annotated[str, Cookie()] = "") -> list[dict[str, str]]:
    """The documents of the user."""
    if session not in SESSIONS:
        raise HTTPException(401)
    with database() as connection:
        rows = connection.execute("SELECT artifact, name FROM documents WHERE owner = ?", (SESSIONS[session],))
        return [{"artifact": artifact, "name": name} for artifact, name in rows]


if __name__ == "__main__":
    import uvicorn

    # With this protocol class large bodies go from the socket to the file past the event loop.
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), http=BoundedProtocol)
