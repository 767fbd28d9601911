"""The SQLite runner: groups, what one function's error undoes, callers that leave, the end, and a failing disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.exc import IntegrityError

from partwise.catalog.sqlite import GROUP_SIZE, SqliteRunner, raw
from partwise.core.errors import Conflict, OutOfSpace, StorageFailed


def add(connection: Connection, value: int) -> int:
    connection.execute(text("INSERT INTO numbers VALUES (:value)"), {"value": value})
    return value


def add_and_fail(connection: Connection, value: int) -> None:
    add(connection, value)
    raise Conflict("after the insert")


def numbers(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT value FROM numbers ORDER BY value")).scalars())


class Gate:
    """A function that keeps the writer busy until the test opens it, so that others gather behind it."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, connection: Connection) -> None:
        self.entered.set()
        assert self.opened.wait(30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE numbers (value INTEGER UNIQUE)")
        connection.execute("CREATE TABLE followers (v REFERENCES numbers (value) DEFERRABLE INITIALLY DEFERRED)")
    return path


@pytest.fixture
async def runner(path: Path) -> AsyncIterator[SqliteRunner]:
    runner = SqliteRunner(make_url(f"sqlite:///{path}"), busy_timeout_seconds=1.0)
    await runner.start()
    yield runner
    await runner.stop()


@pytest.fixture
def commits(runner: SqliteRunner) -> list[None]:
    """Grows with each commit."""
    counted: list[None] = []
    event.listen(runner._writing, "commit", lambda connection: counted.append(None))
    return counted


async def gather_behind(runner: SqliteRunner, gate: Gate) -> asyncio.Task[None]:
    """The writer is inside ``gate`` when this returns."""
    task = asyncio.create_task(runner.write(gate))
    await asyncio.to_thread(gate.entered.wait, 30)
    return task


async def test_every_connection_keeps_the_promises(runner: SqliteRunner) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [raw(connection).execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    full = 2
    assert await runner.write(pragmas) == ["wal", full, 1]
    assert await runner.read(pragmas) == ["wal", full, 1]


async def test_what_waits_is_committed_together(runner: SqliteRunner, commits: list[None]) -> None:
    gate = Gate()
    first = await gather_behind(runner, gate)
    others = [asyncio.create_task(runner.write(add, value)) for value in range(GROUP_SIZE - 1)]
    await asyncio.sleep(0)
    gate.opened.set()
    assert await asyncio.gather(*others) == list(range(GROUP_SIZE - 1))
    await first
    assert len(commits) == 1


async def test_a_group_has_a_largest_size(runner: SqliteRunner, commits: list[None]) -> None:
    gate = Gate()
    first = await gather_behind(runner, gate)
    others = [asyncio.create_task(runner.write(add, value)) for value in range(2 * GROUP_SIZE)]
    await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.gather(first, *others)
    assert len(commits) == 3


async def test_an_error_undoes_only_its_own_work(runner: SqliteRunner, commits: list[None]) -> None:
    gate = Gate()
    first = await gather_behind(runner, gate)
    calls = [runner.write(add, 1), runner.write(add_and_fail, 2), runner.write(add, 1), runner.write(add, 3)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    gate.opened.set()
    one, failed, twice, three = await asyncio.gather(*tasks, return_exceptions=True)
    await first
    assert (one, three) == (1, 3)
    assert isinstance(failed, Conflict)
    assert "UNIQUE" in str(twice)
    assert await runner.read(numbers) == [1, 3]
    assert len(commits) == 1


async def test_nobody_hears_before_the_commit(runner: SqliteRunner, path: Path) -> None:
    gate = Gate()
    early = asyncio.create_task(runner.write(add, 1))
    blocked = asyncio.create_task(runner.write(gate))
    await asyncio.to_thread(gate.entered.wait, 30)
    seen = await runner.read(numbers)
    # Committed alone before the gate's group, or with it: told if and only if others see it.
    await asyncio.sleep(0.05)
    assert early.done() is (seen == [1])
    gate.opened.set()
    await asyncio.gather(early, blocked)
    assert await runner.read(numbers) == [1]


async def test_a_cancelled_caller_stops_nothing(runner: SqliteRunner) -> None:
    gate = Gate()
    first = await gather_behind(runner, gate)
    leaving = asyncio.create_task(runner.write(add, 1))
    failing = asyncio.create_task(runner.write(add_and_fail, 2))
    staying = asyncio.create_task(runner.write(add, 3))
    await asyncio.sleep(0)
    leaving.cancel()
    failing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    gate.opened.set()
    assert await staying == 3
    await first
    assert await runner.read(numbers) == [1, 3]


async def test_a_failed_commit_is_told_to_all_of_its_group(runner: SqliteRunner) -> None:
    def orphan(connection: Connection) -> None:
        connection.execute(text("INSERT INTO followers VALUES (12345)"))  # checked by the commit, which fails

    gate = Gate()
    first = await gather_behind(runner, gate)
    calls = [runner.write(add, 1), runner.write(add_and_fail, 2), runner.write(orphan)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    gate.opened.set()
    outcomes = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [IntegrityError] * 4
    assert await runner.read(numbers) == []
    assert await runner.write(add, 4) == 4


async def test_a_transaction_that_sqlite_gave_up_fails_for_all_of_it(runner: SqliteRunner) -> None:
    """As it does after some disk errors: what others did in it is gone, and they must hear it."""

    def give_up(connection: Connection) -> None:
        connection.execute(text("INSERT OR ROLLBACK INTO numbers VALUES (1)"))

    gate = Gate()
    first = await gather_behind(runner, gate)
    calls = [runner.write(add, 1), runner.write(give_up), runner.write(add, 2)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    gate.opened.set()
    outcomes = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [IntegrityError, IntegrityError, IntegrityError, int]
    assert await runner.read(numbers) == [2]


async def test_a_full_disk_is_told_and_passes(runner: SqliteRunner) -> None:

    def pages(connection: Connection, count: int) -> None:
        raw(connection).execute(f"PRAGMA max_page_count = {count}").fetchall()

    def add_much(connection: Connection) -> None:
        connection.execute(
            text(
                "WITH RECURSIVE n(v) AS (SELECT 1000 UNION ALL SELECT v + 1 FROM n WHERE v < 100000) "
                "INSERT INTO numbers SELECT v FROM n"
            )
        )

    await runner.write(pages, 10)
    gate = Gate()
    first = await gather_behind(runner, gate)
    calls = [runner.write(add, 1), runner.write(add_much), runner.write(add, 2)]
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    gate.opened.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(first, return_exceptions=True)
    assert isinstance(outcomes[1], OutOfSpace)
    kept = await runner.read(numbers)
    assert kept == [outcome for outcome in outcomes if isinstance(outcome, int)]
    await runner.write(pages, 1_000_000)
    await runner.write(add_much)
    assert len(await runner.read(numbers)) == len(kept) + 99_001


async def test_another_writer_is_waited_for_and_not_forever(runner: SqliteRunner, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(runner.write(add, 1))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        other.execute("COMMIT")
        assert await waiting == 1
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFailed):
            await runner.write(add, 2)
        other.execute("ROLLBACK")
    assert await runner.write(add, 3) == 3


async def test_readers_neither_write_nor_wait(runner: SqliteRunner) -> None:
    with pytest.raises(StorageFailed):
        await runner.read(add, 1)
    gate = Gate()
    first = await gather_behind(runner, gate)
    assert await asyncio.wait_for(runner.read(numbers), 10) == []
    gate.opened.set()
    await first


async def test_a_read_sees_one_snapshot(runner: SqliteRunner) -> None:
    first_look, added = threading.Event(), threading.Event()

    def look_twice(connection: Connection) -> tuple[list[int], list[int]]:
        before = numbers(connection)
        first_look.set()
        assert added.wait(30)
        return before, numbers(connection)

    reading = asyncio.create_task(runner.read(look_twice))
    await asyncio.to_thread(first_look.wait, 30)
    await runner.write(add, 1)
    added.set()
    assert await reading == ([], [])


async def test_stop_finishes_what_waits_and_refuses_more(runner: SqliteRunner, path: Path) -> None:
    gate = Gate()
    first = await gather_behind(runner, gate)
    others = [asyncio.create_task(runner.write(add, value)) for value in range(3 * GROUP_SIZE)]
    await asyncio.sleep(0)
    stopping = asyncio.create_task(runner.stop())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError):
        await runner.write(add, 9999)
    with pytest.raises(RuntimeError):
        await runner.read(numbers)
    gate.opened.set()
    await stopping
    await asyncio.gather(first, *others)
    await runner.stop()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (3 * GROUP_SIZE,)
    assert not path.with_name("numbers.db-wal").exists()


async def test_a_file_that_cannot_be_opened_is_told_at_start(tmp_path: Path) -> None:
    runner = SqliteRunner(make_url(f"sqlite:///{tmp_path / 'no' / 'such.db'}"))
    with pytest.raises(StorageFailed):
        await runner.start()
    await runner.stop()


async def test_a_database_that_is_away_is_not_made_anew(runner: SqliteRunner, path: Path) -> None:
    """A first read opens a connection, which would make an empty database, and SQLite then deletes the log."""
    await runner.write(add, 1)
    aside = path.rename(path.with_name("aside"))
    with pytest.raises(StorageFailed):
        await runner.read(numbers)
    assert not path.exists()
    aside.rename(path)
    assert await runner.read(numbers) == [1]
