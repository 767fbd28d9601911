"""Pages of a list, newest first, that cost the same wherever they are: each goes on behind a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, Table, literal, tuple_

from partwise.core.records import PageKey

T = TypeVar("T")


def newest_first(
    connection: Connection,
    statement: Select[Any],
    table: Table,
    make: Callable[..., T],
    *,
    offset: int,
    limit: int,
    after: PageKey | None,
) -> tuple[list[T], bool]:
    """Return one page of what ``statement`` selects, and whether there is more.

    ``after``: the ``created`` and ``id`` of the last row of the page before; ``offset`` counts from there.
    """
    if after is not None:
        created, row_id = (literal(value, column.type) for value, column in zip(after, _key(table), strict=True))
        statement = statement.where(tuple_(*_key(table)) < tuple_(created, row_id))
    order = [column.desc() for column in _key(table)]
    rows = connection.execute(statement.order_by(*order).offset(offset).limit(limit + 1)).all()
    return [make(**row._mapping) for row in rows[:limit]], len(rows) > limit


def _key(table: Table) -> Sequence[ColumnElement[Any]]:
    return table.c.created, table.c.id
