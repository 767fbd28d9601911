"""What every handler gets: the engine, and how this installation presents it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from partwise.core.errors import NotFound
from partwise.core.records import Principal
from partwise.engine.engine import Engine
from partwise.protocols.intake import BodyOf


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The engine behind one path prefix. ``prefix`` begins and ends with a slash."""

    engine: Engine
    body_of: BodyOf
    who: Callable[[Request], Principal]
    #: Whether ``who`` may be asked. Only a status is answered without.
    signed_in: Callable[[Request], bool]
    prefix: str = "/pulp/api/v3/"
    #: Advice to clients: bytes of a chunk, and how many to send at once.
    chunk_size: int = 16 << 20
    parallel: int = 8
    #: Whether requests need credentials.
    authenticated: bool = False

    def href(self, kind: str, id_: str) -> str:
        """The site-relative path of an upload, artifact or task."""
        return f"{self.prefix}{kind}/{id_}/"

    def id_of(self, kind: str, href: str) -> str:
        """The id in a path made by ``href``; also takes the bare id. NotFound when it is neither."""
        bare = href.removeprefix(f"{self.prefix}{kind}/").removesuffix("/")
        if not bare or "/" in bare:
            raise NotFound(kind.removesuffix("s"))
        return bare
