"""Records as this version of partwise and older ones make them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from partwise.catalog import migrate, migrations
from tests.support.folders import fast_folder

_MIGRATIONS = Path(migrations.__file__).parent


def new_records(path: Path) -> str:
    """New records in the SQLite file ``path``, of the newest schema; their URL. A copy is made sooner than tables."""
    path.touch(0o600)
    path.write_bytes(_records())
    return f"sqlite:///{path}"


@cache
def _records() -> bytes:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        path = Path(folder) / "records"
        migrate(f"sqlite:///{path}")
        return path.read_bytes()


def migrate_to(path: Path, revision: str) -> None:
    """New records in the SQLite file ``path``, of the schema ``revision``."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        command.upgrade(config, revision)
    engine.dispose()
