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

from partwise.core.errors import Denied
from partwise.core.records import Principal
from partwise.engine.creation import Allowed, Creation
from partwise.server.connection import BoundedProtocol
from partwise.server.embedding import Event, Partwise
from partwise.server.settings import Settings

__all__ = ["Allowed", "BoundedProtocol", "Creation", "Denied", "Event", "Partwise", "Principal", "Settings"]
