"""Each migration only adds, so that servers of the version before it go on: tables, columns with a default, indexes.

What a migration takes away, it takes from versions that still run. ``CONTRACTED`` lists those that may do so, and why.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import SAWarning

from partwise.catalog import migrate
from partwise.catalog.versions import MIGRATIONS, newest_version
from tests.support.records import migrate_to

#: Revision → why no server of an older version can be running.
CONTRACTED: dict[str, str] = {}

REVISIONS = sorted(path.name[1:5] for path in (MIGRATIONS / "versions").glob("r*.py"))

Schema = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Schema]:
    """The schema of each revision, as one database has it that is migrated step by step."""
    path = tmp_path_factory.mktemp("records") / "catalog.sqlite3"
    found = {}
    with warnings.catch_warnings(action="ignore", category=SAWarning):  # an index of an expression is not shown
        for revision in REVISIONS:
            migrate_to(path, revision)
            found[revision] = schema_of(path)
    return found


def schema_of(path: Path) -> Schema:
    engine = create_engine(f"sqlite:///{path}")
    inspector = inspect(engine)
    tables: Schema = {}
    for table in inspector.get_table_names():
        indexes = inspector.get_indexes(table)
        tables[table] = {
            "columns": {column["name"]: column for column in inspector.get_columns(table)},
            "unique": {tuple(key["column_names"]) for key in inspector.get_unique_constraints(table)}
            | {tuple(index["column_names"]) for index in indexes if index["unique"]},
            "checks": {key["sqltext"] for key in inspector.get_check_constraints(table)},
            "references": {tuple(key["constrained_columns"]) for key in inspector.get_foreign_keys(table)},
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
        }
    engine.dispose()
    return tables


def breaks(before: Schema, after: Schema) -> list[str]:
    """What a server that knows ``before`` would notice of ``after``."""
    found = [f"table {table} is gone" for table in before.keys() - after.keys()]
    for table in before.keys() & after.keys():
        old, new = before[table], after[table]
        for name, column in old["columns"].items():
            now = new["columns"].get(name)
            if now is None:
                found.append(f"{table}.{name} is gone")
            elif str(now["type"]) != str(column["type"]) or (column["nullable"] and not now["nullable"]):
                found.append(f"{table}.{name} takes other values")
        for name in new["columns"].keys() - old["columns"].keys():
            added = new["columns"][name]
            if not added["nullable"] and added["default"] is None:
                found.append(f"{table}.{name} has no default: rows of an old server are refused")
        found += [
            f"{table} refuses more ({kind})" for kind in ("unique", "checks", "references") if new[kind] - old[kind]
        ]
        if old["key"] != new["key"]:
            found.append(f"{table} has another key")
    return found


@pytest.mark.parametrize("before, after", list(pairwise(REVISIONS)))
def test_a_migration_only_adds(schemas: dict[str, Schema], before: str, after: str) -> None:
    found = breaks(schemas[before], schemas[after])
    assert bool(found) == (after in CONTRACTED), found


def test_the_check_notices_what_an_old_server_would(schemas: dict[str, Schema]) -> None:
    last = schemas[REVISIONS[-1]]
    meta = last["meta"]
    key, value = meta["columns"]["key"], meta["columns"]["value"]
    stricter = {
        "meta": meta
        | {
            "columns": {"key": key | {"type": "INTEGER"}, "new": value | {"nullable": False, "default": None}},
            "unique": {("value",)},
        }
    }
    assert sorted(breaks({"meta": meta, "tasks": last["tasks"]}, stricter)) == [
        "meta refuses more (unique)",
        "meta.key takes other values",
        "meta.new has no default: rows of an old server are refused",
        "meta.value is gone",
        "table tasks is gone",
    ]
    assert breaks(last, last) == []


#: Ends its process in the middle of the migration of the revision in its arguments, without a word to anyone.
_KILLED = """
import os, signal, sys
from sqlalchemy import Engine, event
from partwise.catalog import migrate

@event.listens_for(Engine, "before_cursor_execute")
def look(connection, cursor, statement, *_):
    if statement.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

migrate(sys.argv[1])
"""


@pytest.mark.parametrize(
    "at", ["CREATE TRIGGER search_artifact_links_insert", "UPDATE alembic_version SET version_num='0014'"]
)
def test_a_migration_that_is_killed_leaves_no_trace(tmp_path: Path, at: str) -> None:
    path = tmp_path / "catalog.sqlite3"
    migrate_to(path, "0011")
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    killed = subprocess.run([sys.executable, "-c", _KILLED, f"sqlite:///{path}", at], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before
    migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(newest_version(),)]
