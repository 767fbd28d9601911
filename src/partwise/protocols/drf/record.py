"""The record of an upload, as clients of drf-chunked-upload read it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from partwise.core.records import Upload
from partwise.core.state import UploadState
from partwise.http.dialect import Site

#: Where uploads are begun, and below which they are.
PREFIX = "/drf/"

#: Below which the files are that uploads have become, by the ids of their artifacts.
FILES = f"{PREFIX}files/"

#: The states of an upload.
_UPLOADING, _COMPLETE = 1, 2


def record(site: Site, request: Request, upload: Upload, offset: int) -> dict[str, Any]:
    """The members of an upload; ``offset`` is where a client that sends one chunk behind the other goes on."""
    complete = upload.state is UploadState.COMPLETED
    return {
        "id": upload.id,
        "url": site.absolute(request, f"{PREFIX}{upload.id}/"),
        "file": site.absolute(request, f"{FILES}{upload.artifact_id}/") if upload.artifact_id else None,
        "filename": upload.filename or "",
        "offset": upload.size if complete else offset,
        "created_at": upload.created.isoformat(),
        "status": _COMPLETE if complete else _UPLOADING,
        "completed_at": upload.completed.isoformat() if upload.completed else None,
        "user": upload.owner,
    }
