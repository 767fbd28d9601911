"""Statements that run with every chunk: written once for all databases, and on SQLite run by the driver alone.

SQLAlchemy takes longer to run one of them, and to make rows of its result, than SQLite does to carry it out. So the
text that it makes of a statement is kept, with what its types do to parameters and results, and given to the driver's
own connection, which keeps the compiled form. The transaction is the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Select, Table, UpdateBase, bindparam, insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from partwise.core.errors import NotFound

T = TypeVar("T")

_Processor = Callable[[Any], Any]
_DIALECT = sqlite.dialect(paramstyle="named")


class Prepared:
    """A statement that gives no rows."""

    def __init__(self, statement: Select[Any] | UpdateBase) -> None:
        self.statement = statement

    @classmethod
    def insert(cls, table: Table, record: type[Any], *more: str) -> Prepared:
        """The statement that inserts a row with the fields of a dataclass ``record``, and the columns ``more``."""
        names = (*(field.name for field in fields(record)), *more)
        return cls(insert(table).values({name: bindparam(name) for name in names}))

    def run(self, connection: Connection, parameters: Mapping[str, Any]) -> None:
        """Carry it out, in the transaction of ``connection``."""
        if _is_sqlite(connection):
            self._on_sqlite(connection, parameters)
        else:
            connection.execute(self.statement, parameters)

    def _on_sqlite(self, connection: Connection, parameters: Mapping[str, Any]) -> sqlite3.Cursor:
        inner: Any = connection.connection.dbapi_connection
        text, constants, processors = self._compiled
        values = {**constants, **parameters}
        for name, process in processors:
            values[name] = process(values[name])
        cursor: sqlite3.Cursor = inner.execute(text, values)
        return cursor

    @cached_property
    def _compiled(self) -> tuple[str, dict[str, Any], list[tuple[str, _Processor]]]:
        """The text for SQLite, parameters that are always the same, and what is to be done to which of the others."""
        compiled = self.statement.compile(dialect=_DIALECT)
        assert isinstance(compiled, SQLCompiler)
        names = compiled.bind_names
        found = [(name, bound.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)) for bound, name in names.items()]
        constants = {name: bound.value for bound, name in names.items() if not bound.required}
        return str(compiled), constants, [(name, process) for name, process in found if process is not None]


class PreparedQuery(Prepared, Generic[T]):
    """A statement whose rows become records, by the names of its columns."""

    def __init__(self, statement: Select[Any], record: Callable[..., T]) -> None:
        super().__init__(statement)
        self._record = record
        self._columns = list(statement.selected_columns)

    def all(self, connection: Connection, parameters: Mapping[str, Any]) -> list[T]:
        """Return all matching records."""
        record = self._record
        if not _is_sqlite(connection):
            rows = connection.execute(self.statement, parameters)
            return [record(**row._mapping) for row in rows]
        return [self._made(row) for row in self._on_sqlite(connection, parameters).fetchall()]

    def one(self, connection: Connection, parameters: Mapping[str, Any], what: str) -> T:
        """Return the only record. Raises NotFound, which names ``what`` is missing."""
        found = self.one_or_none(connection, parameters)
        if found is None:
            raise NotFound(what)
        return found

    def one_or_none(self, connection: Connection, parameters: Mapping[str, Any]) -> T | None:
        """The only record, or None."""
        found = self.all(connection, parameters)
        assert len(found) <= 1, "looked up by a key"
        return found[0] if found else None

    def _made(self, row: tuple[Any, ...]) -> T:
        names, processors = self._results
        values = dict(zip(names, row, strict=True))
        for name, process in processors:
            values[name] = process(values[name])
        return self._record(**values)

    @cached_property
    def _results(self) -> tuple[list[str], list[tuple[str, _Processor]]]:
        """The names of the columns, and what is to be done to which values."""
        found = [
            (str(column.name), column.type.dialect_impl(_DIALECT).result_processor(_DIALECT, None))
            for column in self._columns
        ]
        return [name for name, _ in found], [(name, process) for name, process in found if process is not None]


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"
