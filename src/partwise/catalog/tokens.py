"""Tokens and tickets: known by the SHA-256 of their secret, which itself is kept nowhere."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, bindparam, delete, insert, select, update

from partwise.catalog.tables import tickets, tokens, uploads
from partwise.catalog.uploads import lock_upload
from partwise.core.errors import Conflict, NotFound
from partwise.core.records import Scope
from partwise.core.state import UploadState
from partwise.engine.ports import Ticket, Token

_COLUMNS: list[Column[Any]] = [tokens.c[field.name] for field in fields(Token)]
#: Before the digest of a token that expires or allows less: a server of an older version, which knows neither, does
#: not find it, instead of taking it for one that allows all.
_LIMITED = "2:"
_FIND = select(*_COLUMNS).where(
    tokens.c.sha256.in_((bindparam("sha256"), bindparam("limited"))), tokens.c.revoked.is_(None)
)
_USED = update(tokens).where(tokens.c.name == bindparam("key")).values(last_used=bindparam("used"))


def create_token(connection: Connection, token: Token, sha256: str) -> None:
    """Insert the row, unless the name is taken by a token that is valid. One that was revoked is replaced."""
    taken = select(tokens.c.revoked).where(tokens.c.name == token.name).with_for_update()
    row = connection.execute(taken).one_or_none()
    if row is not None and row.revoked is None:
        raise Conflict(f"A token named {token.name} already exists. Revoke it first, or use another name.")
    connection.execute(delete(tokens).where(tokens.c.name == token.name))
    limited = token.expires is not None or token.scope is not Scope.ALL
    connection.execute(insert(tokens), asdict(token) | {"sha256": f"{_LIMITED}{sha256}" if limited else sha256})


def find_token(connection: Connection, sha256: str) -> Token | None:
    """The token with this secret, if it is not revoked."""
    row = connection.execute(_FIND, {"sha256": sha256, "limited": f"{_LIMITED}{sha256}"}).one_or_none()
    return None if row is None else Token(**row._mapping)


_TICKET = (
    select(tickets.c.upload_id, uploads.c.owner)
    .join(uploads, uploads.c.id == tickets.c.upload_id)
    .where(tickets.c.sha256 == bindparam("sha256"), uploads.c.state != UploadState.DELETING)
)


def create_ticket(connection: Connection, upload_id: str, sha256: str, now: datetime) -> None:
    """Insert the row of a ticket for an upload that is there."""
    if lock_upload(connection, upload_id).state is UploadState.DELETING:
        raise NotFound("upload")
    connection.execute(insert(tickets), {"sha256": sha256, "upload_id": upload_id, "created": now})


def find_ticket(connection: Connection, sha256: str) -> Ticket | None:
    """The ticket with this secret, while its upload is there."""
    row = connection.execute(_TICKET, {"sha256": sha256}).one_or_none()
    return None if row is None else Ticket(upload_id=row.upload_id, owner=row.owner)


def revoke_tickets(connection: Connection, upload_id: str) -> int:
    """Delete all tickets of an upload."""
    return connection.execute(delete(tickets).where(tickets.c.upload_id == upload_id)).rowcount


def list_tokens(connection: Connection) -> list[Token]:
    """Return all tokens, ordered by name."""
    return [Token(**row._mapping) for row in connection.execute(select(*_COLUMNS).order_by(tokens.c.name))]


def use_token(connection: Connection, name: str, now: datetime) -> None:
    """Remember when it was used."""
    connection.execute(_USED, {"key": name, "used": now})


def delete_token(connection: Connection, name: str) -> Token:
    """Delete the row."""
    row = connection.execute(select(*_COLUMNS).where(tokens.c.name == name).with_for_update()).one_or_none()
    if row is None:
        raise NotFound("token")
    connection.execute(delete(tokens).where(tokens.c.name == name))
    return Token(**row._mapping)


def revoke_token(connection: Connection, name: str, now: datetime) -> None:
    """Mark it revoked; the first time counts."""
    row = connection.execute(select(tokens.c.revoked).where(tokens.c.name == name).with_for_update()).one_or_none()
    if row is None:
        raise NotFound("token")
    if row.revoked is None:
        connection.execute(update(tokens).where(tokens.c.name == name).values(revoked=now))
