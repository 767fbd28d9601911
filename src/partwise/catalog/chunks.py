"""Chunks: find, record and invalidate them, and determine which survive a power loss.

The rows of an upload never overlap and lie within its size. ``record_chunk`` keeps that, with two looks into the
primary key: the nearest row at or before the offset, and the rows that start inside the range.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, text, update

from partwise.catalog import events, objects, tasks
from partwise.catalog.prepared import Prepared, PreparedQuery
from partwise.catalog.tables import CHUNK, UPLOAD, artifacts, chunks, meta, unfinished, uploads
from partwise.catalog.uploads import UNFINISHED, change_upload, get_upload, lock_upload
from partwise.core.errors import BadContentRange, ChunkOverlap, TooManyChunks
from partwise.core.events import EventType
from partwise.core.ranges import ByteRange, Gaps
from partwise.core.records import Chunk, Upload
from partwise.core.state import Event, UploadState, next_state

#: How many of the chunks in the way a ChunkOverlap names.
OVERLAPS_NAMED = 100

_NOT_DURABLE = "Not all chunks are certain to be on disk: send the ranges that are missing again, and commit again."


def _overlapping() -> list[ColumnElement[bool]]:
    """Rows that share a byte with [start, end): as rows do not overlap, only the nearest that begins at or before
    ``start`` can reach into it, so the index gives the place to begin and no other row is looked at."""
    nearest = (
        select(func.max(chunks.c.offset))
        .where(chunks.c.upload_id == bindparam("upload_id"), chunks.c.offset <= bindparam("start"))
        .scalar_subquery()
    )
    return [
        chunks.c.upload_id == bindparam("upload_id"),
        chunks.c.offset >= func.coalesce(nearest, bindparam("start")),
        chunks.c.offset < bindparam("end"),
        chunks.c.offset + chunks.c.size > bindparam("start"),
    ]


_FIND = PreparedQuery(select(*CHUNK).where(*_overlapping()).order_by(chunks.c.offset).limit(bindparam("limit")), Chunk)
_COUNT = PreparedQuery(
    select(func.count().label("count")).select_from(chunks).where(*_overlapping()), lambda count: int(count)
)
_FROM = (
    select(*CHUNK)
    .where(chunks.c.upload_id == bindparam("upload_id"), chunks.c.offset >= bindparam("start"))
    .order_by(chunks.c.offset)
)
_FROM_LIMITED = _FROM.limit(bindparam("limit"))
_ENDS = (
    select(
        func.coalesce(func.lag(chunks.c.offset + chunks.c.size).over(order_by=chunks.c.offset), 0).label("start"),
        chunks.c.offset.label("end"),
    )
    .where(chunks.c.upload_id == bindparam("upload_id"))
    .subquery()
)
_GAPS = (
    select(_ENDS.c.start, _ENDS.c.end, func.count().over().label("gaps"))
    .where(_ENDS.c.end > _ENDS.c.start)
    .order_by(_ENDS.c.start)
    .limit(bindparam("limit"))
)
_LAST = (
    select(chunks.c.offset + chunks.c.size)
    .where(chunks.c.upload_id == bindparam("upload_id"))
    .order_by(chunks.c.offset.desc())
    .limit(1)
)
_INSERT = Prepared(insert(chunks))
_DELETE = delete(chunks).where(chunks.c.upload_id == bindparam("key"), chunks.c.offset == bindparam("at"))
_UNDURABLE = (chunks.c.upload_id == bindparam("key"), chunks.c.seq > bindparam("durable"))
_COUNT_UNDURABLE = select(func.count(), func.sum(chunks.c.size)).where(*_UNDURABLE)
_DELETE_UNDURABLE = delete(chunks).where(*_UNDURABLE)
_SET_DURABLE = (
    update(uploads)
    .where(uploads.c.id == bindparam("key"), uploads.c.durable_seq < bindparam("durable"))
    .values(durable_seq=bindparam("durable"))
)
# In the words of the index of those that are not completed: there may be a million others.
_PENDING = select(*UPLOAD).where(
    uploads.c.state.in_(UNFINISHED), unfinished(uploads), uploads.c.seq > uploads.c.durable_seq
)


def _chunk(row: Any) -> Chunk:
    return Chunk(**row._mapping)


def _overlaps(connection: Connection, upload_id: str, span: ByteRange, limit: int) -> tuple[list[Chunk], int]:
    """The first ``limit`` chunks that overlap ``span``, and how many do."""
    place = {"upload_id": upload_id, "start": span.offset, "end": span.end}
    found = _FIND.all(connection, {**place, "limit": limit})
    return found, len(found) if len(found) < limit else _COUNT.all(connection, place)[0]


def find_chunks(
    connection: Connection, upload_id: str, span: ByteRange, limit: int = 100
) -> tuple[Upload, list[Chunk], int]:
    """The upload, the first ``limit`` chunks that overlap ``span``, and how many do.

    It runs where each chunk would wait for a thread else: of prepared statements alone.
    """
    return get_upload(connection, upload_id), *_overlaps(connection, upload_id, span, limit)


def list_chunks(connection: Connection, upload_id: str, *, start: int = 0, limit: int | None = None) -> list[Chunk]:
    """The chunks from ``start`` on, by offset."""
    get_upload(connection, upload_id)
    place = {"upload_id": upload_id, "start": start}
    if limit is None:
        rows = connection.execute(_FROM, place)
    else:
        rows = connection.execute(_FROM_LIMITED, {**place, "limit": limit})
    return [_chunk(row) for row in rows]


def find_gaps(connection: Connection, upload_id: str, limit: int = 100) -> Gaps:
    """Return what the chunks of an open upload leave missing. The rows of chunks stay in the database."""
    upload = get_upload(connection, upload_id)
    if upload.state is not UploadState.OPEN or upload.received == upload.size:
        return Gaps(limit)
    return count_gaps(connection, upload, limit)


def count_gaps(connection: Connection, upload: Upload, limit: int) -> Gaps:
    """Return what the rows of chunks leave missing, whatever counters say."""
    gaps = Gaps(limit)
    rows = connection.execute(_GAPS, {"upload_id": upload.id, "limit": limit}).all()
    gaps.first = [ByteRange(row.start, row.end - row.start) for row in rows]
    gaps.count = rows[0].gaps if rows else 0
    end = connection.execute(_LAST, {"upload_id": upload.id}).scalar_one_or_none() or 0
    gaps.add(ByteRange(end, max(0, (upload.size or 0) - end)))
    return gaps


def record_chunk(
    connection: Connection,
    upload_id: str,
    chunk: Chunk,
    *,
    now: datetime,
    max_chunks: int,
    replace: bool = False,
) -> Chunk:
    """Insert the row with the next ``seq``; with ``replace`` in the place of one of the same range."""
    upload = lock_upload(connection, upload_id)
    next_state(upload.state, Event.WRITE)
    if upload.size is not None and chunk.range.end > upload.size:
        raise BadContentRange(
            f"Bytes {chunk.range} exceed the upload's size of {upload.size} bytes. Correct the Content-Range."
        )
    changes: dict[str, Any] = {
        "seq": upload.seq + 1,
        "received": upload.received + chunk.size,
        "chunk_count": upload.chunk_count + 1,
        "updated": now,
    }
    if chunk.ref is not None:
        changes["durable_seq"] = upload.seq + 1  # an object is durable when the store has answered
    found, count = _overlaps(connection, upload_id, chunk.range, OVERLAPS_NAMED)
    if found:
        if not (replace and count == 1 and found[0].range == chunk.range):
            raise ChunkOverlap([other.range for other in found], count)
        connection.execute(_DELETE, {"key": upload_id, "at": chunk.offset})
        objects.drop(connection, found[0].ref, now)
        changes |= _void_digest(upload) | {"received": upload.received, "chunk_count": upload.chunk_count}
    if changes["chunk_count"] > max_chunks:
        raise TooManyChunks(max_chunks)
    row = {
        "upload_id": upload_id,
        "offset": chunk.offset,
        "size": chunk.size,
        "sha256": chunk.sha256,
        "verified": chunk.verified,
        "ref": chunk.ref,
        "seq": upload.seq + 1,
    }
    _INSERT.run(connection, row)
    change_upload(connection, upload, **changes)
    return Chunk(
        offset=chunk.offset,
        size=chunk.size,
        sha256=chunk.sha256,
        verified=chunk.verified,
        ref=chunk.ref,
        seq=upload.seq + 1,
    )


def unrecord_chunk(connection: Connection, upload_id: str, offset: int) -> bool:
    """Delete the row at ``offset`` and increase the generation (``epoch``)."""
    upload = lock_upload(connection, upload_id)
    next_state(upload.state, Event.WRITE)
    row = connection.execute(_FROM_LIMITED, {"upload_id": upload_id, "start": offset, "limit": 1}).one_or_none()
    if row is None or row.offset != offset:
        return False
    connection.execute(_DELETE, {"key": upload_id, "at": offset})
    objects.drop(connection, row.ref, datetime.now(UTC))
    change_upload(
        connection,
        upload,
        received=upload.received - row.size,
        chunk_count=upload.chunk_count - 1,
        **_void_digest(upload),
    )
    return True


def _void_digest(upload: Upload) -> dict[str, Any]:
    """Return the columns to change when a chunk is invalidated, since hashed bytes may change."""
    return {"epoch": upload.epoch + 1, "hashed": 0, "digest": None}


def mark_durable(connection: Connection, upload_id: str, seq: int) -> None:
    """Raise ``durable_seq``."""
    connection.execute(_SET_DURABLE, {"key": upload_id, "durable": seq})


def pending_flush(connection: Connection, limit: int) -> list[Upload]:
    """Unfinished uploads with something recorded since the last flush."""
    rows = connection.execute(_PENDING.order_by(uploads.c.updated).limit(limit))
    return [Upload(**row._mapping) for row in rows]


def unrecord_undurable(connection: Connection, upload_id: str) -> int:
    """Un-record what a power loss may have taken; a commit that counted on it fails."""
    upload = lock_upload(connection, upload_id)
    if upload.state not in UNFINISHED:
        return 0
    place = {"key": upload_id, "durable": upload.durable_seq}
    count, size = connection.execute(_COUNT_UNDURABLE, place).one()
    if count == 0:
        return 0
    connection.execute(_DELETE_UNDURABLE, place)
    changes = _void_digest(upload) | {
        "received": upload.received - int(size),
        "chunk_count": upload.chunk_count - count,
    }
    if upload.state is UploadState.COMMITTING:
        changes |= {"state": next_state(upload.state, Event.REJECT), "expected_sha256": None}
        now = datetime.now(UTC)
        tasks.fail_running(connection, upload_id, _NOT_DURABLE, now)
        opened = replace(upload, state=UploadState.OPEN)
        events.add_upload_event(connection, EventType.UPLOAD_FAILED, opened, now, error=_NOT_DURABLE, found_sha256=None)
    change_upload(connection, upload, **changes)
    return int(count)


def known_installation(connection: Connection) -> tuple[str | None, bool]:
    """The id of these records, if they have one, and whether there are any."""
    known = connection.execute(select(meta.c.value).where(meta.c.key == "installation")).scalar_one_or_none()
    recorded = any(connection.execute(select(table).limit(1)).first() is not None for table in (chunks, artifacts))
    return known, recorded


def installation(connection: Connection) -> tuple[str, bool]:
    """The same, where the records get an id if they have none."""
    known, recorded = known_installation(connection)
    if known is None:
        known = str(uuid.uuid4())
        connection.execute(insert(meta), {"key": "installation", "value": known})
    return known, recorded


def note_clock(connection: Connection, now: datetime, name: str = "clock") -> None:
    """Note the time of a running server, or of what else has the ``name``."""
    changed = connection.execute(update(meta).where(meta.c.key == name).values(value=now.isoformat()))
    if changed.rowcount == 0:
        connection.execute(insert(meta), {"key": name, "value": now.isoformat()})


def noted_clock(connection: Connection, name: str = "clock") -> datetime | None:
    """The time that was noted last."""
    value = connection.execute(select(meta.c.value).where(meta.c.key == name)).scalar_one_or_none()
    return None if value is None else datetime.fromisoformat(value)


def schema_version(connection: Connection) -> str:
    """The revision of the schema that the database has now."""
    version: str = connection.execute(text("SELECT max(version_num) FROM alembic_version")).scalar_one()
    return version


def noted_boot(connection: Connection) -> str | None:
    """The boot that the records were last used in."""
    return connection.execute(select(meta.c.value).where(meta.c.key == "boot_id")).scalar_one_or_none()


def new_boot(connection: Connection, boot_id: str, *, distrust: bool = False) -> int:
    """Un-record, in every upload, what the last boot had not brought to stable storage."""
    known = connection.execute(
        select(meta.c.value).where(meta.c.key == "boot_id").with_for_update()
    ).scalar_one_or_none()
    if known == boot_id and not distrust:
        return 0
    pending = connection.execute(_PENDING.with_only_columns(uploads.c.id)).scalars().all()
    lost = sum(unrecord_undurable(connection, upload_id) for upload_id in pending)
    if known is None:
        connection.execute(insert(meta), {"key": "boot_id", "value": boot_id})
    else:
        connection.execute(update(meta).where(meta.c.key == "boot_id").values(value=boot_id))
    return lost
