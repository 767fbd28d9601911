"""Deliveries: rows that workers lease, send outside any transaction, and settle.

Each endpoint has a row with its cursor in the feed. Its lock keeps two workers from making deliveries of the same
events. A lease is a time and a random value: after the time another worker may lease the row, and whoever held it
before no longer knows the value.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, bindparam, delete, func, insert, or_, select, update

from partwise.catalog.events import SCANNED, newest_event, read_events
from partwise.catalog.tables import deliveries, endpoints
from partwise.core.events import event_json
from partwise.engine.ports import Delivery, DeliveryCount

#: Events that one transaction fans out, and deliveries that one replays or forgets: no other writes meanwhile.
_BATCH = 500

_COLUMNS: list[Column[Any]] = [deliveries.c[field.name] for field in fields(Delivery)]
_ENDPOINT = select(endpoints.c.position, endpoints.c.paused).where(endpoints.c.name == bindparam("name"))
_LOCK = _ENDPOINT.with_for_update()
_MOVE = update(endpoints).where(endpoints.c.name == bindparam("key"))


def _due(endpoint: str, now: datetime) -> list[ColumnElement[bool]]:
    return [
        deliveries.c.endpoint == endpoint,
        deliveries.c.dead.is_(False),
        deliveries.c.due <= now,
        or_(deliveries.c.leased_until.is_(None), deliveries.c.leased_until <= now),
    ]


def has_deliveries(connection: Connection, endpoint: str, now: datetime) -> bool:
    """Return whether there is anything to fan out or to send."""
    row = connection.execute(_ENDPOINT, {"name": endpoint}).one_or_none()
    if row is None or newest_event(connection) > row.position:
        return True
    due = select(deliveries.c.id).where(*_due(endpoint, now)).limit(1)
    return not row.paused and connection.execute(due).one_or_none() is not None


def fan_out(connection: Connection, endpoint: str, types: Sequence[str], now: datetime) -> int:
    """Make deliveries of new events, and move the endpoint's cursor past them."""
    row = connection.execute(_LOCK, {"name": endpoint}).one_or_none()
    newest = newest_event(connection)
    if row is None:
        connection.execute(insert(endpoints), {"name": endpoint, "position": newest, "paused": False})
        return 0
    end = min(newest, row.position + SCANNED)
    found = read_events(connection, None, after=row.position, until=end, types=types, limit=_BATCH)
    if found:
        # Positions are given after the commit, so an event may come by again: one delivery of it is enough.
        known = select(deliveries.c.event_id).where(
            deliveries.c.endpoint == endpoint, deliveries.c.event_id.in_([event.id for event in found])
        )
        there = set(connection.scalars(known))
        made = [
            Delivery(
                id=str(uuid.uuid4()),
                endpoint=endpoint,
                event_id=event.id,
                event_type=event.type.value,
                body=event_json(event),
                created=now,
                due=now,
            )
            for event in found
            if event.id not in there
        ]
        if made:
            connection.execute(insert(deliveries), [asdict(delivery) for delivery in made])
    position = found[-1].position if len(found) == _BATCH else end
    if position != row.position:
        connection.execute(_MOVE, {"key": endpoint, "position": position})
    return len(found)


def lease_deliveries(
    connection: Connection, endpoint: str, now: datetime, until: datetime, limit: int
) -> list[Delivery]:
    """Take deliveries that are due, and that no other transaction is just taking."""
    row = connection.execute(_ENDPOINT, {"name": endpoint}).one_or_none()
    if row is None or row.paused:
        return []
    # By nothing else: a replay makes many due at the same time, which would be sorted for each lease.
    some = select(*_COLUMNS).where(*_due(endpoint, now)).order_by(deliveries.c.due).limit(limit)
    rows = connection.execute(some.with_for_update(skip_locked=True)).all()
    if not rows:
        return []
    lease = uuid.uuid4().hex
    taken = [replace(Delivery(**row._mapping), lease=lease) for row in rows]
    ids = [delivery.id for delivery in taken]
    connection.execute(
        update(deliveries).where(deliveries.c.id.in_(ids)).values(lease=lease, leased_until=until),
    )
    return taken


def settle_delivery(
    connection: Connection,
    delivery: Delivery,
    *,
    accepted: bool,
    due: datetime | None = None,
    status: int | None = None,
    error: str | None = None,
) -> bool:
    """Delete it, or note the next try, if the lease is still the same."""
    mine = (deliveries.c.id == delivery.id, deliveries.c.lease == delivery.lease)
    if accepted:
        return connection.execute(delete(deliveries).where(*mine)).rowcount == 1
    changes = {
        "attempts": delivery.attempts + 1,
        "due": due or delivery.due,
        "dead": due is None,
        "status": status,
        "error": error,
        "lease": None,
        "leased_until": None,
    }
    return connection.execute(update(deliveries).where(*mine).values(changes)).rowcount == 1


def pause_endpoint(connection: Connection, endpoint: str) -> None:
    """Lease nothing of it for now."""
    connection.execute(_MOVE, {"key": endpoint, "paused": True})


def list_deliveries(
    connection: Connection, endpoint: str | None = None, *, dead: bool | None = None, limit: int = 1000
) -> list[Delivery]:
    """Return the deliveries that were not accepted yet, oldest first."""
    conditions: list[ColumnElement[bool]] = [] if endpoint is None else [deliveries.c.endpoint == endpoint]
    if dead is not None:
        conditions.append(deliveries.c.dead.is_(dead))
    rows = connection.execute(
        select(*_COLUMNS).where(*conditions).order_by(deliveries.c.created, deliveries.c.id).limit(limit)
    )
    return [Delivery(**row._mapping) for row in rows]


def replay_deliveries(connection: Connection, endpoint: str | None, now: datetime) -> int:
    """Begin anew with dead ones, 500 at most, and end the pause."""
    names = select(endpoints.c.name)
    if endpoint is not None:
        names = names.where(endpoints.c.name == endpoint)
    connection.execute(update(endpoints).where(endpoints.c.name.in_(names)).values(paused=False))
    anew = {"dead": False, "attempts": 0, "due": now, "lease": None, "leased_until": None}
    return _change(connection, names, [deliveries.c.dead.is_(True)], anew)


def hasten_deliveries(connection: Connection, latest: datetime, now: datetime) -> int:
    """Make deliveries that are due after ``latest`` due now, at most 500."""
    later = [deliveries.c.dead.is_(False), deliveries.c.due > latest]
    return _change(connection, select(endpoints.c.name), later, {"due": now})


def _change(
    connection: Connection, names: Select[tuple[str]], conditions: list[ColumnElement[bool]], values: dict[str, Any]
) -> int:
    some = select(deliveries.c.id).where(deliveries.c.endpoint.in_(names), *conditions).limit(_BATCH)
    ids = connection.scalars(some).all()
    # The conditions once more: another transaction may have changed one meanwhile. Not the endpoint, by which the
    # database would look for them again.
    return (
        connection.execute(update(deliveries).where(deliveries.c.id.in_(ids), *conditions).values(values)).rowcount
        if ids
        else 0
    )


def count_deliveries(connection: Connection) -> dict[str, DeliveryCount]:
    """By endpoint, those without any included."""
    counts = {
        name: DeliveryCount(paused=paused)
        for name, paused in connection.execute(select(endpoints.c.name, endpoints.c.paused))
    }
    rows = connection.execute(
        select(deliveries.c.endpoint, deliveries.c.dead, func.count()).group_by(
            deliveries.c.endpoint, deliveries.c.dead
        )
    )
    for name, dead, count in rows:
        known = counts.get(name, DeliveryCount())
        counts[name] = replace(known, dead=count) if dead else replace(known, pending=count)
    return counts


def prune_deliveries(connection: Connection, before: datetime) -> int:
    """Delete what nobody asked for in all this time, 500 at most."""
    old = select(deliveries.c.id).where(deliveries.c.created < before).limit(_BATCH)
    ids = connection.scalars(old).all()
    return connection.execute(delete(deliveries).where(deliveries.c.id.in_(ids))).rowcount if ids else 0
