"""Each catalog that the contract is for: a new empty one for each test, and a way for other processes to open it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from partwise.catalog import SqlCatalog, open_catalog
from tests.support.records import new_records


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.engines)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return new_records(tmp_path / "catalog.db")


@pytest.fixture
async def catalog(url: str) -> AsyncIterator[SqlCatalog]:
    opened = open_catalog(url)
    await opened.start()
    yield opened
    await opened.stop()
