"""Metadata database: SQL tables, queries and migrations that implement the catalog port.

``tables.py`` is the schema; ``uploads.py``, ``chunks.py``, ``commits.py``, ``artifacts.py``, ``tasks.py`` and
``tokens.py`` are the transactions, plain functions of a connection; ``sqlite.py`` and ``postgres.py`` run them;
``catalog.py`` puts them behind the port; ``schema.py`` and ``migrations/`` bring a database up to date.
"""

from partwise.catalog.catalog import SqlCatalog
from partwise.catalog.schema import CatalogMissing, CatalogTooNew, migrate, parse_url, pending_migrations
from partwise.catalog.sqlite import SqliteRunner

__all__ = ["CatalogMissing", "CatalogTooNew", "SqlCatalog", "migrate", "open_catalog", "pending_migrations"]


def open_catalog(url: str) -> SqlCatalog:
    """The catalog at ``url`` (see ``schema.parse_url``; ValueError), to be started. ``migrate`` it first."""
    parsed = parse_url(url)
    if parsed.drivername == "postgresql":
        from partwise.catalog.postgres import PostgresCatalog  # its driver is an optional part of the installation

        return PostgresCatalog(parsed)
    return SqlCatalog(SqliteRunner(parsed))
