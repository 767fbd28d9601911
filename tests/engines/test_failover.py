"""PostgreSQL fails over: read-only, moved to another server behind the same address, full of connections, restarted.

Clients get 503 with Retry-After, never 500. Readiness says so too. All goes on once some primary takes writes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from partwise.catalog import migrate
from tests.engines.postgres import Postgres, postgres
from tests.support.folders import service_folder
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess
from tests.support.until import wait_until

pytestmark = [pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(300)]

DATA = os.urandom(70_001)


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    with postgres(service_folder("pg-"), max_connections="20", synchronous_commit="on") as server:
        yield server


@contextmanager
def served(tmp_path: Path, catalog: str) -> Iterator[Http]:
    migrate(catalog)
    with ServerProcess(tmp_path / "data", catalog=catalog, log=tmp_path / "log") as server, Http(server.port) as http:
        yield http


def set_read_only(server: Postgres, value: str) -> None:
    """For all sessions, those that are open included: a demoted primary, or a full disk's last resort."""
    server.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    server.execute("SELECT pg_reload_conf()")


def expect_unavailable(http: Http, href: str) -> None:
    """Everything that writes is refused as something that passes, on each of several pooled connections."""
    for _ in range(5):
        for method, path, body in (("POST", f"{API}uploads/", {"size": 1}), ("DELETE", href, None)):
            answer = http(method, path, body)
            assert answer.problem == (503, "storage-failed"), answer.body
            assert int(answer.headers["Retry-After"]) > 0
        answer = http.put(href, 60_000, DATA[60_000:], len(DATA))
        assert answer.problem == (503, "storage-failed"), answer.body
        assert http("GET", "/readyz").status == 503
        assert http("GET", href).status == 200, "reads go on"


def finish(http: Http, href: str) -> None:
    """Send the rest: nothing that was acknowledged is lost."""
    assert http.put(href, 50_000, DATA[50_000:], len(DATA)).status == 200
    answer = http.commit(href, DATA)
    assert answer.status == 200, answer.body
    assert http("GET", f"{answer.json['artifact']}download/").body == DATA


def begin(http: Http) -> str:
    href = http.create(len(DATA))
    assert http.put(href, 0, DATA[:50_000], len(DATA)).status == 200
    assert http("GET", "/readyz").status == 200
    return href


def test_a_read_only_database_is_unavailable_until_it_takes_writes(tmp_path: Path, primary: Postgres) -> None:
    with served(tmp_path, primary.url(primary.create())) as http:
        href = begin(http)
        set_read_only(primary, "on")
        try:
            wait_until(lambda: http("GET", "/readyz").status == 503, "the server notices")
            expect_unavailable(http, href)
        finally:
            # ALTER SYSTEM itself is allowed in a read-only transaction.
            set_read_only(primary, "off")
        wait_until(lambda: http("GET", "/readyz").status == 200, "the server notices")
        finish(http, href)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_sessions_of_the_former_primary_are_dropped(tmp_path: Path, primary: Postgres) -> None:
    """The address leads to another server now; the former one goes on answering, read-only."""
    database = primary.create()
    with Proxy(primary.port) as address, postgres(service_folder("pg-")) as promoted:
        with served(tmp_path, primary.url(database).replace(f":{primary.port}/", f":{address.port}/")) as http:
            href = begin(http)
            set_read_only(primary, "on")
            try:
                wait_until(lambda: http("GET", "/readyz").status == 503, "the server notices")
                expect_unavailable(http, href)
                copy_databases(primary, promoted)
                address.target = promoted.port
                # The first write finds out, and goes on with a new session.
                answer = http("POST", f"{API}uploads/", {"size": 1})
                assert answer.status == 201, answer.body
                assert http("GET", "/readyz").status == 200
                finish(http, href)
            finally:
                set_read_only(primary, "off")
        count = "SELECT count(*) FROM artifacts"
        assert (primary.execute(count, database), promoted.execute(count, database)) == (0, 1)


def copy_databases(source: Postgres, target: Postgres) -> None:
    """Bring ``target`` to the state of ``source``, which is read-only, as its standby would have been."""
    source.execute("SELECT 1")
    target.stop()
    data = target.folder / "data"
    owner = data.stat()
    shutil.rmtree(data)
    source.stop()
    try:
        shutil.copytree(source.folder / "data", data)
        for path in [data, *data.rglob("*")]:
            os.chown(path, owner.st_uid, owner.st_gid)
        data.chmod(0o700)
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write("default_transaction_read_only = off\n")
        (data / "postmaster.pid").unlink(missing_ok=True)
    finally:
        source.start()
        target.start()


def test_no_free_connection_is_unavailable(tmp_path: Path, primary: Postgres) -> None:
    url = primary.url(primary.create())
    kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'partwise'"
    with served(tmp_path, url) as http, asyncio.Runner() as loop:
        href = begin(http)
        others: list[asyncpg.Connection] = []
        try:
            wait_until(lambda: loop.run(fill(others, url)), "all places are taken")

            def unavailable() -> bool:
                """The server's sessions have ended, and others have taken their places before it could."""
                loop.run(others[0].fetchval(kill))
                wait_until(lambda: loop.run(fill(others, url)), "the places of the server's sessions are taken")
                answer = http("POST", f"{API}uploads/", {"size": 1})
                assert answer.status == 201 or answer.problem == (503, "storage-failed"), answer.body
                return answer.status == 503 and http("GET", "/readyz").status == 503

            wait_until(unavailable, "there is no connection left for the server")
        finally:
            for connection in others:
                loop.run(connection.close())
        wait_until(lambda: http("GET", "/readyz").status == 200, "the server notices")
        finish(http, href)


async def fill(others: list[asyncpg.Connection], url: str) -> bool:
    """Take one more connection. Returns whether there was none."""
    try:
        others.append(await asyncpg.connect(url))
    except asyncpg.TooManyConnectionsError:
        return True
    return False


def test_a_restart_and_ended_sessions_cost_nothing(tmp_path: Path, primary: Postgres) -> None:
    with served(tmp_path, primary.url(primary.create())) as http:
        href = begin(http)
        kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'partwise'"
        assert primary.execute(kill) > 0
        assert http("POST", f"{API}uploads/", {"size": 1}).status == 201
        primary.stop()
        assert http("POST", f"{API}uploads/", {"size": 1}).problem == (503, "storage-failed")
        assert http("GET", "/readyz").status == 503
        primary.start()
        finish(http, href)


def test_an_empty_database_behind_the_address_is_unavailable(tmp_path: Path, primary: Postgres) -> None:
    """Of a replica that has not caught up, or a wrong address, a client can only be told: later."""
    database, empty = primary.create(), primary.create()
    with served(tmp_path, primary.url(database)) as http:
        href = begin(http)
        primary.execute(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'")
        swap(primary, database, empty)
        try:
            assert http("POST", f"{API}uploads/", {"size": 1}).problem == (503, "storage-failed")
            assert http("GET", href).problem == (503, "storage-failed")
        finally:
            swap(primary, database, empty)
        finish(http, href)


def swap(server: Postgres, one: str, other: str) -> None:
    """Exchange the names of two databases."""
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'partwise'"
    for before, after in ((one, "aside"), (other, one), ("aside", other)):
        while True:
            server.execute(end)
            try:
                server.execute(f"ALTER DATABASE {before} RENAME TO {after}")
                break
            except asyncpg.ObjectInUseError:
                continue
