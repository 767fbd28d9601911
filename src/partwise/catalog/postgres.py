"""PostgreSQL: a pool of connections in each process, and one transaction for each function.

Functions that change something run at READ COMMITTED and begin by locking a row (``uploads.lock_upload``): each
statement after that sees what other transactions committed while this one waited. Functions that only read run in
one snapshot. Where a lock cannot help, because the row is not there yet, two transactions may insert the same key:
the later one is run again, and finds it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg
from sqlalchemy import URL, Connection, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from partwise.catalog import counts, events
from partwise.catalog.catalog import SqlCatalog
from partwise.core.errors import NotFound, OutOfSpace, StorageFailed
from partwise.core.events import EventPage
from partwise.engine.ports import Lock

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Connections of one process, at most.
POOL_SIZE = 8
#: Seconds to wait for a connection, for one that is free, and for other transactions' locks.
CONNECT_SECONDS, POOL_SECONDS, LOCK_SECONDS = 10, 30, 30
#: How often a transaction is tried that others were in the way of.
TRIES = 5

# Of a machine that dies without a word, PostgreSQL gives up the open transaction, and with it the locks on rows, after
# a minute, and the connection after half of that: others go on.
_NAME = "partwise"
_SESSION = {
    "jit": "off",  # every query is small: compiling one would cost more than running it
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "4",
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_IN_THE_WAY = {"40001", "40P01", "23505"}  # serialization failure, deadlock, a key that another has just inserted
_NO_ROOM = {"53100"}  # disk full
_NO_TEXT = "22021"  # a NUL character, which PostgreSQL has in no text: nothing is named so
_OUR_DEFECT = ("22", "23", "42")  # data, constraints, syntax: not the database's fault
# A session that reached a server which is not the primary, or that is about to end: read-only transaction, idle in
# transaction for too long, ended by an administrator, a crash, or the end of its database.
_WRONG_SESSION = {"25006", "25P03", "57P01", "57P02", "57P04", "57P05"}
# The database behind the address is not, or not yet, the one that was migrated: no rights, no such table or column.
_NOT_OURS = {"42501", "42P01", "42703"}

# Raises what a write would raise, without one: also where a setting, and not recovery, makes the server read-only.
_READ_ONLY_RAISES = """
DO $$ BEGIN
    IF current_setting('transaction_read_only')::bool THEN
        RAISE read_only_sql_transaction USING MESSAGE = 'the server is read-only';
    END IF;
END $$
"""

#: What comes out of SQLAlchemy when the database does not do its work; while it connects, also what is under it.
_FAILURES = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


def make_engine(url: URL, *, pooled: bool = True) -> AsyncEngine:
    """An engine for one database; without a pool each connection is new and closes when it is given back."""
    pool: dict[str, Any] = {"poolclass": NullPool}
    if pooled:
        pool = {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": POOL_SECONDS}
    arguments = {"server_settings": {"application_name": _NAME}, "timeout": CONNECT_SECONDS}
    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"), connect_args=arguments, **pool)
    event.listen(engine.sync_engine, "connect", _set_up_session)
    event.listen(engine.sync_engine, "handle_error", _drop_wrong_sessions)
    return engine


def _set_up_session(connection: Any, _record: object) -> None:
    """Not at the start of the session, where PgBouncer refuses all settings but a few."""
    cursor = connection.cursor()
    settings = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SESSION.items())
    cursor.execute(f"SELECT {settings}")
    cursor.close()
    connection.commit()


def _drop_wrong_sessions(context: ExceptionContext) -> None:
    """Close this connection and, before their next use, all others of the pool that are as old.

    After a failover they may all lead to the former primary, which goes on reading, and never writes again.
    """
    if _code(context.original_exception) in _WRONG_SESSION and not _reads_only(context.connection):
        context.is_disconnect = True


def _reads_only(connection: Connection | None) -> bool:
    """Return whether transactions of this connection are read-only because this module asked for that."""
    return connection is not None and bool(connection.get_execution_options().get("postgresql_readonly"))


def _code(error: BaseException) -> str:
    """PostgreSQL's five letters for what went wrong; empty when it did not say."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def _lost(error: BaseException) -> bool:
    """Return whether the connection was closed, so that a new one may work."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or isinstance(error, InterfaceError))


def _translated(error: BaseException) -> BaseException:
    """The error for the caller: a database that cannot do its work is a failing storage, a defect is itself."""
    code = _code(error)
    if code == _NO_TEXT:
        return NotFound("object")
    if code.startswith(_OUR_DEFECT) and code not in _NOT_OURS:
        return error
    logger.error("the metadata database failed: %s", getattr(error, "orig", error))
    if code in _NO_ROOM:
        return OutOfSpace("The metadata database is full. Try again later, or ask the operator to free space.")
    return StorageFailed("The metadata database is unavailable. Try again later.")


class PostgresRunner:
    """Runs transactions on one PostgreSQL database, which any number of machines share."""

    def __init__(self, url: URL) -> None:
        self._engine = make_engine(url)
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._running: set[asyncio.Task[Any]] = set()
        self._started = False

    async def start(self, *, look_only: bool = False) -> None:
        """Open the first connection. StorageFailed when the database cannot be reached."""
        settings = await self._attempt(self._engine, _durability)
        self._started = True
        for name, value in settings.items():
            if value == "off":
                logger.warning(
                    "PostgreSQL has %s = off: a power loss may lose acknowledged records; set it to on", name
                )

    async def stop(self) -> None:
        """Refuse new work, finish what runs, and close connections. May be called again without effect."""
        self._started = False
        if self._running:
            await asyncio.wait(self._running)
        await self._engine.dispose()

    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query`` in a snapshot."""
        return await self._run(self._reading, query, *args, **kwargs)

    look_up = read

    async def write(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query`` in a task of its own, which goes on when the caller is cancelled."""
        task = asyncio.ensure_future(self._run(self._engine, query, *args, **kwargs))
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def free(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As any other: the database's disk is not the one that uploads fill."""
        return await self.write(query, *args, **kwargs)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, also when nobody waits for it any more

    async def check_writable(self) -> None:
        """StorageFailed when the database cannot be reached or is read-only. Writes nothing."""
        await self._run(self._engine, _check_writable)

    async def _run(
        self, engine: AsyncEngine, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if not self._started:
            raise RuntimeError("The catalog is not running.")
        return await self._attempt(engine, query, *args, **kwargs)

    async def _attempt(
        self, engine: AsyncEngine, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run it until nobody is in the way. What may have been committed is never run again."""
        left = TRIES
        moved = False
        while True:
            left -= 1
            committing = False
            try:
                async with engine.connect() as connection:
                    result = await connection.run_sync(query, *args, **kwargs)
                    committing = True
                    await connection.commit()
                    return result
            except _FAILURES as error:
                again = _code(error) in _IN_THE_WAY
                if _lost(error) and not committing:
                    # One new connection tells whether the primary has moved. More would load a database in trouble.
                    again = not (moved and _code(error) in _WRONG_SESSION)
                    moved = moved or _code(error) in _WRONG_SESSION
                if left and again:
                    continue
                ours = _code(error) == "25006" and engine is self._reading  # a query that only reads must not write
                failed = error if ours else _translated(error)
                if failed is error:
                    raise
                raise failed from error


def _check_writable(connection: Connection) -> None:
    connection.execute(text(_READ_ONLY_RAISES))


def _durability(connection: Connection) -> dict[str, str]:
    """The settings that acknowledged records rest on."""
    return {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in ("fsync", "synchronous_commit")}


async def _in_transaction(url: URL, lock: int, function: Callable[[Connection], None]) -> None:
    engine = make_engine(url, pooled=False)

    def locked(connection: Connection) -> None:
        # Migrations wait for each other as long as it takes.
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock})
        function(connection)

    connection: AsyncConnection
    async with engine.begin() as connection:
        await connection.run_sync(locked)


async def _refuse_shared_sessions(url: URL) -> None:
    """StorageFailed when a pooler gives the transactions of one session to several connections to PostgreSQL.

    Advisory locks, settings and prepared statements would be those of whoever comes next. Only the simple protocol is
    used here: in such a place the other one fails in ways that tell nothing.
    """
    dialect = make_engine(url, pooled=False).dialect
    _, given = dialect.create_connect_args(url.set(drivername="postgresql+asyncpg"))
    arguments: dict[str, Any] = {name: given[name] for name in given if not name.startswith("prepared_statement")}
    mark = uuid.uuid4().hex
    with_mark = "current_setting('partwise.session', true) IS NOT DISTINCT FROM"
    raises = f"DO $$ BEGIN IF {{}} THEN RAISE EXCEPTION '{mark}'; END IF; END $$"
    first = await asyncpg.connect(**arguments, timeout=CONNECT_SECONDS)
    try:
        second = await asyncpg.connect(**arguments, timeout=CONNECT_SECONDS)
        try:
            await first.execute(f"SET partwise.session = '{mark}'")
            await second.execute("BEGIN")  # holds what connection it was given
            await second.execute(raises.format(f"{with_mark} '{mark}'"))
            await first.execute(raises.format(f"NOT {with_mark} '{mark}'"))
        finally:
            await second.close()
    except asyncpg.PostgresError as error:
        # The marker, or PgBouncer's own words where it takes no transactions at all (pool_mode = statement).
        if mark not in str(error) and "pooling" not in str(error):
            raise
        raise StorageFailed(
            "PostgreSQL is reached through a pooler that changes connections between transactions (PgBouncer with "
            "pool_mode = transaction or statement). partwise needs sessions: use pool_mode = session for its database, "
            "or connect to PostgreSQL itself."
        ) from None
    finally:
        await first.close()


def run_locked(url: URL, lock: int, function: Callable[[Connection], None]) -> None:
    """Run ``function`` in one transaction, while no other process is in one with the same ``lock``. Blocks."""

    async def run() -> None:
        await _refuse_shared_sessions(url)
        await _in_transaction(url, lock, function)

    try:
        asyncio.run(run())
    except _FAILURES as error:
        failed = _translated(error)
        if failed is error:
            raise
        raise failed from error


class PostgresCatalog(SqlCatalog):
    """The catalog on PostgreSQL, which many machines share. Implements ``engine.ports.ObjectRecords`` too."""

    def __init__(self, url: URL) -> None:
        super().__init__(PostgresRunner(url))
        self._names = _Names(url)

    async def stop(self) -> None:
        """Give back all names, and finish what runs."""
        await self._names.stop()
        await super().stop()

    async def fold_counts(self) -> int:
        """As the port says."""
        return await self.runner.write(counts.fold_counts)

    async def list_events(
        self, owner: str | None, *, after: int | None, types: Sequence[str] = (), limit: int = 100
    ) -> EventPage:
        """As the port says. Events that were committed meanwhile get their positions first."""
        await self._place_events()
        return await super().list_events(owner, after=after, types=types, limit=limit)

    async def newest_event(self) -> int:
        """As the port says. Events that were committed meanwhile get their positions first."""
        await self._place_events()
        return await super().newest_event()

    async def prune_events(self, before: datetime) -> int:
        """As the port says. Where nobody reads, events get their positions here."""
        await self._place_events()
        return await super().prune_events(before)

    async def has_deliveries(self, endpoint: str, now: datetime) -> bool:
        """As the port says. Events that were committed meanwhile get their positions first."""
        await self._place_events()
        return await super().has_deliveries(endpoint, now)

    async def _place_events(self) -> None:
        if await self.runner.read(events.has_unplaced):
            await self.runner.write(events.place_events)

    async def try_name(self, name: str) -> Lock | None:
        """An advisory lock of a session of its own: gone when this process is, or its machine."""
        return await self._names.try_hold(name)


class _Names:
    """Advisory locks, all held by one connection that is never idle in a transaction."""

    def __init__(self, url: URL) -> None:
        self._engine = make_engine(url, pooled=False).execution_options(isolation_level="AUTOCOMMIT")
        self._connection: AsyncConnection | None = None
        self._held: dict[int, _Name] = {}
        self._releases: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def try_hold(self, name: str) -> _Name | None:
        """One session may take a lock again and again: within this process ``_held`` keeps it single."""
        key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
        async with self._turn:
            if key in self._held or not await self._call("SELECT pg_try_advisory_lock(:key)", key):
                return None
            held = self._held[key] = _Name(self, key)
            return held

    def release(self, held: _Name) -> None:
        """Give it back soon; nobody waits for that."""
        task = asyncio.get_running_loop().create_task(self._release(held))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    async def _release(self, held: _Name) -> None:
        async with self._turn:
            if self._held.get(held.key) is held:  # or the connection broke since, and the lock with it
                del self._held[held.key]
                with suppress(StorageFailed, OutOfSpace):
                    await self._call("SELECT pg_advisory_unlock(:key)", held.key)

    async def _call(self, statement: str, key: int) -> bool:
        try:
            if self._connection is None:
                self._connection = await self._engine.connect()
            # A standby gives advisory locks, too: they would exclude nobody who has moved on to the new primary.
            await self._connection.execute(text(_READ_ONLY_RAISES))
            result = await self._connection.execute(text(statement), {"key": key})
            return bool(result.scalar_one())
        except BaseException as error:
            self._held.clear()
            broken, self._connection = self._connection, None
            if broken is not None:
                await broken.invalidate()
                await broken.close()
            if isinstance(error, _FAILURES):
                raise _translated(error) from error
            raise

    async def stop(self) -> None:
        """Close the connection, which gives back all that is held."""
        if self._releases:
            await asyncio.wait(self._releases)
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        self._held.clear()


class _Name:
    """A name that is held until ``release``."""

    def __init__(self, names: _Names, key: int) -> None:
        self._names: _Names | None = names
        self.key = key

    def release(self) -> None:
        """Give it back. May be called again without effect."""
        names, self._names = self._names, None
        if names is not None:
            names.release(self)
