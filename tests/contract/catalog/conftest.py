"""Each catalog that the contract is for: a new empty one for each test, and a way for other processes to open it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from partwise.catalog import SqlCatalog, migrate, open_catalog


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'catalog.db'}"


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    made = {"sqlite": sqlite_url}[request.param](tmp_path)
    migrate(made)
    return made


@pytest.fixture
async def catalog(url: str) -> AsyncIterator[SqlCatalog]:
    opened = open_catalog(url)
    await opened.start()
    yield opened
    await opened.stop()
