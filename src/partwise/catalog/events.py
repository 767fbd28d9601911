"""The outbox: events, each written in the transaction that made it true, and read in the order of their positions.

A reader goes on from the position of the last event that it has seen. So no event may appear at or below a position
that readers have passed. SQLite has one writer at a time, which assigns the position with the row. In PostgreSQL a
transaction that began early may be committed late: its row would appear below rows that readers have seen. There the
row is written without a position, and ``place_events`` assigns positions later to rows that are committed, one process
at a time. Positions are never reused and have no gaps, since the newest event is never pruned.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, bindparam, delete, func, insert, select, update

from partwise.catalog.tables import events
from partwise.core.errors import CursorExpired
from partwise.core.events import EventPage, EventType, OutboxEvent, artifact_event, upload_event
from partwise.core.records import Artifact, Upload

#: The key of the advisory lock under which PostgreSQL assigns positions: "events" in ASCII.
_POSITIONS = int.from_bytes(b"events", "big")
#: Rows that one transaction places or prunes.
_BATCH = 1000
#: Positions that one page goes through where only some types are asked for: else a rare type takes a read of all.
SCANNED = 10_000

_COLUMNS: list[Column[Any]] = [events.c[field.name] for field in fields(OutboxEvent)]
_FIRST, _LAST = select(func.min(events.c.position)), select(func.coalesce(func.max(events.c.position), 0))
_UNPLACED = select(events.c.seq).where(events.c.position.is_(None)).order_by(events.c.seq)
_PLACE = update(events).where(events.c.seq == bindparam("key")).values(position=bindparam("at"))


def add_event(connection: Connection, event: OutboxEvent) -> None:
    """Record an event in the caller's transaction."""
    row = asdict(event)
    if connection.dialect.name == "sqlite":
        row["position"] = newest_event(connection) + 1
    connection.execute(insert(events), row)


def add_upload_event(connection: Connection, kind: EventType, upload: Upload, now: datetime, **more: Any) -> None:
    """Record an event about ``upload``, unless it is a part of another upload.

    The upload of a single request has an event only if it becomes an artifact. The response reports any other outcome.
    """
    hidden = upload.part or (upload.internal and kind is not EventType.UPLOAD_COMPLETED)
    if not hidden:
        add_event(connection, upload_event(kind, _new_id(), upload, now, **more))


def add_artifact_event(connection: Connection, kind: EventType, link: Artifact, now: datetime, **more: Any) -> None:
    """Record an event about an owner's link to an artifact."""
    add_event(connection, artifact_event(kind, _new_id(), link, now, **more))


def _new_id() -> str:
    return f"evt_{uuid.uuid4().hex}"


def newest_event(connection: Connection) -> int:
    """Return the newest position; 0 when there was no event yet."""
    position: int = connection.execute(_LAST).scalar_one()
    return position


def has_unplaced(connection: Connection) -> bool:
    """Return whether committed events wait for their positions."""
    return connection.execute(_UNPLACED.limit(1)).one_or_none() is not None


def place_events(connection: Connection) -> None:
    """Assign positions to committed events that have none, in the order of their rows."""
    # Held until the commit, after which the next holder sees these positions.
    connection.execute(select(func.pg_advisory_xact_lock(_POSITIONS)))
    last = newest_event(connection)
    rows = connection.execute(_UNPLACED.limit(_BATCH)).scalars().all()
    if rows:
        connection.execute(_PLACE, [{"key": seq, "at": last + step} for step, seq in enumerate(rows, 1)])


def list_events(
    connection: Connection, owner: str | None, *, after: int | None, types: Sequence[str] = (), limit: int = 100
) -> EventPage:
    """Return events behind the position ``after``, of ``owner`` (None: of anyone). CursorExpired.

    A page may have less than ``limit`` events, or none, and yet ``more``.
    """
    first, last = connection.execute(_FIRST).scalar_one() or 1, newest_event(connection)
    if after is None:
        after = first - 1
    if not first - 1 <= after <= last:
        raise CursorExpired
    end = min(last, after + SCANNED) if types else last
    found = read_events(connection, owner, after=after, until=end, types=types, limit=limit)
    if len(found) == limit:
        end = found[-1].position or 0
    return EventPage(found, end, len(found) == limit or end < last)


def read_events(
    connection: Connection, owner: str | None, *, after: int, until: int, types: Sequence[str], limit: int
) -> list[OutboxEvent]:
    """Return what is left of the events behind ``after``, up to the position ``until``."""
    conditions: list[ColumnElement[bool]] = [events.c.position > after, events.c.position <= until]
    if owner is not None:
        conditions.append(events.c.owner == owner)
    if types:
        conditions.append(events.c.type.in_(types))
    rows = connection.execute(select(*_COLUMNS).where(*conditions).order_by(events.c.position).limit(limit))
    return [OutboxEvent(**row._mapping) for row in rows]


def prune_events(connection: Connection, before: datetime) -> int:
    """Delete the oldest events that were created before that time, at most 1000, never the newest; how many."""
    oldest = select(events.c.position, events.c.created).where(events.c.position.is_not(None))
    rows = connection.execute(oldest.order_by(events.c.position).limit(_BATCH)).all()
    last = newest_event(connection)
    # Nothing behind a newer event goes: the horizon is one position, below which there is nothing.
    old = [row.position for row in takewhile(lambda row: row.created < before and row.position < last, rows)]
    if old:
        connection.execute(delete(events).where(events.c.position <= old[-1]))
    return len(old)
