"""Bring a database to the schema of this code, once, before any server process opens it."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from partwise.catalog.sqlite import (
    BUSY_TIMEOUT_SECONDS,
    headroom_of,
    look_only_url,
    make_engine,
    raw,
    refuse_read_only,
)
from partwise.catalog.sqlite_errors import is_busy, may_be_full
from partwise.catalog.versions import MIGRATIONS, newest_version

if TYPE_CHECKING:
    from alembic.config import Config

#: The advisory lock that migrations of one PostgreSQL database take turns with: "partwise" in ASCII.
_MIGRATION_LOCK = int.from_bytes(b"partwise", "big")


class CatalogTooNew(RuntimeError):
    """The database was migrated by a newer version of partwise, whose schema this one does not know."""


class CatalogMissing(RuntimeError):
    """There is no database at the URL, or an empty one."""


def parse_url(url: str) -> URL:
    """A catalog's URL: ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?OPTIONS``.

    Options are those of asyncpg; ``sslmode`` is understood too. ValueError for anything else; records in memory
    would not be records.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError("The catalog URL is not valid. Write sqlite:///PATH or postgresql://HOST/DATABASE.") from None
    if parsed.drivername == "postgresql":
        if not parsed.database:
            raise ValueError("The catalog URL has no database name. Write postgresql://USER:PASSWORD@HOST/DATABASE.")
        if "sslmode" in parsed.query:
            parsed = parsed.difference_update_query(["sslmode"]).update_query_dict({"ssl": parsed.query["sslmode"]})
        return parsed
    if parsed.drivername != "sqlite":
        raise ValueError(
            f"The scheme {parsed.drivername}: of the catalog URL is unknown. Use sqlite:/// or postgresql://."
        )
    if parsed.database in (None, "", ":memory:") or parsed.query:
        raise ValueError("The catalog URL has no file name. Write sqlite:///PATH.")
    return parsed


def migrate(url: str) -> None:
    """Create the records at ``url``, or bring them to the newest schema; safe to call from several processes at once.

    A PostgreSQL database must exist, and may be empty. Raises CatalogTooNew, ValueError (the URL), StorageFailed
    (PostgreSQL cannot be reached), and SQLAlchemy's or sqlite3's errors when a file cannot be used. Blocks; call it
    where no event loop runs.
    """
    parsed = parse_url(url)
    if parsed.drivername == "postgresql":
        from partwise.catalog.postgres import run_locked

        run_locked(parsed, _MIGRATION_LOCK, _upgrade)
        return
    try:
        _migrate_sqlite(parsed)
    except (DBAPIError, sqlite3.Error) as error:
        # A full disk is no reason not to start: what is there can be read, committed, and deleted.
        if not (may_be_full(error) and headroom_of(parsed).give()):
            raise
        _migrate_sqlite(parsed)


def pending_migrations(url: str, *, look_only: bool = True) -> list[str]:
    """Return the steps of ``migrate``, one line each. Changes nothing. CatalogMissing, and what ``migrate`` raises.

    Without ``look_only`` the database must be writable.
    """
    from alembic.script import ScriptDirectory

    parsed = parse_url(url)
    found: list[str] = []

    def look(connection: Connection) -> None:
        config, current = _alembic(connection)
        if not current:
            raise CatalogMissing("The metadata database is empty. Start the server once to create it.")
        steps = ScriptDirectory.from_config(config).iterate_revisions("head", current[0])
        found.extend(f"{step.revision}: {step.doc}" for step in steps)

    if parsed.drivername == "postgresql":
        from partwise.catalog.postgres import run_locked

        run_locked(parsed, _MIGRATION_LOCK, look)
    else:
        assert parsed.database is not None
        if not os.path.exists(parsed.database):
            raise CatalogMissing(
                f"There is no metadata database at {parsed.database}. Check --data, or start the server once to "
                "create it."
            )
        if not look_only:
            refuse_read_only(parsed)
        engine = make_engine(look_only_url(parsed), readers=1)
        with engine.begin() as connection:
            look(connection)
        engine.dispose()
    return found[::-1]


def _migrate_sqlite(parsed: URL) -> None:
    assert parsed.database is not None
    _create_private(Path(parsed.database))
    refuse_read_only(parsed)
    engine = make_engine(parsed)
    with engine.connect() as connection:
        _use_wal(raw(connection))
        # The write lock is held from the look at the version to the last statement: a second start waits, then
        # finds nothing left to do; and a migration that fails leaves no trace.
        with connection.begin():
            _upgrade(connection)


def _is_newest(connection: Connection) -> bool:
    """Return whether there is nothing to do. The server then does not import Alembic, which takes memory."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    versions = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    return versions == [newest_version()]


def _upgrade(connection: Connection) -> None:
    if _is_newest(connection):
        return
    from alembic import command

    config, _current = _alembic(connection)
    command.upgrade(config, "head")


def _alembic(connection: Connection) -> tuple[Config, tuple[str, ...]]:
    """Alembic's settings, and the revisions that the database is at. CatalogTooNew."""
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_heads()
    unknown = set(current) - known
    if unknown:
        raise CatalogTooNew(
            f"The metadata database has schema {', '.join(sorted(unknown))}, made by a newer partwise. Use that "
            "version, or restore the backup from before the upgrade."
        )
    return config, current


def _create_private(path: Path) -> None:
    """Create the file readable by its owner alone; SQLite gives its companions the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log, which lasts. SQLite does not wait here when another process does the same."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            if mode != "wal":
                raise RuntimeError(
                    f"SQLite cannot use a write-ahead log on this file system (mode {mode}). Use a local file system."
                )
            return
