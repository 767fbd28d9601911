"""Prepared statements give what SQLAlchemy would, and look-ups by key need no thread."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url

from partwise.catalog import chunks, migrate
from partwise.catalog import uploads as queries
from partwise.catalog.prepared import PreparedQuery
from partwise.catalog.sqlite import SqliteRunner, raw
from partwise.core.errors import NotFound
from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk, Upload
from partwise.core.state import UploadState

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
#: No field has its default, so that none can be left out unseen.
FULL = Upload(
    id="00000000-0000-0000-0000-000000000001",
    owner="ålice",
    size=2**62,
    created=NOW,
    updated=NOW,
    state=UploadState.COMMITTING,
    epoch=2,
    seq=3,
    durable_seq=1,
    received=4,
    chunk_count=5,
    hashed=6,
    digest="d",
    declared_sha256="e",
    expected_sha256="f",
    filename="naïve.iso",
    media_type="text/plain",
    completed=NOW,
    artifact_id="a",
    sha256="b",
    auto_commit=True,
    parts=("p", "q"),
    reserved=7,
    internal=True,
    part=True,
    metadata={"key": "välue"},
    largest=8,
    notes={"tus": "note"},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    migrate(f"sqlite:///{tmp_path / 'catalog.db'}")
    return tmp_path / "catalog.db"


@pytest.fixture
async def runner(path: Path) -> AsyncIterator[SqliteRunner]:
    runner = SqliteRunner(make_url(f"sqlite:///{path}"))
    await runner.start()
    yield runner
    await runner.stop()


def by_sqlalchemy(connection: Connection, query: PreparedQuery[Upload], upload_id: str) -> Upload:
    return Upload(**connection.execute(query.statement, {"id": upload_id}).one()._mapping)


async def test_every_field_of_a_record_comes_back(runner: SqliteRunner) -> None:
    await runner.write(queries.insert_upload, FULL)
    assert await runner.look_up(queries.get_upload, FULL.id) == FULL
    assert await runner.read(by_sqlalchemy, queries._GET, FULL.id) == FULL


async def test_every_field_is_changed(runner: SqliteRunner) -> None:
    plain = Upload(id=FULL.id, owner="bob", size=None, created=NOW, updated=NOW)
    await runner.write(queries.insert_upload, plain)
    changes = {field.name: getattr(FULL, field.name) for field in fields(Upload) if field.name != "id"}
    assert await runner.write(lambda connection: queries.change_upload(connection, plain, **changes)) == FULL
    assert await runner.read(by_sqlalchemy, queries._GET, FULL.id) == FULL


async def test_a_look_up_needs_no_thread_and_leaves_no_snapshot(
    runner: SqliteRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = replace(FULL, state=UploadState.OPEN)
    await runner.write(queries.insert_upload, opened)
    first, second = (Chunk(offset=offset, size=10, sha256="c", verified=True) for offset in (0, 20))
    recorded = [await runner.write(chunks.record_chunk, FULL.id, one, now=NOW, max_chunks=9) for one in (first, second)]
    no_threads = ThreadPoolExecutor(1)
    no_threads.shutdown()
    monkeypatch.setattr(runner, "_readers", no_threads)
    with pytest.raises(NotFound):
        await runner.look_up(queries.get_upload, "none")
    upload, found, count = await runner.look_up(chunks.find_chunks, FULL.id, ByteRange(5, 20))
    assert (upload.filename, found, count) == ("naïve.iso", recorded, 2)
    assert (await runner.look_up(chunks.find_chunks, FULL.id, ByteRange(5, 20), 1))[1:] == (recorded[:1], 2)
    await runner.write(queries.set_name, FULL.id, "other", None, NOW)
    assert (await runner.look_up(queries.get_upload, FULL.id)).filename == "other"


async def test_a_look_up_does_not_wait_for_who_writes(runner: SqliteRunner, path: Path) -> None:
    await runner.write(queries.insert_upload, FULL)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await runner.look_up(queries.get_upload, FULL.id) == FULL


async def test_what_cannot_be_looked_up_at_once_waits_on_a_thread(runner: SqliteRunner) -> None:
    """While another process repairs the log after a crash, say."""
    await runner.write(queries.insert_upload, FULL)
    assert runner._looking is not None
    raw(runner._looking).close()  # each call on it raises sqlite3.ProgrammingError from now on
    assert await runner.look_up(queries.get_upload, FULL.id) == FULL
