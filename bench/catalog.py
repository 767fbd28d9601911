"""The metadata database with a million artifacts: health, metrics, pages, and an idle server.

Run as ``python -m bench.catalog [ARTIFACTS] [sqlite|postgres]``. The rows are made by SQL in the schema of an older
version and then migrated, which is timed too. What is printed of each request is the median, the best and the worst
time, and the server's processor time, which does not depend on what else the machine does.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from bench.procfs import cpu_seconds
from bench.servers import Partwise, partwise
from partwise.catalog import migrate, migrations
from partwise.catalog.postgres import make_engine
from partwise.catalog.schema import parse_url
from partwise.protocols.pulp.requests import end_of
from tests.engines.postgres import postgres

OLD_SCHEMA = "0011"
OPEN, CHUNKS = 10_000, 50_000
REQUESTS = 30
IDLE_SECONDS = 20
API = "/pulp/api/v3/"
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_BEGIN_MICROSECONDS = int(_BEGIN.timestamp()) * 1_000_000

# Both databases understand these. Numbers become ids and digests by zeros before them.
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
_ID = "substr('" + "0" * 36 + "' || i, length('' || i) + 1)"
_SHA256 = "substr('" + "0" * 64 + "' || i, length('' || i) + 1)"
_OWNER, _NAME = "'user' || (i % 100)", "'disk-' || i || '.iso'"
_CREATED = f"{_BEGIN_MICROSECONDS} + CAST(i AS BIGINT) * 1000000"
_UPLOADS = (
    "INSERT INTO uploads (id, owner, size, created, updated, state, epoch, seq, durable_seq, received, chunk_count, "
    "hashed, filename, completed, artifact_id, sha256, notes, search_name)"
)
_ROWS = (
    f"INSERT INTO artifacts (sha256, size, created) {_NUMBERS} SELECT {_SHA256}, 1000 + i, {_CREATED} FROM n",
    "INSERT INTO artifact_links (id, owner, sha256, size, created, filename, search_name) "
    f"{_NUMBERS} SELECT {_ID}, {_OWNER}, {_SHA256}, 1000 + i, {_CREATED}, {_NAME}, {_NAME} FROM n",
    f"{_UPLOADS} {_NUMBERS} SELECT {_ID}, {_OWNER}, 1000 + i, {_CREATED}, {_CREATED}, 'completed', 0, 1, 1, 1000 + i, "
    f"1, 1000 + i, {_NAME}, {_CREATED}, {_ID}, {_SHA256}, '{{{{}}}}', {_NAME} FROM n",
    "INSERT INTO tasks (id, owner, upload_id, created, state, finished, artifact_id) "
    f"{_NUMBERS} SELECT {_ID}, {_OWNER}, {_ID}, {_CREATED}, 'completed', {_CREATED}, {_ID} FROM n",
)
# Their ids are such as a server makes: of others it takes no staging file for an upload's.
_OPEN_ROWS = (
    f"{_UPLOADS} {_NUMBERS} SELECT 'a-' || i, {_OWNER}, 100000, {_CREATED}, {{now}}, 'open', 0, 1, 1, 1000, 1, "
    f"1000, {_NAME}, NULL, NULL, NULL, '{{{{}}}}', {_NAME} FROM n"
)
_CHUNK_ROWS = (
    'INSERT INTO chunks (upload_id, "offset", size, verified, seq) '
    f"{_NUMBERS} SELECT 'a-0', i * 2, 1, {{no}}, i + 1 FROM n"
)


def main() -> None:
    """Measure, and print a table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for kind in sys.argv[2:] or ("sqlite", "postgres"):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            url = f"sqlite:///{folder / 'catalog.sqlite3'}"
            if kind == "postgres":
                database = stack.enter_context(postgres(Path(tempfile.mkdtemp(prefix="pg-"))))
                url = database.url(database.create())
            _timed("rows made", lambda url=url: _fill(url, count))  # type: ignore[misc]
            _timed("migrated", lambda url=url: migrate(url))  # type: ignore[misc]
            _in_database(url, lambda connection: connection.execute(text("ANALYZE")))
            print(f"{kind}, {count:,} artifacts, {OPEN:,} open uploads; load {os.getloadavg()[0]:.1f}", flush=True)
            staging = folder / "data" / "staging"
            staging.mkdir(parents=True)
            for number in range(OPEN):
                with (staging / f"a-{number}").open("wb") as file:
                    file.truncate(100_000)
            started = time.perf_counter()
            with partwise(folder / "data", catalog=url) as server:
                print(f"started: {time.perf_counter() - started:.1f} s", flush=True)
                _measure(server, count)


def _fill(url: str, count: int) -> None:
    def fill(connection: Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        command.upgrade(config, OLD_SCHEMA)
        for statement in _ROWS:
            connection.execute(text(statement.format(last=count - 1)))
        now = int(time.time()) * 1_000_000
        connection.execute(text(_OPEN_ROWS.format(last=OPEN - 1, now=now)))
        no = "0" if connection.dialect.name == "sqlite" else "false"
        connection.execute(text(_CHUNK_ROWS.format(last=CHUNKS - 1, no=no)))

    _in_database(url, fill)


def _in_database(url: str, work: Callable[[Connection], object]) -> None:
    parsed = parse_url(url)
    if parsed.drivername == "sqlite":
        engine = create_engine(parsed)
        with engine.begin() as connection:
            work(connection)
        engine.dispose()
        return

    async def run() -> None:
        made = make_engine(parsed, pooled=False)
        async with made.begin() as connection:
            await connection.run_sync(work)

    asyncio.run(run())


def _measure(server: Partwise, count: int) -> None:
    middle = end_of(count // 2, (_BEGIN + timedelta(seconds=count // 2), f"{count // 2:036}"))
    pages = {
        "first page": "limit=100",
        "page in the middle, behind a key": f"limit=100&offset={count // 2}&after={middle}",
        "page in the middle, by offset": f"limit=100&offset={count // 2}",
    }
    paths = {"health": "/readyz", "metrics": "/metrics"}
    for name in ("uploads", "artifacts", "tasks"):
        paths |= {f"{name}: {page}": f"{API}{name}/?{query}" for page, query in pages.items()}
    paths |= {
        "uploads: open": f"{API}uploads/?limit=100&state=open",
        "tasks: failed": f"{API}tasks/?limit=100&state=failed",
        "artifacts: by name": f"{API}artifacts/?filename=disk-77.iso",
        "artifacts: search, one found": f"{API}artifacts/?search=disk-77.iso",
        "what 50,000 chunks leave missing": f"{API}uploads/a-0/?fields=missing,missing_count",
    }
    with _connected(server.port) as connection:
        for name, path in paths.items():
            _row(server, name, lambda path=path: _request(connection, path))  # type: ignore[misc]
        made = json.dumps({"size": 10}).encode()
        _row(server, "create", lambda: _request(connection, f"{API}uploads/", "POST", made))
    time.sleep(15)
    before = cpu_seconds(server.pids)
    time.sleep(IDLE_SECONDS)
    print(f"{'idle':<45} {(cpu_seconds(server.pids) - before) / IDLE_SECONDS:8.2%} of a core", flush=True)


def _row(server: Partwise, name: str, request: Callable[[], float]) -> None:
    """Print the median, the best and the worst time of a request, and its processor time in the server."""
    request()
    before = cpu_seconds(server.pids)
    times = [request() for _ in range(REQUESTS)]
    processor = (cpu_seconds(server.pids) - before) / REQUESTS
    figures = statistics.median(times), min(times), max(times), processor
    print(f"{name:<45}" + "".join(f"{figure * 1000:8.1f}" for figure in figures) + "  ms", flush=True)


@contextmanager
def _connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        yield connection
    finally:
        connection.close()


def _request(connection: http.client.HTTPConnection, path: str, method: str = "GET", body: Any = None) -> float:
    started = time.perf_counter()
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status >= 300:
        raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
    return time.perf_counter() - started


def _timed(what: str, work: Callable[[], object]) -> None:
    started = time.perf_counter()
    work()
    print(f"{what}: {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
