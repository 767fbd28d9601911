"""Tasks: the records of commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    tuple_,
    update,
)

from partwise.catalog import counts
from partwise.catalog.pages import newest_first
from partwise.catalog.prepared import Prepared, PreparedQuery
from partwise.catalog.tables import TASK, tasks, unfinished, uploads
from partwise.core.records import Page, PageKey, Task, TaskState

#: Failed tasks of one upload that are kept.
FAILED_KEPT = 10

_NEWEST_FIRST = (tasks.c.created.desc(), tasks.c.id.desc())
_INSERT = Prepared.insert(tasks, Task)
_GET = PreparedQuery(select(*TASK).where(tasks.c.id == bindparam("id")), Task)
_OF_UPLOAD = (
    select(*TASK)
    .where(tasks.c.upload_id == bindparam("upload_id"))
    .order_by(case((tasks.c.state == TaskState.FAILED, 1), else_=0), *_NEWEST_FIRST)
    .limit(1)
)
_RUNNING = tasks.c.state.in_((TaskState.WAITING, TaskState.RUNNING))
_FINISH = update(tasks).where(tasks.c.upload_id == bindparam("key"), _RUNNING)


def insert_task(connection: Connection, task: Task) -> None:
    """Insert the row, with all its fields as they are."""
    _INSERT.run(connection, asdict(task))


def get_task(connection: Connection, task_id: str) -> Task:
    """The task, or NotFound."""
    return _GET.one(connection, {"id": task_id}, "task")


def find_task(connection: Connection, upload_id: str) -> Task | None:
    """The task that runs or completed the upload, else the newest that failed: not by time alone, as clocks go back."""
    row = connection.execute(_OF_UPLOAD, {"upload_id": upload_id}).one_or_none()
    return None if row is None else Task(**row._mapping)


def list_tasks(
    connection: Connection,
    owner: str | None,
    *,
    offset: int = 0,
    limit: int = 100,
    states: Sequence[str] = (),
    upload_ids: Sequence[str] = (),
    after: PageKey | None = None,
) -> Page[Task]:
    """One page, newest first."""
    conditions: list[Any] = [] if owner is None else [tasks.c.owner == owner]
    if states:
        conditions.append(tasks.c.state.in_(states))
        if TaskState.COMPLETED not in states:
            conditions.append(unfinished(tasks))  # names the index of the few others
    if upload_ids:
        conditions.append(tasks.c.upload_id.in_(upload_ids))
        count = connection.execute(select(func.count()).select_from(tasks).where(*conditions)).scalar_one()
    else:
        count = counts.count(connection, "task", owner, states)
    items, more = newest_first(
        connection, select(*TASK).where(*conditions), tasks, Task, offset=offset, limit=limit, after=after
    )
    return Page(items, count, more)


def _old(before: datetime, gone_before: datetime) -> list[ColumnElement[bool]]:
    # No task ends before it begins, and by that there is an index.
    kept = exists().where(uploads.c.id == tasks.c.upload_id)
    return [
        tasks.c.created < gone_before,
        tasks.c.finished < gone_before,
        or_(not_(kept), and_(tasks.c.state != TaskState.COMPLETED, tasks.c.finished < before)),
    ]


def prune_tasks(connection: Connection, before: datetime, limit: int, *, gone_before: datetime) -> int:
    """Delete what nobody refers to any more."""
    some = select(tasks.c.id).where(*_old(before, gone_before)).limit(limit)
    return connection.execute(delete(tasks).where(tasks.c.id.in_(some))).rowcount


def sweep_tasks(
    connection: Connection, before: datetime, limit: int, *, gone_before: datetime, after: PageKey | None
) -> tuple[int, PageKey | None]:
    """Delete of the next ``limit`` tasks behind ``after`` what nobody refers to; how many, and where these end."""
    key = tuple_(tasks.c.created, tasks.c.id)
    behind = [] if after is None else [key > _literal(after)]
    oldest = select(tasks.c.created, tasks.c.id).where(tasks.c.created < gone_before, *behind)
    last = connection.execute(oldest.order_by(tasks.c.created, tasks.c.id).offset(limit - 1).limit(1)).one_or_none()
    end = None if last is None else (last.created, last.id)
    until = [] if end is None else [key <= _literal(end)]
    some = select(tasks.c.id).where(*behind, *until, *_old(before, gone_before))
    ids = connection.execute(some).scalars().all()
    for first in range(0, len(ids), 500):
        connection.execute(delete(tasks).where(tasks.c.id.in_(ids[first : first + 500])))
    return len(ids), end


def _literal(key: PageKey) -> ColumnElement[Any]:
    created, task_id = key
    return tuple_(literal(created, tasks.c.created.type), literal(task_id, tasks.c.id.type))


def count_old_tasks(connection: Connection, before: datetime, *, gone_before: datetime) -> int:
    """Count the tasks to delete."""
    return connection.execute(select(func.count()).select_from(tasks).where(*_old(before, gone_before))).scalar_one()


def trim_failed(connection: Connection, upload_id: str) -> None:
    """Keep the last few failed tasks of an upload: who commits again and again must not fill the records."""
    failed = (tasks.c.upload_id == upload_id, tasks.c.state == TaskState.FAILED)
    some = select(tasks.c.id).where(*failed).order_by(*_NEWEST_FIRST).offset(FAILED_KEPT).limit(100)
    ids = connection.execute(some).scalars().all()
    if ids:
        connection.execute(delete(tasks).where(tasks.c.id.in_(ids)))


def fail_running(
    connection: Connection, upload_id: str, error: str, now: datetime, found_sha256: str | None = None
) -> None:
    """The upload's running task has failed, with ``error``; the file's digest is given if it was the reason."""
    values = {"state": TaskState.FAILED, "error": error, "finished": now, "found_sha256": found_sha256}
    connection.execute(_FINISH, {"key": upload_id, **values})


def complete_running(connection: Connection, upload_id: str, artifact_id: str, now: datetime) -> None:
    """The upload's running task has made the link ``artifact_id``."""
    connection.execute(
        _FINISH, {"key": upload_id, "state": TaskState.COMPLETED, "artifact_id": artifact_id, "finished": now}
    )
