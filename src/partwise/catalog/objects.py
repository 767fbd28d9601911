"""Objects: what an artifact consists of in a storage that keeps each chunk as an immutable object of its own.

An object belongs to a chunk, to an artifact as one of its segments, or to the garbage, from which it is deleted. It
changes hands in the transaction that changes its owner, so that no crash loses one; what is stored and never
recorded is found by comparing the store's listing with ``known_refs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
)

from partwise.catalog.tables import UtcTime, artifact_links, artifacts, chunks, garbage, segments, uploads
from partwise.core.records import Segment

#: Garbage waits an hour for slow readers of artifacts. What was never part of one waits a minute: no quota counts it.
NEVER_AN_ARTIFACT = timedelta(minutes=59)

_SEGMENT = (segments.c.offset, segments.c.size, segments.c.ref)
_NEAREST = (
    select(func.max(segments.c.offset))
    .where(segments.c.sha256 == bindparam("sha256"), segments.c.offset <= bindparam("start"))
    .scalar_subquery()
)
_LIST = (
    select(*_SEGMENT)
    .where(segments.c.sha256 == bindparam("sha256"), segments.c.offset >= func.coalesce(_NEAREST, bindparam("start")))
    .order_by(segments.c.offset)
    .limit(bindparam("limit"))
)
_ANY = select(segments.c.ref).where(segments.c.sha256 == bindparam("sha256")).limit(1)
_NOW = bindparam("now", type_=UtcTime)
_CHUNKS_WITH_OBJECTS = (chunks.c.upload_id == bindparam("upload_id"), chunks.c.ref.is_not(None))
_TAKE_CHUNKS = insert(segments).from_select(
    ["sha256", "offset", "size", "ref"],
    select(bindparam("sha256", type_=segments.c.sha256.type), chunks.c.offset, chunks.c.size, chunks.c.ref).where(
        *_CHUNKS_WITH_OBJECTS
    ),
)
_NOWHERE_ELSE: tuple[ColumnElement[bool], ...] = (
    ~exists().where(segments.c.ref == chunks.c.ref),
    ~exists().where(garbage.c.ref == chunks.c.ref),
)
_DROP_CHUNKS = insert(garbage).from_select(
    ["ref", "since"], select(chunks.c.ref, _NOW).where(*_CHUNKS_WITH_OBJECTS, *_NOWHERE_ELSE)
)
_DROP_SEGMENTS = insert(garbage).from_select(
    ["ref", "since"], select(segments.c.ref, _NOW).where(segments.c.sha256 == bindparam("sha256"))
)
_DELETE_SEGMENTS = delete(segments).where(segments.c.sha256 == bindparam("key"))
_LOCK_ARTIFACT = select(artifacts.c.size).where(artifacts.c.sha256 == bindparam("sha256")).with_for_update()


def take_chunks(connection: Connection, upload_id: str, sha256: str, now: datetime) -> None:
    """The objects of a committed upload become the artifact's segments; garbage where it has some already."""
    if connection.execute(_ANY, {"sha256": sha256}).first() is None:
        connection.execute(_TAKE_CHUNKS, {"sha256": sha256, "upload_id": upload_id})
    else:
        drop_chunks(connection, upload_id, now)


def drop(connection: Connection, ref: str | None, now: datetime) -> None:
    """An object that a chunk's row named and nothing names any more. None: the storage has no objects."""
    if ref is not None:
        connection.execute(insert(garbage), {"ref": ref, "since": now - NEVER_AN_ARTIFACT})


def drop_chunks(connection: Connection, upload_id: str, now: datetime) -> None:
    """The objects of an upload that is deleted, but not those that an artifact has taken."""
    connection.execute(_DROP_CHUNKS, {"upload_id": upload_id, "now": now - NEVER_AN_ARTIFACT})


def drop_segments(connection: Connection, sha256: str, now: datetime) -> None:
    """The segments of an artifact that is deleted, or whose segments are about to be replaced."""
    connection.execute(_DROP_SEGMENTS, {"sha256": sha256, "now": now})
    connection.execute(_DELETE_SEGMENTS, {"key": sha256})


def list_segments(connection: Connection, sha256: str, *, start: int = 0, limit: int = 1000) -> list[Segment]:
    """Segments from the one that holds byte ``start`` on."""
    place = {"sha256": sha256, "start": start, "limit": limit}
    return [Segment(**row._mapping) for row in connection.execute(_LIST, place)]


def replace_segments(connection: Connection, sha256: str, old: Sequence[str], new: Segment, now: datetime) -> bool:
    """One segment in the place of all, if they are still the ``old`` ones."""
    if connection.execute(_LOCK_ARTIFACT, {"sha256": sha256}).one_or_none() is None:
        return False
    present = connection.execute(select(segments.c.ref).where(segments.c.sha256 == sha256)).scalars().all()
    if set(present) != set(old):
        return False
    drop_segments(connection, sha256, now)
    connection.execute(insert(segments), {"sha256": sha256, "offset": new.offset, "size": new.size, "ref": new.ref})
    return True


def scattered_artifacts(
    connection: Connection, *, average: int, limit: int, since: datetime | None = None
) -> list[str]:
    """Artifacts of several segments that have less than ``average`` bytes on average; the most scattered first.

    ``since``: of those that were linked from then on; None: of all, whose segments are all looked at.
    """
    count = func.count()
    looked_at = select(segments.c.sha256)
    if since is not None:
        linked = select(artifact_links.c.sha256).where(artifact_links.c.created >= since)
        looked_at = looked_at.where(segments.c.sha256.in_(linked))
    rows = connection.execute(
        looked_at.group_by(segments.c.sha256)
        .having(count > 1, func.sum(segments.c.size) < literal(average) * count)
        .order_by(count.desc())
        .limit(limit)
    )
    return list(rows.scalars())


def list_garbage(connection: Connection, before: datetime, limit: int) -> list[str]:
    """Objects that nothing has needed since ``before``, the oldest first."""
    rows = connection.execute(
        select(garbage.c.ref).where(garbage.c.since < before).order_by(garbage.c.since).limit(limit)
    )
    return list(rows.scalars())


def forget_garbage(connection: Connection, refs: Sequence[str]) -> None:
    """These objects are deleted."""
    connection.execute(delete(garbage).where(garbage.c.ref.in_(refs)))


def known_refs(connection: Connection, upload_ids: Sequence[str], refs: Sequence[str]) -> set[str]:
    """Return those of ``refs`` that are in use. Chunks are searched in ``upload_ids`` only."""
    found: set[str] = set()
    for rows in (
        select(segments.c.ref).where(segments.c.ref.in_(refs)),
        select(garbage.c.ref).where(garbage.c.ref.in_(refs)),
        select(chunks.c.ref).where(chunks.c.upload_id.in_(upload_ids), chunks.c.ref.in_(refs)),
    ):
        found.update(connection.execute(rows).scalars())
    # The objects of a join are recorded only when it is over, which may take longer than objects may go unrecorded.
    joining = select(uploads.c.id).where(uploads.c.id.in_(upload_ids), uploads.c.parts != ())
    for upload_id in connection.execute(joining).scalars():
        found.update(ref for ref in refs if ref.startswith(f"chunks/{upload_id}/"))
    return found
