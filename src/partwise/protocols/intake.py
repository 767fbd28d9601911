"""What every protocol is given to read requests with."""

from __future__ import annotations

from typing import Protocol

from starlette.requests import Request

from partwise.engine.ports import Body


class BodyOf(Protocol):
    """Makes the body of a request; ``sha256`` is the digest that its header fields give for it, in hex."""

    def __call__(self, request: Request, sha256: str | None = None) -> Body:
        """The body, from which nothing has been read yet."""


#: The name, among ``scope["extensions"]``, of a function that cuts the request's connection at once.
ABORT = "partwise.abort"
