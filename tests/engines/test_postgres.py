"""What only PostgreSQL has: connections that break, transactions in each other's way, and migrations."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from partwise.catalog import CatalogTooNew, migrate, open_catalog
from partwise.catalog.postgres import POOL_SIZE, TRIES, PostgresRunner
from partwise.catalog.schema import parse_url
from partwise.catalog.tables import metadata
from partwise.core.errors import Conflict, StorageFailed
from tests.contract.catalog import processes
from tests.engines.postgres import Postgres, postgres
from tests.support.folders import service_folder

pytestmark = pytest.mark.engines


def execute(connection: Connection, statement: str) -> object:
    result = connection.execute(text(statement))
    return result.scalar_one_or_none() if result.returns_rows else None


@pytest.fixture
def url(postgres_server: Postgres, postgres_url: str) -> str:
    postgres_server.execute("CREATE TABLE numbers (value INTEGER UNIQUE)", postgres_url.rpartition("/")[2])
    return postgres_url


@pytest.fixture
async def runner(url: str) -> AsyncIterator[PostgresRunner]:
    runner = PostgresRunner(parse_url(url))
    await runner.start()
    yield runner
    await runner.stop()


async def numbers(runner: PostgresRunner) -> int:
    found = await runner.read(execute, "SELECT count(*) FROM numbers")
    assert isinstance(found, int)
    return found


async def test_what_raises_is_undone(runner: PostgresRunner) -> None:
    def add_and_fail(connection: Connection) -> None:
        execute(connection, "INSERT INTO numbers VALUES (1)")
        raise Conflict("after the insert")

    with pytest.raises(Conflict):
        await runner.write(add_and_fail)
    assert await numbers(runner) == 0


async def test_a_read_sees_one_snapshot_and_changes_nothing(runner: PostgresRunner) -> None:
    def isolation(connection: Connection) -> object:
        return execute(connection, "SELECT current_setting('transaction_isolation')")

    assert await runner.read(isolation) == "repeatable read"
    assert await runner.write(isolation) == "read committed"
    with pytest.raises(Exception, match="read-only transaction"):
        await runner.read(execute, "INSERT INTO numbers VALUES (1)")


async def test_a_write_goes_on_when_its_caller_is_cancelled(runner: PostgresRunner) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(connection: Connection) -> None:
        loop.call_soon(begun.set)
        execute(connection, "INSERT INTO numbers SELECT 1 FROM pg_sleep(0.2)")

    caller = asyncio.create_task(runner.write(slow))
    await begun.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await runner.stop()
    await runner.start()
    assert await numbers(runner) == 1


async def test_a_key_that_another_just_inserted_is_looked_up_again(runner: PostgresRunner) -> None:
    """Both look, both find nothing, both insert: the later one runs again, and finds it."""
    tries = 0

    def add_once(connection: Connection) -> bool:
        nonlocal tries
        tries += 1
        if execute(connection, "SELECT value FROM numbers WHERE value = 1") is not None:
            return False
        execute(connection, "SELECT pg_sleep(0.1)")
        execute(connection, "INSERT INTO numbers VALUES (1)")
        return True

    results = await asyncio.gather(*[runner.write(add_once) for _ in range(POOL_SIZE)])
    assert sorted(results) == [False] * (POOL_SIZE - 1) + [True]
    assert tries > POOL_SIZE


async def test_a_defect_comes_out_as_it_is_after_some_tries(runner: PostgresRunner) -> None:
    tries = 0

    def twice(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        execute(connection, "INSERT INTO numbers VALUES (1), (1)")

    with pytest.raises(Exception, match="duplicate key"):
        await runner.write(twice)
    assert tries == TRIES


async def test_of_two_that_wait_for_each_other_both_get_through(runner: PostgresRunner) -> None:
    def add(connection: Connection, first: int, second: int) -> None:
        execute(connection, f"SELECT pg_advisory_xact_lock({first})")
        execute(connection, "SELECT pg_sleep(0.2)")
        execute(connection, f"SELECT pg_advisory_xact_lock({second})")

    await asyncio.gather(runner.write(add, 1, 2), runner.write(add, 2, 1))


async def test_connections_that_were_closed_in_the_pool_are_replaced(
    runner: PostgresRunner, postgres_server: Postgres
) -> None:
    await asyncio.gather(*[numbers(runner) for _ in range(POOL_SIZE)])
    kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'partwise'"
    killed = await asyncio.to_thread(postgres_server.execute, kill)
    assert killed >= 1
    await runner.write(execute, "INSERT INTO numbers VALUES (1)")
    assert await numbers(runner) == 1


async def test_more_callers_than_connections_take_turns(runner: PostgresRunner) -> None:
    calls = [runner.write(execute, f"INSERT INTO numbers VALUES ({index})") for index in range(5 * POOL_SIZE)]
    await asyncio.gather(*calls)
    assert await numbers(runner) == 5 * POOL_SIZE


def test_a_database_that_is_gone_is_a_failing_storage() -> None:
    async def work(url: str, server: Postgres) -> None:
        runner = PostgresRunner(parse_url(url))
        await runner.start()
        os.kill(server.pid, signal.SIGQUIT)
        while True:
            try:
                await runner.write(execute, "SELECT 1")
            except StorageFailed:
                break
        with pytest.raises(StorageFailed):
            await runner.read(execute, "SELECT 1")
        await runner.stop()

    with postgres(service_folder("pg-")) as server:
        asyncio.run(work(server.url("postgres"), server))


def test_migrations_make_what_the_tables_say(postgres_server: Postgres, postgres_url: str) -> None:
    # The index of names, which SQLite has in tables of its own; a test of searches shows that it is used.
    options = {"include_name": lambda name, *_: name != "ix_artifact_links_trigrams"}

    async def differences() -> object:
        runner = PostgresRunner(parse_url(postgres_url))
        await runner.start()
        try:
            return await runner.read(
                lambda connection: compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
            )
        finally:
            await runner.stop()

    assert asyncio.run(differences()) == []


def test_several_starts_at_once_migrate_once(postgres_server: Postgres) -> None:
    name = postgres_server.create()
    processes.migrate_at_once(postgres_server.url(name))
    assert postgres_server.execute("SELECT count(*) FROM alembic_version", name) == 1


def test_a_newer_catalog_is_left_alone(postgres_server: Postgres, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres_server.execute("UPDATE alembic_version SET version_num = '9999'", name)
    with pytest.raises(CatalogTooNew, match="9999"):
        migrate(postgres_url)


def test_a_migration_that_fails_leaves_no_trace(postgres_server: Postgres) -> None:
    name = postgres_server.create()
    postgres_server.execute("CREATE TABLE meta (something INTEGER)", name)  # in the way of the last table
    with pytest.raises(Exception, match="meta"):
        migrate(postgres_server.url(name))
    tables = "SELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'public'"
    assert postgres_server.execute(tables, name) == "meta"


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(StorageFailed):
        migrate("postgresql://postgres@127.0.0.1:1/partwise")


@pytest.mark.parametrize(
    "url", ["postgresql://host", "postgresql+psycopg2://host/partwise", "mysql://host/partwise", "no url"]
)
def test_urls_that_are_no_catalogs(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        open_catalog(url)


def test_the_option_of_other_clients_is_understood() -> None:
    assert parse_url("postgresql://host/partwise?sslmode=require").query == {"ssl": "require"}
