"""Uploads: create, look up, list, size, name, delete. Each public function is one transaction, or a part of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    select,
    update,
)

from partwise.catalog import counts, events, objects
from partwise.catalog.pages import newest_first
from partwise.catalog.prepared import Prepared, PreparedQuery
from partwise.catalog.quotas import owner_quota
from partwise.catalog.search import count_some, holds
from partwise.catalog.tables import (
    UPLOAD,
    chunks,
    folded,
    unfinished,
    uploads,
)
from partwise.core.errors import Conflict, NotFound, QuotaExceeded, TooManyArtifacts, TooManyUploads
from partwise.core.events import EventType
from partwise.core.records import Page, PageKey, Totals, Upload, Usage
from partwise.core.state import Event, UploadState, next_state
from partwise.engine.ports import OwnerLimits

#: The states in which an upload holds bytes that its owner may still turn into an artifact.
UNFINISHED = (UploadState.OPEN, UploadState.COMMITTING)

# Statements are built once: building one costs more than running it.
_INSERT = Prepared.insert(uploads, Upload, "search_name")
_BY_ID = select(*UPLOAD).where(uploads.c.id == bindparam("id"))
_GET = PreparedQuery(_BY_ID, Upload)
_LOCK = PreparedQuery(_BY_ID.with_for_update(), Upload)
_UPDATE = update(uploads).where(uploads.c.id == bindparam("key"))
_OPEN = select(uploads.c.id).where(
    uploads.c.id.in_(bindparam("ids", expanding=True)), uploads.c.state == UploadState.OPEN
)
_TOUCH = _UPDATE.where(uploads.c.state == UploadState.OPEN)
#: So many uploads are told by their ids.
_FEW = 500
_LAST_CHUNK = (
    select(chunks.c.offset, chunks.c.size)
    .where(chunks.c.upload_id == bindparam("upload_id"))
    .order_by(chunks.c.offset.desc())
    .limit(1)
)


def get_upload(connection: Connection, upload_id: str) -> Upload:
    """The upload, or NotFound."""
    return _GET.one(connection, {"id": upload_id}, "upload")


def lock_upload(connection: Connection, upload_id: str) -> Upload:
    """Return the upload and lock its row until the transaction ends. Raises NotFound.

    Every transaction that changes an upload starts with this lock. Without it, a commit in a database with concurrent
    writers could succeed while a chunk is being invalidated.
    """
    return _LOCK.one(connection, {"id": upload_id}, "upload")


@cache
def _change(names: frozenset[str]) -> Prepared:
    """The statement that writes the fields ``names`` of an upload."""
    return Prepared(_UPDATE.values({name: bindparam(name) for name in sorted(names)}))


def change_upload(connection: Connection, upload: Upload, **changes: Any) -> Upload:
    """Write the changed fields of an upload that is locked; returns it as it is then."""
    names = {"search_name": folded(changes["filename"])} if "filename" in changes else {}
    changed = {**changes, **names}
    _change(frozenset(changed)).run(connection, {"key": upload.id, **changed})
    return replace(upload, **changes)


def insert_upload(connection: Connection, upload: Upload) -> None:
    """Insert the row, with all its fields as they are."""
    _INSERT.run(connection, asdict(upload) | {"search_name": folded(upload.filename)})


def create_upload(connection: Connection, upload: Upload, limits: OwnerLimits) -> None:
    """Insert the row if the owner's limits allow it; what it is made of gives its place up to it."""
    _check_limits(connection, upload, upload.size or 0, limits, new=True)
    insert_upload(connection, upload)


def set_size(connection: Connection, upload_id: str, size: int, limits: OwnerLimits, now: datetime) -> Upload:
    """Fix the size of an open upload. A digest of the whole file is void when the whole is another."""
    upload = lock_upload(connection, upload_id)
    next_state(upload.state, Event.WRITE)
    last = connection.execute(_LAST_CHUNK, {"upload_id": upload_id}).one_or_none()
    if last is not None and last.offset + last.size > size:
        raise Conflict(
            f"Cannot declare a size of {size} bytes: bytes up to {last.offset + last.size} are recorded already."
        )
    _check_limits(connection, upload, size, limits, new=False)
    changes: dict[str, Any] = {"size": size, "digest": None, "updated": now}
    if upload.size not in (None, size):
        # Another file than the one that a commit may have begun with: what that commit found out is void.
        changes |= {"epoch": upload.epoch + 1, "hashed": 0}
    return change_upload(connection, upload, **changes)


def commit_when_whole(connection: Connection, upload_id: str, now: datetime) -> Upload:
    """Let the server commit the upload when its last byte is recorded."""
    upload = lock_upload(connection, upload_id)
    next_state(upload.state, Event.WRITE)
    return change_upload(connection, upload, auto_commit=True, updated=now)


def grow(connection: Connection, upload_id: str, end: int, limits: OwnerLimits) -> None:
    """Reserve room up to ``end`` for an open upload of undeclared size, if its owner's limits allow it."""
    upload = lock_upload(connection, upload_id)
    next_state(upload.state, Event.WRITE)
    if upload.size is not None or end <= upload.reserved:
        return
    _check_limits(connection, upload, end, limits, new=False)
    change_upload(connection, upload, reserved=end)


def end_growth(connection: Connection, upload_id: str) -> int | None:
    """Give back what was reserved beyond the last chunk; where that ends."""
    upload = lock_upload(connection, upload_id)
    if upload.size is not None or upload.state is not UploadState.OPEN:
        return None
    last = connection.execute(_LAST_CHUNK, {"upload_id": upload_id}).one_or_none()
    end = 0 if last is None else last.offset + last.size
    change_upload(connection, upload, reserved=end)
    return end


def set_name(
    connection: Connection, upload_id: str, filename: str | None, media_type: str | None, now: datetime
) -> None:
    """Replace the name and the type of the file."""
    change_upload(connection, lock_upload(connection, upload_id), filename=filename, media_type=media_type, updated=now)


def list_uploads(
    connection: Connection,
    owner: str | None,
    *,
    offset: int = 0,
    limit: int = 100,
    states: Sequence[str] = (),
    search: str = "",
    internal: bool = False,
    after: PageKey | None = None,
) -> Page[Upload]:
    """One page, newest first."""
    conditions: list[ColumnElement[bool]] = []
    if owner is not None:
        conditions.append(uploads.c.owner == owner)
    if states:
        conditions += _is_in(connection, states, owner)
    counted = counts.count(connection, "upload", owner, states)
    # Internal ones are few, and have an index of their own. Left out by their ids, the index of a list's order has all
    # that is needed to skip rows of it.
    hidden = [] if internal else connection.execute(select(uploads.c.id).where(uploads.c.internal)).scalars().all()
    if hidden:
        of = select(func.count()).select_from(uploads).where(*conditions, uploads.c.id.in_(hidden))
        counted -= connection.execute(of).scalar_one()
        conditions.append(uploads.c.id.not_in(hidden))
    if search:
        conditions.append(holds(uploads.c.search_name, search))
        counted = count_some(connection, uploads, conditions)
    items, more = newest_first(
        connection,
        select(*UPLOAD).where(*conditions),
        uploads,
        Upload,
        offset=offset,
        limit=limit,
        after=after,
    )
    return Page(items, counted, more)


def _is_in(connection: Connection, states: Sequence[str], owner: str | None) -> list[ColumnElement[bool]]:
    """Return conditions for uploads in one of ``states``, so that a database reads the newest in an index's order.

    A database that looks up several states, or one that many uploads are in, sorts all that it finds. So the states are
    told by the others, where an index begins with no state: by the ids of the uploads in those, if they are few.
    Without completed ones the index of the others is named.
    """
    if owner is not None and (len(states) == 1 or UploadState.COMPLETED not in states):
        return [uploads.c.state.in_(states)]
    others = [state for state in UploadState if state not in states]
    told: list[ColumnElement[bool]] = [uploads.c.state.not_in(others)]
    if UploadState.COMPLETED not in states:
        return [*told, unfinished(uploads)]
    if others and counts.count(connection, "upload", None, others) > _FEW:
        return told
    those = select(uploads.c.id).where(uploads.c.state.in_(others), unfinished(uploads))
    return [uploads.c.id.not_in(ids)] if (ids := connection.execute(those).scalars().all()) else []


def begin_delete(connection: Connection, upload_id: str, *, reason: str | None = "deleted") -> Upload:
    """Flip to deleting."""
    return _flip_to_deleting(connection, lock_upload(connection, upload_id), reason)


def _flip_to_deleting(connection: Connection, upload: Upload, reason: str | None) -> Upload:
    """From here on the upload is gone for everyone: the first time, an event tells so, unless there is no reason."""
    changed = change_upload(connection, upload, state=next_state(upload.state, Event.DELETE))
    if upload.state is not UploadState.DELETING and reason is not None:
        events.add_upload_event(connection, EventType.UPLOAD_REMOVED, upload, datetime.now(UTC), reason=reason)
    return changed


def finish_delete(connection: Connection, upload_id: str) -> None:
    """Delete the rows of an upload that is being deleted; nothing when it is gone."""
    try:
        upload = lock_upload(connection, upload_id)
    except NotFound:
        return
    if upload.state is not UploadState.DELETING:
        raise Conflict(f"The upload is {upload.state}, not being deleted.")
    delete_rows(connection, upload_id)


def delete_rows(connection: Connection, upload_id: str) -> None:
    """Delete the rows of an upload that is locked, and of its chunks."""
    objects.drop_chunks(connection, upload_id, datetime.now(UTC))
    connection.execute(delete(chunks).where(chunks.c.upload_id == upload_id))
    connection.execute(delete(uploads).where(uploads.c.id == upload_id))


def idle_uploads(
    connection: Connection, *, open_before: datetime, completed_before: datetime, limit: int
) -> list[Upload]:
    """Return the uploads to expire, and those whose deletion has begun."""
    # One after the other: of all in one query a database may read every upload there is.
    of = (
        and_(uploads.c.state == UploadState.OPEN, uploads.c.updated < open_before, unfinished(uploads)),
        and_(uploads.c.state == UploadState.COMPLETED, uploads.c.completed < completed_before),
        and_(uploads.c.state == UploadState.DELETING, unfinished(uploads)),
    )
    found: list[Upload] = []
    for condition in of:
        rows = connection.execute(select(*UPLOAD).where(condition).limit(limit - len(found)))
        found += [Upload(**row._mapping) for row in rows]
    return found


def expire_upload(connection: Connection, upload_id: str, *, open_before: datetime, completed_before: datetime) -> bool:
    """Flip to deleting what is idle now, whatever it was when it was found."""
    try:
        upload = lock_upload(connection, upload_id)
    except NotFound:
        return False
    match upload.state:
        case UploadState.OPEN:
            due = upload.updated < open_before
        case UploadState.COMPLETED:
            due = upload.completed is not None and upload.completed < completed_before
        case _:
            due = upload.state is UploadState.DELETING
    if due:
        _flip_to_deleting(connection, upload, "expired")
    return due


def surplus_uploads(connection: Connection, keep: int, limit: int) -> list[str]:
    """The oldest of the completed uploads of each owner who has more than ``keep``."""
    completed = uploads.c.state == UploadState.COMPLETED
    found: list[str] = []
    for owner in counts.owners_of_more(connection, "upload", UploadState.COMPLETED, keep):
        rows = connection.execute(
            select(uploads.c.id)
            .where(completed, uploads.c.owner == owner)
            .order_by(uploads.c.completed.desc(), uploads.c.id.desc())
            .offset(keep)
            .limit(limit - len(found))
        )
        found += rows.scalars()
    return found


def touch(connection: Connection, upload_id: str, now: datetime) -> None:
    """Note activity."""
    connection.execute(_TOUCH, {"key": upload_id, "updated": now})


def list_committing(connection: Connection) -> list[str]:
    """The ids of uploads that are committing."""
    committing = select(uploads.c.id).where(uploads.c.state == UploadState.COMMITTING, unfinished(uploads))
    return list(connection.execute(committing).scalars())


def list_internal(connection: Connection) -> list[Upload]:
    """Return the uploads that exist for one request."""
    return [Upload(**row._mapping) for row in connection.execute(select(*UPLOAD).where(uploads.c.internal))]


def closed_uploads(connection: Connection, upload_ids: Sequence[str]) -> list[str]:
    """Return the ids of ``upload_ids`` whose uploads are not open."""
    rows = connection.execute(_OPEN, {"ids": list(upload_ids)})
    return list(set(upload_ids) - set(rows.scalars()))


def list_unattended(connection: Connection) -> list[Upload]:
    """Return the uploads that the server has to finish."""
    whole = select(*UPLOAD).where(
        uploads.c.state == UploadState.OPEN,
        unfinished(uploads),
        uploads.c.auto_commit,
        uploads.c.received == uploads.c.size,
    )
    # In the words of its index.
    joined = select(*UPLOAD).where(uploads.c.parts != literal_column("'[]'"), uploads.c.state != UploadState.DELETING)
    found = {row.id: Upload(**row._mapping) for query in (whole, joined) for row in connection.execute(query)}
    return list(found.values())


def forget_parts(connection: Connection, upload_id: str) -> None:
    """Empty the parts."""
    connection.execute(_UPDATE, {"key": upload_id, "parts": ()})


def count_states(connection: Connection) -> dict[str, int]:
    """Count the uploads in each state, including states without uploads."""
    found = counts.by_state(connection, "upload", None)
    return {str(state): 0 for state in UploadState} | {state: counted.count for state, counted in found.items()}


def totals(connection: Connection) -> Totals:
    """Sums over all owners."""
    work = select(
        func.coalesce(func.sum(uploads.c.received - uploads.c.hashed), 0),
        func.coalesce(func.sum(uploads.c.seq - uploads.c.durable_seq), 0),
    ).where(uploads.c.state.in_(UNFINISHED), unfinished(uploads))
    unhashed, undurable = connection.execute(work).one()
    stored = counts.by_state(connection, "artifact", None).get("", counts.Counted())
    return Totals(
        # The follower also reads ahead, into a chunk that is not recorded yet.
        unhashed=max(0, int(unhashed)),
        undurable_chunks=int(undurable),
        artifacts=stored.count,
        artifact_bytes=stored.size,
    )


# What owners hold

_MIB = 1 << 20
#: The first half of the keys of PostgreSQL's advisory locks on owners.
_OWNERS = int.from_bytes(b"ownr", "big")


def _sums(column: ColumnElement[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """A sum in two parts, whole MiB and the rest: three sizes near 2^62 are more than a 64-bit sum holds."""
    return func.coalesce(func.sum(column // _MIB), 0), func.coalesce(func.sum(column % _MIB), 0)


# An upload whose size is not declared yet holds what it has received, or what it has reserved to receive more.
_GROWN = case((uploads.c.reserved > uploads.c.received, uploads.c.reserved), else_=uploads.c.received)
_RESERVED = select(*_sums(func.coalesce(uploads.c.size, _GROWN)), func.count()).where(
    uploads.c.owner == bindparam("owner"),
    uploads.c.id.not_in(bindparam("without", expanding=True)),
    uploads.c.state.in_(UNFINISHED),
)


def usage(connection: Connection, owner: str, *, without: Sequence[str] = ()) -> Usage:
    """Return the usage of ``owner``, except for the uploads ``without``."""
    high, low, count = connection.execute(_RESERVED, {"owner": owner, "without": list(without)}).one()
    stored = counts.by_state(connection, "link", owner).get("", counts.Counted())
    return Usage(
        reserved=int(high) * _MIB + int(low),
        stored=stored.size,
        open_uploads=count,
        artifacts=stored.count,
    )


def _check_limits(connection: Connection, upload: Upload, size: int, limits: OwnerLimits, *, new: bool) -> None:
    """Return whether the owner may hold ``upload`` with ``size`` bytes, beside all else that the owner holds.

    Transactions of one owner that take room wait for each other: two that look at once would both find the last of it.
    """
    limits = replace(limits, quota=owner_quota(connection, upload.owner, limits.quota))
    if limits == OwnerLimits():
        return
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        connection.execute(select(func.pg_advisory_xact_lock(_OWNERS, func.hashtext(upload.owner))))
    held = usage(connection, upload.owner, without=(upload.id, *upload.parts))
    if new and limits.open_uploads is not None and held.open_uploads >= limits.open_uploads:
        raise TooManyUploads(limits.open_uploads)
    if new and limits.artifacts is not None and held.artifacts + held.open_uploads >= limits.artifacts:
        raise TooManyArtifacts(limits.artifacts)
    used = held.reserved + held.stored
    if limits.quota is not None and used + size > limits.quota:
        raise QuotaExceeded(size, used, limits.quota)
