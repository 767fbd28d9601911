"""A worker class of gunicorn that hands large bodies' sockets over, for host applications: see ``partwise.embed``."""

from __future__ import annotations

from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]

from partwise.server.connection import BoundedProtocol


class GunicornWorker(UvicornWorker):  # type: ignore[misc]
    """uvicorn's worker with the protocol class that has the socket bypass."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {**UvicornWorker.CONFIG_KWARGS, "http": BoundedProtocol}
