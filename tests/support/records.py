"""Records as older versions of partwise made them."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from partwise.catalog import migrations

_MIGRATIONS = Path(migrations.__file__).parent


def migrate_to(path: Path, revision: str) -> None:
    """New records in the SQLite file ``path``, of the schema ``revision``."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        command.upgrade(config, revision)
    engine.dispose()
