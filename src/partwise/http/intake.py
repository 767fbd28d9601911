"""Readers of requests for all dialects."""

from __future__ import annotations

from typing import Protocol

from starlette.requests import Request

from partwise.engine.ports import Body


class RequestBody(Body, Protocol):
    """The body of a request, which can be begun before it is received."""

    async def first(self) -> bytes:
        """Take the next piece, of some 64 KiB at most, out of what ``drain`` gives; empty at the end of the body.

        For what has to be known before the engine takes the rest, such as the fields of a form before its file. Raises
        BodyInterrupted.
        """

    def put_back(self, piece: bytes) -> None:
        """Have ``drain`` give ``piece``, all that ``first`` took, before the rest."""


class BodyOf(Protocol):
    """Makes the body of a request; ``sha256`` is the digest that its header fields give for it, in hex."""

    def __call__(self, request: Request, sha256: str | None = None) -> RequestBody:
        """The body, from which nothing has been read yet."""


#: The name, among ``scope["extensions"]``, of a function that cuts the request's connection at once.
ABORT = "partwise.abort"
