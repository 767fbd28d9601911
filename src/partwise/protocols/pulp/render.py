"""Records as the models that clients read."""

from __future__ import annotations

from partwise.core.events import OutboxEvent
from partwise.core.records import Artifact, Task, TaskState, Upload
from partwise.engine.uploads import expires
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.models import ArtifactOut, EventOut, ProgressReport, TaskOut, UploadOut


def upload_out(api: Api, upload: Upload) -> UploadOut:
    """An upload, without its chunks."""
    return UploadOut(
        pulp_href=api.href("uploads", upload.id),
        prn=f"prn:core.upload:{upload.id}",
        pulp_created=upload.created,
        pulp_last_updated=upload.updated,
        size=upload.size,
        received=upload.received,
        state=upload.state.value,
        user=upload.owner,
        filename=upload.filename,
        media_type=upload.media_type,
        completed=upload.completed,
        expires=expires(api.engine, upload),
        artifact=api.href("artifacts", upload.artifact_id) if upload.artifact_id else None,
        artifact_filename=upload.artifact_filename,
        sha256=upload.sha256,
        metadata=dict(upload.metadata),
    )


def artifact_out(api: Api, artifact: Artifact) -> ArtifactOut:
    """An artifact as its owner sees it."""
    href = api.href("artifacts", artifact.id)
    return ArtifactOut(
        pulp_href=href,
        prn=f"prn:core.artifact:{artifact.id}",
        pulp_created=artifact.created,
        pulp_last_updated=artifact.created,
        file=f"{href}download/",
        size=artifact.size,
        **{**artifact.digests, "sha256": artifact.sha256},
        filename=artifact.filename,
        media_type=artifact.media_type,
        user=artifact.owner,
    )


def event_out(event: OutboxEvent) -> EventOut:
    """An event as the feed and webhooks tell it."""
    return EventOut(
        id=event.id,
        type=event.type.value,
        timestamp=event.created,
        data=dict(event.data),
        cursor=str(event.position),
    )


def task_out(api: Api, task: Task, progress: float) -> TaskOut:
    """A commit; ``progress`` from 0 to 1."""
    failed = task.state is TaskState.FAILED
    return TaskOut(
        pulp_href=api.href("tasks", task.id),
        prn=f"prn:core.task:{task.id}",
        pulp_created=task.created,
        pulp_last_updated=task.finished or task.created,
        state=task.state.value,
        created_by=task.owner,
        unblocked_at=task.created,
        started_at=task.created,
        finished_at=task.finished,
        error={"description": task.error or "The commit failed.", "traceback": ""} if failed else None,
        progress_reports=[
            ProgressReport(
                message="Verifying the file",
                code="commit.verify",
                state=task.state.value,
                total=100,
                done=int(progress * 100),
            )
        ],
        created_resources=[api.href("artifacts", task.artifact_id)] if task.artifact_id else [],
        reserved_resources_record=[api.href("uploads", task.upload_id)],
    )
