from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from partwise.catalog import SqlCatalog, open_catalog
from partwise.catalog.postgres import PostgresCatalog
from partwise.core.records import Principal
from partwise.engine.engine import Engine
from partwise.engine.ports import Storage
from partwise.storage.local import LocalStorage
from partwise.storage.objects.storage import ObjectStorage
from partwise.storage.s3.store import open_url
from partwise.testing.memory import MemoryStorage
from tests.support.folders import make_data_folder
from tests.support.records import new_records

ALICE, BOB, ADMIN = Principal("alice"), Principal("bob"), Principal("root", admin=True)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "local", pytest.param("objects", marks=pytest.mark.engines)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def catalog(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> SqlCatalog:
    if kind == "objects":
        return open_catalog(request.getfixturevalue("postgres_url"))
    url = new_records(tmp_path / "catalog.db")
    return open_catalog(url)


@pytest.fixture
def storage(kind: str, catalog: SqlCatalog, tmp_path: Path, request: pytest.FixtureRequest) -> Storage:
    if kind == "objects":
        assert isinstance(catalog, PostgresCatalog)
        # Small objects are copied by the store, too, as large ones are elsewhere.
        return ObjectStorage(open_url(request.getfixturevalue("s3_url")), catalog, copy_least=1)
    return MemoryStorage() if kind == "memory" else LocalStorage(make_data_folder(tmp_path / "data"))


@pytest.fixture
async def engine(storage: Storage, catalog: SqlCatalog, clock: Clock) -> AsyncIterator[Engine]:
    engine = Engine(storage, catalog, clock=clock)
    await engine.start()
    yield engine
    await engine.stop()
