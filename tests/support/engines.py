"""Engines on data folders of their own, made quickly: for tests that need hundreds of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from partwise.catalog import SqlCatalog, open_catalog
from partwise.catalog.postgres import PostgresCatalog
from partwise.engine.context import no_failpoint
from partwise.engine.engine import Engine
from partwise.engine.ports import Storage
from partwise.storage.files import SystemCalls
from partwise.storage.local import LocalStorage
from partwise.storage.objects.origins import LEAST_PART
from partwise.storage.objects.storage import ObjectStorage
from partwise.storage.s3.store import open_url
from tests.support.folders import make_data_folder
from tests.support.records import new_records

CATALOG = "catalog.sqlite3"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        """Move it on; ``by`` as in timedelta."""
        self.now += timedelta(**by)


def new_data_folder(data: Path) -> Path:
    """Make ``data`` as a first start leaves it, with the catalog in it; copying one is quicker than migrating."""
    make_data_folder(data)
    new_records(data / CATALOG)
    return data


def open_engine(
    data: Path,
    *,
    storage: Storage | None = None,
    failpoint: Callable[[str], None] = no_failpoint,
    calls: SystemCalls | None = None,
    boot: str = "boot 1",
    **settings: Any,
) -> Engine:
    """An engine, to be started, on the data folder; ``settings`` as in Engine. Storage: local files by default, on a
    machine that has the ``boot`` behind it."""
    storage = storage or LocalStorage(data, failpoint=failpoint, calls=calls, boot=boot)
    return Engine(storage, catalog_of(data), failpoint=failpoint, **settings)


def catalog_of(data: Path) -> SqlCatalog:
    """The catalog in a data folder, to be started."""
    return open_catalog(f"sqlite:///{data / CATALOG}")


def open_objects(
    urls: Mapping[str, str],
    *,
    failpoint: Callable[[str], None] = no_failpoint,
    later: timedelta = timedelta(0),
    copy_least: int = LEAST_PART,
    **settings: Any,
) -> tuple[Engine, ObjectStorage, PostgresCatalog]:
    """An engine, to be started, on a ``catalog`` in PostgreSQL and a ``storage`` of objects; and what it has of them.

    It keeps no house by itself, and at a time that is so much ``later``.
    """
    catalog = open_catalog(urls["catalog"])
    assert isinstance(catalog, PostgresCatalog)
    storage = ObjectStorage(
        open_url(urls["storage"]),
        catalog,
        pause=1e9,
        copy_least=copy_least,
        failpoint=failpoint,
        clock=lambda: datetime.now(UTC) + later,
    )
    return Engine(storage, catalog, failpoint=failpoint, **settings), storage, catalog
