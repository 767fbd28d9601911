"""SQLite: one writer thread in each process, which commits what waits in groups, and a few reading connections.

With ``synchronous=FULL`` a commit costs one flush to disk, whatever it holds. So the writer takes all the functions
that wait, runs each in a savepoint (what one raises undoes only itself), commits once, and only then tells the
callers: nobody hears of success, or of a conflict with something that might still be undone, before it is on disk.
While the commit waits for the disk, the next group gathers.

Processes take turns at SQLite's one write lock. ``BEGIN IMMEDIATE`` takes it at the start, where waiting is
possible: a transaction that first reads and then wants to write is refused when another process wrote in between.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError

from partwise.catalog.headroom import Headroom
from partwise.catalog.presence import Presence
from partwise.catalog.sqlite_errors import is_busy, translated
from partwise.core.errors import OutOfSpace, StorageFailed

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Functions in one commit: bounds how long the first waits, and how long other processes wait for the write lock.
GROUP_SIZE = 64
#: Connections, and threads, that read.
READERS = 4
#: How long to wait for other processes' write transactions, each of which takes milliseconds, before giving up.
BUSY_TIMEOUT_SECONDS = 30.0

#: Seconds from one try to take back the room that is kept for a full disk to the next.
_HEADROOM_SECONDS = 1.0

# SQLite's own waiting sleeps up to 100 ms at a time; a turn at the write lock is over in a few.
_POLL_SECONDS = 0.001


def make_engine(url: URL, *, readers: int = 0, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> Engine:
    """An engine for one SQLite file: of connections that write or, with ``readers``, of that many that only read.

    Transactions are begun here and not by the driver, which knows only the deferred kind.
    """
    arguments = {"timeout": busy_timeout_seconds, "check_same_thread": False}
    if readers:
        engine = create_engine(
            url, connect_args=arguments, poolclass=QueuePool, pool_size=readers, pool_reset_on_return=None
        )
    else:
        engine = create_engine(url, connect_args=arguments, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA query_only = ON" if readers else "PRAGMA busy_timeout = 0")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if readers:
            raw(connection).execute("BEGIN")
        else:
            _begin_immediate(raw(connection), busy_timeout_seconds)

    return engine


def look_only_url(url: URL) -> URL:
    """The URL of the same file for connections that make no file and change none.

    A connection that only reads still makes the files of the write-ahead log, where they are not there; then nobody
    has the database open, and it can be taken for one that does not change.
    """
    assert url.database is not None
    path = os.path.abspath(url.database)
    query = {"mode": "ro", "uri": "true"}
    if not (os.path.exists(f"{path}-shm") or os.path.exists(f"{path}-wal")):
        query["immutable"] = "1"
    return url.set(database=f"file:{quote(path)}", query=query)


def refuse_read_only(url: URL) -> None:
    """Raise OperationalError if a file of the database exists that this process may not write.

    SQLite would open it all the same, and fail at each write. Its companions have the mode that the database had when
    they were made.
    """
    path = os.path.abspath(url.database or "")
    for name in (path, f"{path}-wal", f"{path}-shm"):
        if os.path.exists(name) and not os.access(name, os.W_OK):
            raise sqlite3.OperationalError(f"{name} may not be written")


def headroom_of(url: URL) -> Headroom:
    """The room that is kept beside a database."""
    return Headroom(f"{os.path.abspath(url.database or '')}-headroom")


def _version(connection: Connection) -> int:
    """The version of the schema as SQLite counts it, which is read from the file's first page."""
    row: tuple[int] = raw(connection).execute("PRAGMA schema_version").fetchone()
    return row[0]


def has_trigrams(connection: Connection) -> bool:
    """Return whether this SQLite can index trigrams: it was built with FTS5, and is 3.34 or newer."""
    plain = raw(connection)
    try:
        plain.execute("CREATE VIRTUAL TABLE temp.partwise_probe USING fts5(name, tokenize = 'trigram')")
    except sqlite3.OperationalError:
        return False
    plain.execute("DROP TABLE temp.partwise_probe")
    return True


def drop_unusable_index(connection: Connection) -> None:
    """Drop the triggers of the index of names where this SQLite, unlike the one that made it, has no FTS5.

    They would let each commit fail. Searches read all names then.
    """
    plain = raw(connection)
    triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB 'search_artifact_links_*'"
    if not (names := plain.execute(triggers).fetchall()):
        return
    try:
        plain.execute("SELECT rowid FROM artifact_search LIMIT 0")
    except sqlite3.OperationalError as error:
        logger.warning("the full-text index of names is unavailable, so searches by name are slow: %s", error)
        for (name,) in names:
            plain.execute(f"DROP TRIGGER {name}")


def raw(connection: Connection) -> sqlite3.Connection:
    """The driver's connection under SQLAlchemy's."""
    inner = connection.connection.dbapi_connection
    assert isinstance(inner, sqlite3.Connection)
    return inner


def _begin_immediate(connection: sqlite3.Connection, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(_POLL_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 (keeps processes out of step, no secret)


class _Job:
    """A function that waits for its turn, and what came of it."""

    __slots__ = ("error", "future", "loop", "query", "result")

    def __init__(self, query: Callable[[Connection], Any]) -> None:
        self.query = query
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self, connection: Connection) -> None:
        """Run in a savepoint. Raises only if SQLite gave up the whole transaction, and with it the group."""
        plain = raw(connection)
        plain.execute("SAVEPOINT job")
        try:
            self.result = self.query(connection)
        except BaseException as error:
            # After some errors (disk full, I/O) SQLite has rolled back everything, the work of others included.
            if not plain.in_transaction:
                raise
            plain.execute("ROLLBACK TO job")
            self.error = translated(error)
        plain.execute("RELEASE job")

    def tell(self) -> None:
        """Hand the outcome to the caller, if it still waits. Runs in the caller's event loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class SqliteRunner:
    """Runs transactions on one SQLite file, which any number of processes share."""

    def __init__(self, url: URL, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        self._url = url
        self._headroom = headroom_of(url)
        self._presence = Presence(url.database or "")
        self._keeping: asyncio.Task[None] | None = None
        self._reading = make_engine(url, readers=READERS)
        self._writing = make_engine(url, busy_timeout_seconds=busy_timeout_seconds)
        event.listen(self._reading, "do_connect", self._before_connecting)
        self._looking: Connection | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="catalog-reader")
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._writer: threading.Thread | None = None
        self._started = self._stopped = False

    async def start(self, *, look_only: bool = False) -> None:
        """Open the writing connection and start its thread. StorageFailed when the file cannot be opened."""
        assert not self._started, "a runner starts once"
        self._started = True
        if look_only:
            self._reading = make_engine(look_only_url(self._url), readers=READERS)
            return
        try:
            connection = await asyncio.to_thread(self._connect)
            self._looking = await asyncio.to_thread(self._reading.connect)
            raw(self._looking).execute("PRAGMA busy_timeout = 0")
        except DBAPIError as error:
            raise translated(error) from error
        # A daemon: a process that ends without `stop` does not hang, and nothing unanswered was promised.
        self._writer = threading.Thread(target=self._run, args=(connection,), name="catalog-writer", daemon=True)
        self._writer.start()
        self._keep_headroom()

    def _before_connecting(self, *_: object) -> None:
        """A new connection would make an empty database where it is missing, and SQLite then deletes its log."""
        self._presence.check()

    def _connect(self) -> Connection:
        connection = self._writing.connect()
        drop_unusable_index(connection)
        _version(connection)  # opens the write-ahead log too
        self._presence.remember()
        return connection

    async def stop(self) -> None:
        """Refuse new work, finish what waits, and close connections. May be called again without effect."""
        if self._stopped:
            return
        self._stopped = True
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        self._queue.put(None)
        if self._writer is not None:
            await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.shutdown)
        if self._looking is not None:
            self._looking.close()
        self._reading.dispose()

    async def check_writable(self) -> None:
        """StorageFailed when the file cannot be read, or is another one by now.

        A full disk is no reason: reads and deletes go on then.
        """
        await asyncio.to_thread(self._presence.check)
        await self.read(_version)

    async def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query`` on a reading connection, in a snapshot."""
        self._check_running()
        call = partial(self._read, query, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    async def look_up(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query`` here and now: two rows by their keys take less than handing them to a thread and back.

        Readers wait for nobody in a write-ahead log, but for whoever repairs it after a crash: then a thread waits.
        """
        self._check_running()
        if self._looking is not None:
            plain = raw(self._looking)
            with suppress(sqlite3.Error):
                plain.execute("BEGIN")
                try:
                    return query(self._looking, *args, **kwargs)
                finally:
                    plain.rollback()
        return await self.read(query, *args, **kwargs)

    async def write(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``query`` in the next group."""
        self._check_running()
        assert self._writer is not None, "nothing is written by who only looks"
        job = _Job(lambda connection: query(connection, *args, **kwargs))
        self._queue.put(job)
        result: T = await job.future
        return result

    async def free(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``write``, and on a full disk once more with the room that is kept for this."""
        try:
            return await self.write(query, *args, **kwargs)
        except OutOfSpace:
            if not await asyncio.to_thread(self._headroom.give):
                raise
        logger.warning("the disk is full: deletions use the emergency reserve")
        try:
            return await self.write(query, *args, **kwargs)
        finally:
            self._keep_headroom()

    def _keep_headroom(self) -> None:
        """Take it, now or as soon as there is room."""
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._take_headroom(), name="catalog headroom")

    async def _take_headroom(self) -> None:
        while not await asyncio.to_thread(self._headroom.keep):  # noqa: ASYNC110 (a disk has no event to wait for)
            await asyncio.sleep(_HEADROOM_SECONDS)

    def _check_running(self) -> None:
        if not self._started or self._stopped:
            raise RuntimeError("The catalog is not running.")

    def _read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with self._reading.begin() as connection:
                return query(connection, *args, **kwargs)
        except (DBAPIError, sqlite3.Error) as error:
            raise translated(error) from error

    def _run(self, connection: Connection) -> None:
        """The writer thread: one group after the other, until the end of the queue."""
        with connection:
            while (job := self._queue.get()) is not None:
                _tell(self._commit_group(connection, job))

    def _commit_group(self, connection: Connection, first: _Job) -> list[_Job]:
        """Run ``first`` and those that wait behind it in one transaction; returns them with what came of each."""
        group = [first]
        try:
            with connection.begin():
                self._presence.check()
                first.run(connection)
                while len(group) < GROUP_SIZE and (job := self._next()) is not None:
                    group.append(job)
                    job.run(connection)
                # Or the commit would pass with nothing in it.
                if not raw(connection).in_transaction:
                    raise StorageFailed("The metadata database lost the transaction. Try again later.")
            self._presence.check()
        except BaseException as error:
            # SQLite may keep a transaction open whose commit failed.
            with suppress(sqlite3.Error):
                raw(connection).rollback()
            # Also those that failed by themselves: what stood in their way may have been undone with the group.
            outcome = translated(error)
            for job in group:
                job.error = outcome
        return group

    def _next(self) -> _Job | None:
        """Return the next waiting transaction, or None."""
        try:
            job = self._queue.get_nowait()
        except Empty:
            return None
        if job is None:
            self._queue.put(None)  # the end is the main loop's to see
        return job


def _tell(group: Sequence[_Job]) -> None:
    """Wake each event loop once for all of its callers in the group."""
    for loop in {job.loop for job in group}:
        mine = [job for job in group if job.loop is loop]
        with suppress(RuntimeError):  # the loop was closed under its callers: nobody waits
            loop.call_soon_threadsafe(_tell_all, mine)


def _tell_all(group: Sequence[_Job]) -> None:
    for job in group:
        job.tell()
