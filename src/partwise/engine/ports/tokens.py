"""The port of tokens and tickets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from partwise.core.records import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A secret that a client signs in with; the secret itself is kept nowhere."""

    name: str
    #: Whose uploads and artifacts it opens.
    owner: str
    created: datetime
    admin: bool = False
    last_used: datetime | None = None
    revoked: datetime | None = None
    #: When it stops opening anything; None: never.
    expires: datetime | None = None
    scope: Scope = Scope.ALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A secret that opens one upload, for its owner."""

    upload_id: str
    owner: str


class Tickets(Protocol):
    """Secrets that open one upload each, and go with it."""

    async def create_ticket(self, upload_id: str, sha256: str, now: datetime) -> None:
        """Record a ticket by the SHA-256 of its secret. NotFound when there is no such upload."""

    async def find_ticket(self, sha256: str) -> Ticket | None:
        """The ticket whose secret has this SHA-256; None when its upload is gone or being deleted."""

    async def revoke_tickets(self, upload_id: str) -> int:
        """Let all tickets of an upload open nothing from now on; how many."""


class Tokens(Protocol):
    """Store of tokens, kept in the metadata database under the same rules as the catalog."""

    async def create_token(self, token: Token, sha256: str) -> None:
        """Record a token by the SHA-256 of its secret. Conflict when its name is taken, by a revoked one too."""

    async def find_token(self, sha256: str) -> Token | None:
        """The token whose secret has this SHA-256, unless it is revoked. It may have expired."""

    async def list_tokens(self) -> list[Token]:
        """Return all tokens, including revoked ones, ordered by name."""

    async def use_token(self, name: str, now: datetime) -> None:
        """Store when a token was last used. An unknown name is not an error."""

    async def delete_token(self, name: str) -> Token:
        """Delete a token, revoked or not, and return it. It is invalid from now on. Raises NotFound."""

    async def revoke_token(self, name: str, now: datetime) -> None:
        """Make a token invalid from now on. Idempotent. Raises NotFound."""
