"""partwise inside your own application.

::

    from fastapi import FastAPI
    from partwise.embed import Partwise, Settings

    files = Partwise(Settings.of(data="uploads"), base_path="/files", identity=user_of)

    @files.on("upload.completed")
    async def completed(event):
        ...

    app = FastAPI(lifespan=files.lifespan)
    app.mount("/files", files.app)
"""

from typing import TYPE_CHECKING, Any

from partwise.core.errors import Denied
from partwise.core.records import Principal
from partwise.engine.creation import Allowed, Creation
from partwise.server.connection import BoundedProtocol
from partwise.server.embedding import Event, Partwise
from partwise.server.settings import Settings

__all__ = [
    "Allowed",
    "BoundedProtocol",
    "Creation",
    "Denied",
    "Event",
    "GunicornWorker",
    "Partwise",
    "Principal",
    "Settings",
]

if TYPE_CHECKING:
    from partwise.server.gunicorn_worker import GunicornWorker


def __getattr__(name: str) -> Any:
    """Import the worker class when gunicorn asks for it: it needs packages that other hosts do not have."""
    if name == "GunicornWorker":
        from partwise.server.gunicorn_worker import GunicornWorker

        return GunicornWorker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
