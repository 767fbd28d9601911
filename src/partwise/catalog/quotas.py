"""Quotas of users who have another than the default."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, insert, select

from partwise.catalog import counts
from partwise.catalog.tables import quotas

_QUOTA = select(quotas.c.bytes).where(quotas.c.owner == bindparam("owner"))


def owner_quota(connection: Connection, owner: str, default: int | None) -> int | None:
    """Return the owner's quota in bytes; ``default`` for those who have none of their own. None: no limit."""
    row = connection.execute(_QUOTA, {"owner": owner}).one_or_none()
    return default if row is None else row.bytes


def set_quota(connection: Connection, owner: str, quota: int | None) -> None:
    """Give the owner a quota of their own."""
    forget_quota(connection, owner)
    connection.execute(insert(quotas), {"owner": owner, "bytes": quota})


def forget_quota(connection: Connection, owner: str) -> None:
    """Let the default count for the owner again."""
    connection.execute(delete(quotas).where(quotas.c.owner == owner))


def list_owners(connection: Connection) -> list[str]:
    """Return who has, or had, any upload or artifact, and who has a quota of their own; by name."""
    found = set(connection.execute(select(quotas.c.owner)).scalars())
    return sorted(found | set(counts.owners(connection)))
