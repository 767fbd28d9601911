from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, event, insert, make_url

from partwise.catalog import CatalogTooNew, migrate, open_catalog
from partwise.catalog import artifacts as artifact_queries
from partwise.catalog import chunks as chunk_queries
from partwise.catalog import tasks as task_queries
from partwise.catalog import uploads as upload_queries
from partwise.catalog.sqlite import SqliteRunner, raw
from partwise.catalog.tables import chunks, metadata
from partwise.catalog.tables import uploads as upload_table
from partwise.catalog.uploads import create_upload
from partwise.core.records import Chunk
from partwise.core.state import UploadState
from tests.contract.catalog import processes
from tests.contract.catalog.support import NOW, SHA_A, UNLIMITED, make_upload
from tests.support.records import migrate_to


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "100% of it" / "catalog.db"


@pytest.fixture
def url(path: Path) -> str:
    path.parent.mkdir()
    return f"sqlite:///{path}"


def upload_row(upload_id: str) -> dict[str, Any]:
    row = asdict(make_upload(upload_id, state=UploadState.COMPLETED))
    return row | {"search_name": "", "completed": NOW}


def is_table(name: str | None, kind: str, _parents: object) -> bool:
    """Whether it is one of the tables, and not of the index of names, which no other SQLite may have."""
    return kind != "table" or not (name or "").startswith(("artifact_search", "artifact_names"))


# An index of an expression: that it is there, and used, another test shows.
@pytest.mark.filterwarnings("ignore:.* expression-based index")
def test_migrations_make_what_the_tables_say(url: str) -> None:
    migrate(url)
    engine = create_engine(make_url(url))
    with engine.connect() as connection:
        options = {"include_name": is_table}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
        made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'chunks'").scalar_one()
    engine.dispose()
    # What the comparison does not look at.
    assert "WITHOUT ROWID" in made
    assert "ON DELETE CASCADE" in made
    assert "CHECK" in made


def test_migrating_again_changes_nothing(url: str, path: Path) -> None:
    migrate(url)
    before = path.read_bytes()
    migrate(url)
    assert path.read_bytes() == before


def test_a_start_that_finds_the_newest_schema_loads_no_migrations(url: str) -> None:
    """Alembic takes as much memory as all of our own code; the newest version is known without it."""
    program = f"""
import sys
from partwise.catalog import migrate
migrate({url!r})
print("alembic" in sys.modules)
"""

    def start() -> str:
        return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout

    assert (start(), start()) == ("True\n", "False\n")


def test_the_file_is_its_owners_alone(url: str, path: Path) -> None:
    migrate(url)
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_starts_at_once_migrate_once(url: str, path: Path) -> None:
    processes.migrate_at_once(url)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_newer_catalog_is_left_alone(url: str, path: Path) -> None:
    migrate(url)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CatalogTooNew, match="9999"):
        migrate(url)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_migration_that_fails_leaves_no_trace(url: str, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE meta (something INTEGER)")  # in the way of the last table
    with pytest.raises(Exception, match="meta"):
        migrate(url)
    with closing(sqlite3.connect(path)) as connection:
        assert [row[0] for row in connection.execute("SELECT name FROM sqlite_master")] == ["meta"]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "sqlite:///a.db?mode=ro"])
def test_only_files_are_catalogs(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        open_catalog(url)


def test_overlaps_are_looked_up_not_searched_for(url: str, path: Path) -> None:
    """An upload may have 50,000 chunks: each step of the plan must be bounded on both sides by the primary key."""
    migrate(url)
    with closing(sqlite3.connect(path)) as connection:
        statement = str(chunk_queries._FIND.statement.compile(dialect=create_engine("sqlite://").dialect))
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?"))]
    searches = [step for step in plan if step.startswith(("SEARCH", "SCAN"))]
    assert searches == [
        "SEARCH chunks USING PRIMARY KEY (upload_id=? AND offset>? AND offset<?)",
        "SEARCH chunks USING PRIMARY KEY (upload_id=? AND offset<?)",
    ]


async def test_chunk_fifty_thousand_costs_no_more_than_the_tenth(url: str) -> None:
    """Steps of SQLite's machine, not seconds, so that a busy computer cannot make it fail."""
    migrate(url)

    def fill(connection: Connection, start: int, stop: int) -> None:
        rows = [
            {"upload_id": "u1", "offset": index, "size": 1, "verified": False, "seq": index}
            for index in range(start, stop)
        ]
        connection.execute(insert(chunks), rows)

    def steps(connection: Connection, offset: int) -> int:
        counted = 0

        def count() -> None:
            nonlocal counted
            counted += 1

        raw(connection).set_progress_handler(count, 1)
        chunk_queries.record_chunk(connection, "u1", Chunk(offset=offset, size=1), now=NOW, max_chunks=10**6)
        raw(connection).set_progress_handler(None, 1)
        return counted

    runner = SqliteRunner(make_url(url))
    await runner.start()
    await runner.write(create_upload, make_upload(size=10**6), UNLIMITED)
    await runner.write(fill, 0, 10)
    few = await runner.write(steps, 10)
    await runner.write(fill, 11, 50_000)
    assert await runner.write(steps, 50_000) <= few + 50
    await runner.stop()


async def test_links_of_older_records_get_their_sizes(url: str, path: Path) -> None:
    migrate_to(path, "0003")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO artifacts VALUES (?, 77, 0)", (SHA_A,))
        link = "INSERT INTO artifact_links (id, owner, sha256, created, search_name) VALUES (?, ?, ?, 0, '')"
        connection.executemany(link, [("a1", "ann", SHA_A), ("a2", "bob", SHA_A)])
    migrate(url)
    catalog = open_catalog(url)
    await catalog.start()
    assert [artifact.size for artifact in (await catalog.list_artifacts(None)).items] == [77, 77]
    assert (await catalog.usage("ann")).stored == 77
    await catalog.stop()


@pytest.mark.parametrize(
    "query, plan",
    [
        (
            lambda connection: upload_queries.usage(connection, "ann"),
            [
                "SEARCH uploads USING INDEX ix_uploads_owner_state_created_id (owner=? AND state=?)",
                "SEARCH counts USING PRIMARY KEY (kind=? AND owner=?)",
            ],
        ),
        (
            lambda connection: upload_queries.list_uploads(connection, "ann", states=("open",)),
            [
                "SEARCH counts USING PRIMARY KEY (kind=? AND owner=?)",
                "SCAN uploads USING INDEX ix_uploads_internal",
                "SEARCH uploads USING INDEX ix_uploads_owner_state_created_id (owner=? AND state=?)",
            ],
        ),
        (
            lambda connection: artifact_queries.list_artifacts(connection, "ann", filename="disk.img"),
            ["SEARCH artifact_links USING INDEX ix_artifact_links_name (<expr>=? AND owner=?)"] * 2,
        ),
        (
            lambda connection: upload_queries.list_uploads(
                connection, None, states=("open", "committing", "completed")
            ),
            [
                "SEARCH counts USING PRIMARY KEY (kind=? AND owner=?)",
                "SEARCH uploads USING INDEX ix_uploads_state_completed (state=?)",
                "SEARCH counts USING PRIMARY KEY (kind=? AND owner=?)",
                "SCAN uploads USING INDEX ix_uploads_internal",
                "SCAN uploads USING INDEX ix_uploads_created_id",
            ],
        ),
        (
            lambda connection: upload_queries.list_uploads(connection, None, states=("open", "committing")),
            [
                "SEARCH counts USING PRIMARY KEY (kind=? AND owner=?)",
                "SCAN uploads USING INDEX ix_uploads_internal",
                "SCAN uploads USING INDEX ix_uploads_unfinished",
            ],
        ),
        (
            lambda connection: artifact_queries.list_artifacts(connection, "ann", after=(NOW, "a1")),
            [
                "SEARCH counts USING PRIMARY KEY (kind=? AND owner=?)",
                "SEARCH artifact_links USING INDEX ix_artifact_links_owner_created_id (owner=? AND (created,id)<(?,?))",
            ],
        ),
        (
            lambda connection: upload_queries.list_uploads(
                connection, None, offset=500_000, states=("open", "committing", "completed")
            ),
            [
                "SEARCH counts USING PRIMARY KEY (kind=? AND owner=?)",
                "SEARCH uploads USING INDEX ix_uploads_state_completed (state=?)",
                "SEARCH counts USING PRIMARY KEY (kind=? AND owner=?)",
                "SCAN uploads USING INDEX ix_uploads_internal",
                "SCAN uploads USING COVERING INDEX ix_uploads_created_id",
            ],
        ),
        (
            lambda connection: task_queries.list_tasks(connection, None, states=("failed",)),
            ["SEARCH counts USING PRIMARY KEY (kind=? AND owner=?)", "SCAN tasks USING INDEX ix_tasks_unfinished"],
        ),
    ],
    ids=["usage", "open", "name", "all", "open of all", "behind a key", "by offset", "tasks"],
)
def test_thousands_of_completed_uploads_are_not_looked_at(
    url: str, path: Path, query: Callable[[Connection], object], plan: list[str]
) -> None:
    """Each creation adds up what its owner holds, and the page lists uploads every few seconds: nothing is sorted."""
    migrate(url)
    seen: list[tuple[str, Any]] = []
    engine = create_engine(make_url(url))
    with engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", lambda *call: seen.append((call[2], call[3])))
        query(connection)
        plans = [
            [row[3] for row in raw(connection).execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            for statement, parameters in seen
        ]
    engine.dispose()
    assert [next(step for step in steps if step.startswith(("SEARCH", "SCAN"))) for steps in plans] == plan
    assert not [step for steps in plans for step in steps if "TEMP B-TREE" in step]


def test_maintenance_looks_at_unfinished_uploads_alone(url: str) -> None:
    """Each process does so every few seconds."""
    migrate(url)
    engine = create_engine(make_url(url))
    with engine.begin() as connection:
        connection.execute(insert(upload_table), [upload_row(f"u{number}") for number in range(3000)])
        connection.exec_driver_sql("ANALYZE")
    with engine.connect() as connection:
        seen: list[tuple[str, Any]] = []
        event.listen(connection, "before_cursor_execute", lambda *call: seen.append((call[2], call[3])))
        chunk_queries.pending_flush(connection, 10)
        upload_queries.list_unattended(connection)
        upload_queries.list_committing(connection)
        upload_queries.list_internal(connection)
        upload_queries.idle_uploads(connection, open_before=NOW, completed_before=NOW, limit=10)
        plans = [
            row[3]
            for statement, parameters in seen
            for row in raw(connection).execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    engine.dispose()
    assert "SCAN uploads" not in plans, plans
