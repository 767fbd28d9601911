"""Pages of a list, newest first, that cost the same wherever they are: each goes on behind a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, Table, literal, tuple_

from partwise.core.records import PageKey

T = TypeVar("T")

#: From this offset on the row before the page is looked up first. An index has all that is needed for that.
_DEEP = 1000


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
    order = [column.desc() for column in _key(table)]
    if after is not None:
        statement = statement.where(_is_behind(table, after))
    if offset >= _DEEP:
        keys = statement.with_only_columns(*_key(table)).order_by(*order)
        last = connection.execute(keys.offset(offset - 1).limit(1)).one_or_none()
        if last is None:
            return [], False
        statement, offset = statement.where(_is_behind(table, (last.created, last.id))), 0
    rows = connection.execute(statement.order_by(*order).offset(offset).limit(limit + 1)).all()
    return [make(**row._mapping) for row in rows[:limit]], len(rows) > limit


def _is_behind(table: Table, key: PageKey) -> ColumnElement[bool]:
    created, row_id = (literal(value, column.type) for value, column in zip(key, _key(table), strict=True))
    return tuple_(*_key(table)) < tuple_(created, row_id)


def _key(table: Table) -> Sequence[ColumnElement[Any]]:
    return table.c.created, table.c.id
