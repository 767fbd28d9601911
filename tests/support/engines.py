"""Engines on data folders of their own, made quickly: for tests that need hundreds of them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from partwise.catalog import migrate, open_catalog
from partwise.engine.context import Engine
from partwise.engine.ports import Storage
from partwise.storage.local import LocalStorage
from tests.support.folders import make_data_folder

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


def fast_folder() -> str | None:
    """Where temporary folders are in memory, if this machine has such a place: a sync costs nothing there."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@cache
def _empty_catalog() -> bytes:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        path = Path(folder) / CATALOG
        migrate(f"sqlite:///{path}")
        return path.read_bytes()


def new_data_folder(data: Path) -> Path:
    """Make ``data`` as a first start leaves it, with the catalog in it; copying one is quicker than migrating."""
    make_data_folder(data)
    (data / CATALOG).write_bytes(_empty_catalog())
    (data / CATALOG).chmod(0o600)
    return data


def clear(data: Path) -> None:
    """Remove what ``new_data_folder`` made, and what became of it."""
    shutil.rmtree(data)


def open_engine(
    data: Path,
    *,
    storage: Storage | None = None,
    failpoint: Callable[[str], None] | None = None,
    **settings: Any,
) -> Engine:
    """An engine, to be started, on the data folder; ``settings`` as in Engine. Storage: local files by default."""
    if failpoint is not None:
        settings["failpoint"] = failpoint
        storage = storage or LocalStorage(data, failpoint=failpoint)
    return Engine(storage or LocalStorage(data), open_catalog(f"sqlite:///{data / CATALOG}"), **settings)
