"""Commits: from an upload whose bytes are all there to its owner's link to an artifact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, func, select, update

from partwise.catalog import artifacts, events, objects, tasks
from partwise.catalog.chunks import count_gaps, unrecord_chunk
from partwise.catalog.tables import chunks, uploads
from partwise.catalog.uploads import UNFINISHED, change_upload, delete_rows, insert_upload, lock_upload
from partwise.core.errors import Conflict, IncompleteUpload, StaleGeneration, UnverifiedUpload
from partwise.core.events import EventType
from partwise.core.records import Artifact, Task, TaskState, Upload
from partwise.core.state import Event, UploadState, next_state

#: How many of the missing ranges an IncompleteUpload names.
GAPS_NAMED = 100

# Within one generation, progress never decreases: a slower hasher must not undo the digest of a faster one.
_PUBLISH = (
    update(uploads)
    .where(
        uploads.c.id == bindparam("key"),
        uploads.c.epoch == bindparam("under"),
        uploads.c.state.in_(UNFINISHED),
        uploads.c.digest.is_(None),
        uploads.c.hashed <= bindparam("to"),
    )
    .values(hashed=bindparam("to"))
)
# A digest counts for the size that the file has now; the size of an open upload may have changed meanwhile.
_PUBLISH_DIGEST = _PUBLISH.where(uploads.c.size == bindparam("to")).values(
    digest=bindparam("whole"), digests=bindparam("all")
)
_EPOCH = select(uploads.c.epoch, uploads.c.digest).where(uploads.c.id == bindparam("id"))

_COVERAGE = select(
    func.coalesce(func.sum(chunks.c.size), 0),
    func.coalesce(func.sum(case((chunks.c.verified.is_(False), 1), else_=0)), 0),
).where(chunks.c.upload_id == bindparam("upload_id"))


def publish_digest(
    connection: Connection,
    upload_id: str,
    epoch: int,
    hashed: int,
    digest: str | None,
    digests: Mapping[str, str] | None = None,
) -> bool:
    """Store the progress of the background hasher, if ``epoch`` is the upload's current generation."""
    place = {"key": upload_id, "under": epoch, "to": hashed}
    if digest is None:
        result = connection.execute(_PUBLISH, place)
    else:
        result = connection.execute(_PUBLISH_DIGEST, {**place, "whole": digest, "all": digests or {}})
    if result.rowcount == 1:
        return True
    row = connection.execute(_EPOCH, {"id": upload_id}).one_or_none()
    return row is not None and row.epoch == epoch and (digest is None or digest == row.digest)


def begin_commit(
    connection: Connection, upload_id: str, expected_sha256: str | None, task: Task, now: datetime
) -> Task:
    """Open and covered → committing."""
    upload = lock_upload(connection, upload_id)
    if upload.state is UploadState.COMMITTING and upload.expected_sha256 == expected_sha256:
        running = tasks.find_task(connection, upload_id)
        assert running is not None, "a commit is begun together with its task"
        return running
    state = next_state(upload.state, Event.COMMIT)
    _check_covered(connection, upload, expected_sha256)
    tasks.trim_failed(connection, upload_id)
    tasks.insert_task(connection, task)
    change_upload(connection, upload, state=state, expected_sha256=expected_sha256, updated=now)
    return task


def _check_covered(connection: Connection, upload: Upload, expected_sha256: str | None) -> None:
    """Check that every byte is recorded. Rows do not overlap and lie within the size, so their sum proves it."""
    if upload.size is None:
        raise Conflict("Cannot commit: the upload has no declared size. Declare its size, then commit.")
    covered, unverified = connection.execute(_COVERAGE, {"upload_id": upload.id}).one()
    if covered != upload.size:
        gaps = count_gaps(connection, upload, GAPS_NAMED)
        raise IncompleteUpload(gaps.first, gaps.count)
    if expected_sha256 is None and unverified and not upload.auto_commit:
        raise UnverifiedUpload


def reject_commit(
    connection: Connection,
    upload_id: str,
    task_error: str,
    now: datetime,
    *,
    generation: int | None = None,
    found_sha256: str | None = None,
    lost: Sequence[int] = (),
) -> None:
    """Committing → open, and the task has failed."""
    upload = lock_upload(connection, upload_id)
    if generation not in (None, upload.epoch):
        raise StaleGeneration
    state = next_state(upload.state, Event.REJECT)
    if found_sha256 is not None and upload.expected_sha256 in (None, found_sha256):
        raise StaleGeneration  # the commit of now expects what was found; an earlier one did not
    tasks.fail_running(connection, upload_id, task_error, now, found_sha256)
    again = upload.auto_commit and (found_sha256 is None or upload.declared_sha256 is None)
    upload = change_upload(connection, upload, state=state, expected_sha256=None, auto_commit=again, updated=now)
    events.add_upload_event(
        connection, EventType.UPLOAD_FAILED, upload, now, error=task_error, found_sha256=found_sha256
    )
    for offset in lost:
        unrecord_chunk(connection, upload_id, offset)


def complete_commit(
    connection: Connection, upload_id: str, sha256: str, artifact_id: str, now: datetime, *, generation: int
) -> Artifact:
    """Committing → completed: artifact, link, task and upload. An internal upload is deleted instead."""
    upload = lock_upload(connection, upload_id)
    if upload.epoch != generation:
        raise StaleGeneration
    if upload.state is UploadState.COMPLETED and upload.sha256 == sha256:
        assert upload.artifact_id is not None
        return artifacts.get_artifact(connection, upload.artifact_id)
    state = next_state(upload.state, Event.PUBLISH)
    assert upload.size is not None, "only an upload of a known size is committing"
    if upload.expected_sha256 not in (None, sha256):
        # Reopened and committed anew, while someone was still busy with the commit before.
        raise Conflict("Cannot commit: a commit with another digest is running. Wait for its end.")
    link = artifacts.link(
        connection,
        Artifact(
            id=artifact_id,
            owner=upload.owner,
            sha256=sha256,
            size=upload.size,
            created=now,
            filename=upload.filename,
            media_type=upload.media_type,
            digests=artifacts.others_of(sha256, upload.digests),
        ),
    )
    objects.take_chunks(connection, upload_id, sha256, now)
    tasks.complete_running(connection, upload_id, link.id, now)
    changes = {
        "state": state,
        "artifact_id": link.id,
        "artifact_filename": link.filename,
        "sha256": sha256,
        "completed": now,
        "updated": now,
    }
    if upload.internal:
        upload = replace(upload, **changes)  # type: ignore[arg-type]
        delete_rows(connection, upload_id)
    else:
        upload = change_upload(connection, upload, **changes)
    _tell_completed(connection, upload, now)
    return link


def _tell_completed(connection: Connection, upload: Upload, now: datetime) -> None:
    events.add_upload_event(
        connection, EventType.UPLOAD_COMPLETED, upload, now, artifact=upload.artifact_id, sha256=upload.sha256
    )


def complete_instantly(
    connection: Connection, upload: Upload, sha256: str, task: Task, now: datetime
) -> Artifact | None:
    """Record the upload as completed when its owner has the content, of the size declared, already."""
    link = artifacts.find_link(connection, upload.owner, sha256)
    if link is None or upload.size not in (None, link.size):
        return None
    upload = replace(
        upload,
        state=UploadState.COMPLETED,
        size=link.size,
        artifact_id=link.id,
        artifact_filename=link.filename,
        sha256=sha256,
        completed=now,
        updated=now,
    )
    insert_upload(connection, upload)
    _tell_completed(connection, upload, now)
    tasks.insert_task(connection, replace(task, state=TaskState.COMPLETED, artifact_id=link.id, finished=now))
    return link
