"""Counts of rows and sums of sizes that triggers maintain: looked up, whatever there is to count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select, update

from partwise.catalog.tables import counts

_MIB = 1 << 20
#: Parts that are added up in one transaction.
_FOLDED_AT_ONCE = 2000

_SUMS = (func.sum(counts.c.count), func.sum(counts.c.high), func.sum(counts.c.low))
_GET = (
    select(counts.c.state, *_SUMS)
    .where(counts.c.kind == bindparam("kind"), counts.c.owner == bindparam("owner"))
    .group_by(counts.c.state)
)
_KEY = (counts.c.kind, counts.c.owner, counts.c.state)
_UNFOLDED = (
    select(*_KEY, counts.c.part, counts.c.count, counts.c.high, counts.c.low)
    .where(counts.c.part != 0)
    .limit(_FOLDED_AT_ONCE)
    .with_for_update(skip_locked=True)
)


@dataclass(frozen=True, slots=True)
class Counted:
    """A number of rows, and the sum of their sizes in bytes."""

    count: int = 0
    size: int = 0


def by_state(connection: Connection, kind: str, owner: str | None) -> dict[str, Counted]:
    """Return the rows of ``kind`` (upload, link, artifact or task) in each state; without states: under ``""``.

    ``owner`` None: those of all owners.
    """
    of = {"kind": f"{kind}s", "owner": ""} if owner is None else {"kind": kind, "owner": owner}
    rows = connection.execute(_GET, of)
    return {state: Counted(int(count), int(high) * _MIB + int(low)) for state, count, high, low in rows}


def count(connection: Connection, kind: str, owner: str | None, states: Sequence[str] = ()) -> int:
    """Return the number of rows of ``kind`` in one of ``states`` (empty: any); see ``by_state``."""
    found = by_state(connection, kind, owner)
    return sum(counted.count for state, counted in found.items() if not states or state in states)


def owners_of_more(connection: Connection, kind: str, state: str, number: int) -> list[str]:
    """Return the owners of more than ``number`` rows of ``kind`` in ``state``."""
    of = (counts.c.kind == kind, counts.c.state == str(state))
    many = select(counts.c.owner).where(*of).group_by(counts.c.owner).having(func.sum(counts.c.count) > number)
    return list(connection.execute(many).scalars())


def owners(connection: Connection) -> list[str]:
    """Return the owners of uploads and artifacts."""
    of = select(counts.c.owner).where(counts.c.kind.in_(("upload", "link"))).distinct()
    return list(connection.execute(of).scalars())


def fold_counts(connection: Connection) -> int:
    """Add up counts that transactions left in rows of their own (PostgreSQL); how many. Safe in several processes."""
    parts = connection.execute(_UNFOLDED).all()
    sums: dict[tuple[str, str, str], list[int]] = {}
    for part in parts:
        total = sums.setdefault((part.kind, part.owner, part.state), [0, 0, 0])
        for index, value in enumerate((part.count, part.high, part.low)):
            total[index] += value
    # In one order in all processes, so that none waits for one that waits for it.
    for (kind, owner, state), (number, high, low) in sorted(sums.items()):
        key = and_(counts.c.kind == kind, counts.c.owner == owner, counts.c.state == state, counts.c.part == 0)
        added = {"count": counts.c.count + number, "high": counts.c.high + high, "low": counts.c.low + low}
        if connection.execute(update(counts).where(key).values(**added)).rowcount == 0:
            row = {"kind": kind, "owner": owner, "state": state, "part": 0, "count": number, "high": high, "low": low}
            connection.execute(insert(counts), row)
    for first in range(0, len(parts), 100):
        these = [
            and_(*(column == value for column, value in zip((*_KEY, counts.c.part), part[:4], strict=True)))
            for part in parts[first : first + 100]
        ]
        connection.execute(delete(counts).where(or_(*these)))
    return len(parts)
