"""The versions of the schema that this code knows, told by the names of its migrations: Alembic need not be loaded."""

from __future__ import annotations

from functools import cache
from pathlib import Path

#: The folder of migrations.
MIGRATIONS = Path(__file__).parent / "migrations"


@cache
def newest_version() -> str:
    """Return the newest revision that this code knows, such as ``0011``."""
    newest = max(path.name for path in (MIGRATIONS / "versions").glob("r*.py"))
    return newest[1:5]
