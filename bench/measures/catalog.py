"""The metadata database with a million artifacts: health, metrics, pages, and an idle server.

The rows are made by SQL in the schema of an older version and then migrated, which is timed too.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from bench.harness import Bench, timed
from bench.procfs import cpu_seconds
from bench.report import Section, Table, at_most
from bench.servers import Partwise, partwise
from partwise.catalog import migrate, migrations
from partwise.catalog.postgres import make_engine
from partwise.catalog.schema import parse_url
from partwise.protocols.pulp.requests import end_of
from tests.engines.postgres import postgres

OLD_SCHEMA = "0011"
OPEN, CHUNKS = 10_000, 50_000
OWNERS = 100
#: Each page of these is to take 20 ms. The others are searches that no index helps.
LISTS = (
    "uploads: first",
    "uploads: page",
    "uploads: open",
    "artifacts: first",
    "artifacts: page",
    "artifacts: search, ",
    "artifacts: with",
    "tasks: ",
)
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


def run(bench: Bench) -> Section:
    """Measure on both databases, and compare with the targets."""
    count = bench.scale.artifacts
    few = min(OPEN, count)
    found = {kind: _measured(bench, kind, count, few) for kind in ("SQLite", "PostgreSQL")}
    section = Section(
        f"{count:,} artifacts",
        f"Metadata of {count:,} artifacts of {OWNERS} users, with as many completed uploads and tasks, and {few:,} "
        f"open uploads, one of which has {min(CHUNKS, count):,} chunks. Milliseconds of a request to one server "
        f"process: the median of {bench.scale.requests}, and the processor time of the server, which depends less on "
        "what else the machine does. Both databases share the machine with the server.",
    )
    head = ("", *(f"{kind}{what}" for kind in found for what in (": time", ": processor")))
    rows = [
        (name, *(cell for figures in found.values() for cell in _cells(figures.requests[name])))
        for name in found["SQLite"].requests
    ]
    section.tables.append(Table(head, rows))
    others = [(name, *(figures.others[name] for figures in found.values())) for name in found["SQLite"].others]
    section.tables.append(Table(("", *found), others))
    for kind, figures in found.items():
        of = f"{kind}, {count:,} artifacts"
        processor = {name: seconds * 1e3 for name, (_, seconds) in figures.requests.items()}
        slowest = max(seconds for name, seconds in processor.items() if name.startswith(LISTS))
        section.targets += [
            at_most(f"health, processor time, {of}", processor["health"], 5, "ms"),
            at_most(f"metrics, processor time, {of}", processor["metrics"], 20, "ms"),
            at_most(f"slowest page of a list that an index serves, processor time, {of}", slowest, 20, "ms"),
            at_most(f"idle, of a core, {of}", figures.idle * 100, 1.5, "%"),
        ]
    return section


@dataclass(slots=True)
class _Figures:
    #: Of each request, seconds and processor seconds.
    requests: dict[str, tuple[float, float]] = field(default_factory=dict)
    #: What else there is to tell, as text.
    others: dict[str, str] = field(default_factory=dict)
    #: Of a core.
    idle: float = 0.0


def _cells(figures: tuple[float, float]) -> tuple[str, str]:
    return f"{figures[0] * 1e3:.1f}", f"{figures[1] * 1e3:.1f}"


def _measured(bench: Bench, kind: str, count: int, few: int) -> _Figures:
    found = _Figures()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=bench.folder)))
        url = f"sqlite:///{folder / 'catalog.sqlite3'}"
        if kind == "PostgreSQL":
            # Not below the run's folder, which the database's own user may not enter.
            database = stack.enter_context(postgres(Path(tempfile.mkdtemp(prefix="pg-"))))
            url = database.url(database.create())
        bench.say(f"  {kind}: making rows")
        _fill(url, count, few)
        found.others["migration from schema 0011 (s)"] = f"{timed(lambda: migrate(url)):.1f}"
        # PostgreSQL does so by itself within minutes.
        _in_database(url, lambda connection: connection.execute(text("ANALYZE")))
        staging = folder / "data" / "staging"
        staging.mkdir(parents=True)
        for number in range(few):
            with (staging / f"a-{number}").open("wb") as file:
                file.truncate(100_000)
        started = time.perf_counter()
        with partwise(folder / "data", catalog=url) as server:
            found.others["start of the server (s)"] = f"{time.perf_counter() - started:.1f}"
            bench.say(f"  {kind}: requests")
            _measure(server, count, bench.scale.requests, found)
            time.sleep(bench.scale.idle_seconds)
            before = cpu_seconds(server.pids)
            time.sleep(bench.scale.idle_seconds)
            found.idle = (cpu_seconds(server.pids) - before) / bench.scale.idle_seconds
            found.others["idle, of a core"] = f"{found.idle:.2%}"
        found.others["load average of the machine at the end"] = f"{os.getloadavg()[0]:.1f}"
    return found


def _fill(url: str, count: int, few: int) -> None:
    def fill(connection: Connection) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(migrations.__file__).parent))
        command.upgrade(config, OLD_SCHEMA)
        for statement in _ROWS:
            connection.execute(text(statement.format(last=count - 1)))
        now = int(time.time()) * 1_000_000
        connection.execute(text(_OPEN_ROWS.format(last=few - 1, now=now)))
        no = "0" if connection.dialect.name == "sqlite" else "false"
        connection.execute(text(_CHUNK_ROWS.format(last=min(CHUNKS, count) - 1, no=no)))

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


def _measure(server: Partwise, count: int, requests: int, found: _Figures) -> None:
    middle = end_of(count // 2, (_BEGIN + timedelta(seconds=count // 2), f"{count // 2:036}"))
    pages = {
        "first page": "limit=100",
        "page in the middle": f"limit=100&offset={count // 2}&after={middle}",
        "page in the middle, by `offset`": f"limit=100&offset={count // 2}",
    }
    paths = {"health": "/readyz", "metrics": "/metrics"}
    for name in ("uploads", "artifacts", "tasks"):
        paths |= {f"{name}: {page}": f"{API}{name}/?{query}" for page, query in pages.items()}
    paths |= {
        "uploads: open": f"{API}uploads/?limit=100&state=open",
        "tasks: failed": f"{API}tasks/?limit=100&state=failed",
        "artifacts: with a name": f"{API}artifacts/?filename=disk-77.iso",
        "artifacts: search, one found": f"{API}artifacts/?search=disk-77.iso",
        "artifacts: search, all found": f"{API}artifacts/?search=DISK",
        "artifacts: search, none found": f"{API}artifacts/?search=no-such-name",
        "artifacts: search for two characters, none found": f"{API}artifacts/?search=zq",
        "uploads: search, one found": f"{API}uploads/?search=disk-77.iso",
        "what many chunks leave missing": f"{API}uploads/a-0/?fields=missing,missing_count",
    }
    with _connected(server.port) as connection:
        for name, path in paths.items():
            found.requests[name] = _times(server, requests, lambda path=path: _request(connection, path))  # type: ignore[misc]
        made = json.dumps({"size": 10}).encode()
        found.requests["create an upload"] = _times(
            server, requests, lambda: _request(connection, f"{API}uploads/", "POST", made)
        )


def _times(server: Partwise, count: int, request: Callable[[], float]) -> tuple[float, float]:
    """Return the median time of a request, and its processor time in the server."""
    request()
    before = cpu_seconds(server.pids)
    times = [request() for _ in range(count)]
    return statistics.median(times), (cpu_seconds(server.pids) - before) / count


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
