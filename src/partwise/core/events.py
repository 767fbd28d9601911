"""Events: records of what happened to uploads and artifacts, for applications that have to be told.

An event is written in the transaction that made it true. So it exists exactly when that transaction was committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from partwise.core.records import Artifact, Upload


class EventType(StrEnum):
    """The types of events, by the names that receivers see. A name never changes once published."""

    UPLOAD_COMPLETED = "upload.completed"  # the artifact is recorded, and its bytes can be read
    UPLOAD_FAILED = "upload.failed"  # a commit failed; the upload is open again
    UPLOAD_REMOVED = "upload.removed"  # deleted or expired; the artifact of a completed upload stays
    ARTIFACT_DELETED = "artifact.deleted"  # an owner's link was deleted
    ARTIFACT_RELEASED = "artifact.released"  # the file was moved to the application


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEvent:
    """One event. ``data`` holds JSON values alone."""

    #: The same in every delivery: receivers store it to notice repeats.
    id: str
    type: EventType
    #: The user whose upload or artifact it is about.
    owner: str
    created: datetime
    data: Mapping[str, Any]
    #: The position in the feed, without gaps, from 1 on; None until the catalog has assigned it.
    position: int | None = None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in the order of the feed. ``cursor`` is where to go on; ``more``: there may be more behind it now."""

    events: Sequence[OutboxEvent]
    cursor: int
    more: bool


def event_members(event: OutboxEvent) -> dict[str, Any]:
    """Return what receivers see of an event, as JSON values (Standard Webhooks: ``type``, ``timestamp``, ``data``)."""
    timestamp = event.created.isoformat().replace("+00:00", "Z")
    return {"id": event.id, "type": event.type.value, "timestamp": timestamp, "data": dict(event.data)}


def event_json(event: OutboxEvent) -> str:
    """Return ``event_members`` as JSON text."""
    return json.dumps(event_members(event), separators=(",", ":"), ensure_ascii=False)


def upload_event(kind: EventType, event_id: str, upload: Upload, now: datetime, **more: Any) -> OutboxEvent:
    """Return an event about ``upload`` as it is given; ``more`` are further members of its data."""
    data = {
        "upload": upload.id,
        "user": upload.owner,
        "size": upload.size,
        "filename": upload.filename,
        "media_type": upload.media_type,
        "state": upload.state.value,
        "metadata": dict(upload.metadata),
        **more,
    }
    return OutboxEvent(id=event_id, type=kind, owner=upload.owner, created=now, data=data)


def artifact_event(kind: EventType, event_id: str, artifact: Artifact, now: datetime, **more: Any) -> OutboxEvent:
    """Return an event about an owner's link to an artifact."""
    data = {
        "artifact": artifact.id,
        "user": artifact.owner,
        "sha256": artifact.sha256,
        "size": artifact.size,
        "filename": artifact.filename,
        "media_type": artifact.media_type,
        **more,
    }
    return OutboxEvent(id=event_id, type=kind, owner=artifact.owner, created=now, data=data)
