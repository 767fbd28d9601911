"""partwise: one large file, uploaded in parallel chunks, becomes one verified, content-addressed artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from partwise.engine.engine import Engine

__all__ = ["Engine", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``partwise.Engine``, imported when it is asked for: a client that needs none does not wait for it."""
    if name == "Engine":
        from partwise.engine.engine import Engine

        return Engine
    raise AttributeError(f"module 'partwise' has no attribute {name!r}")
