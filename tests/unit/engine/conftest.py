from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from partwise.catalog import migrate, open_catalog
from partwise.core.records import Principal
from partwise.engine.context import Engine
from partwise.engine.ports import Storage
from partwise.storage.local import LocalStorage
from partwise.storage.memory import MemoryStorage

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


@pytest.fixture(params=["memory", "local"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else LocalStorage(tmp_path / "data")


@pytest.fixture
async def engine(storage: Storage, tmp_path: Path, clock: Clock) -> AsyncIterator[Engine]:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    migrate(url)
    engine = Engine(storage, open_catalog(url), clock=clock)
    await engine.start()
    yield engine
    await engine.stop()
