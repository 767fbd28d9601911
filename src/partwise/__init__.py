"""partwise: one large file, uploaded in parallel chunks, becomes one verified, content-addressed artifact."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from partwise.client import AsyncClient, Client, ClientError
    from partwise.engine.engine import Engine

__all__ = ["AsyncClient", "Client", "ClientError", "Engine", "__version__"]
__version__ = "0.1.0"

_PLACES = {
    "AsyncClient": "partwise.client",
    "Client": "partwise.client",
    "ClientError": "partwise.client",
    "Engine": "partwise.engine.engine",
}


def __getattr__(name: str) -> Any:
    """Return a public name, imported when it is asked for: who needs the client alone does not wait for the engine."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'partwise' has no attribute {name!r}")
