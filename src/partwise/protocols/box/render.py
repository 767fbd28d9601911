"""The objects of Box's API, with the members that its SDKs read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from partwise.core.records import Artifact, Principal, Upload
from partwise.engine.uploads import expires
from partwise.http.dialect import Site
from partwise.http.problems import ProblemResponse
from partwise.protocols.box.fields import ROOT
from partwise.protocols.box.ids import file_id, user_id

#: Below which the API is, for calls and for bytes alike; and the path of downloads.
PREFIX, API = "/box/", "/box/2.0/"
DOWNLOADS = f"{PREFIX}dl/"
SESSIONS = f"{API}files/upload_sessions"

#: The note of an upload that has the size of its parts.
PART_SIZE = "box-part-size"

#: The most parts of a session, where its size allows that. SDKs list no more.
MOST_PARTS = 10_000

#: Problems by what Box calls them, with its status; all others go by their status.
_CODES = {
    "quota-exceeded": (403, "storage_limit_exceeded"),
    "upload-too-large": (403, "storage_limit_exceeded"),
    "too-many-uploads": (403, "storage_limit_exceeded"),
    "too-many-artifacts": (403, "storage_limit_exceeded"),
    "chunk-digest-mismatch": (412, "precondition_failed"),
    # A twin of the request goes on. SDKs give up at 409, and send the part again at 503.
    "range-busy": (503, "unavailable"),
    "superseded": (503, "unavailable"),
    "stale-generation": (503, "unavailable"),
    "incomplete-upload": (400, "bad_request"),
}
_BY_STATUS = {
    400: "bad_request",
    401: "unauthorized",
    403: "access_denied_insufficient_permissions",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    412: "precondition_failed",
    503: "unavailable",
}


def problem(response: ProblemResponse) -> Response:
    """A problem as Box tells one."""
    status = response.status_code
    status, code = _CODES.get(response.problem.name, (status, _BY_STATUS.get(status, "error")))
    left_out = {"type", "title", "status", "detail"}
    context = {name: value for name, value in response.content.items() if name not in left_out}
    content = {"type": "error", "status": status, "code": code, "message": response.content["detail"]}
    headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    if status == 503:
        headers.setdefault("retry-after", "1")
    return JSONResponse(content | {"context_info": context}, status, headers)


def part_size(site: Site, size: int) -> int:
    """The bytes of a part of a new session: the advised ones, or more where there would be too many parts."""
    part = site.chunk_size
    while -(-size // part) > MOST_PARTS:
        part *= 2
    return part


def session(site: Site, request: Request, upload: Upload) -> dict[str, Any]:
    """An upload as a session. One of another protocol has the parts that a new one would have."""
    size = upload.size or 0
    part = int(upload.notes.get(PART_SIZE) or part_size(site, size))
    url = site.absolute(request, f"{SESSIONS}/{upload.id}")
    return {
        "id": upload.id,
        "type": "upload_session",
        "part_size": part,
        "total_parts": -(-size // part),
        "num_parts_processed": upload.chunk_count,
        "session_expires_at": _time(expires(site.engine, upload)),
        "session_endpoints": {
            "upload_part": url,
            "status": url,
            "abort": url,
            "list_parts": f"{url}/parts",
            "commit": f"{url}/commit",
        },
    }


def file(artifact: Artifact) -> dict[str, Any]:
    """An artifact as a file; its SHA-1 where that is known."""
    content = {
        "type": "file",
        "id": file_id(artifact.id),
        "name": artifact.filename or artifact.id,
        "etag": artifact.sha256,
        "sequence_id": "0",
        "size": artifact.size,
        "created_at": _time(artifact.created),
        "modified_at": _time(artifact.created),
        "item_status": "active",
        "parent": {"type": "folder", "id": ROOT, "name": "All Files"},
    }
    sha1 = artifact.digests.get("sha1")
    return content if sha1 is None else content | {"sha1": sha1}


def files(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The list that an upload is answered with."""
    return {"total_count": len(entries), "entries": list(entries)}


def page(entries: Sequence[dict[str, Any]], count: int, offset: int, limit: int) -> dict[str, Any]:
    """One page of a list."""
    return {"total_count": count, "entries": list(entries), "offset": offset, "limit": limit}


def folder(items: dict[str, Any]) -> dict[str, Any]:
    """The one folder."""
    return {"type": "folder", "id": ROOT, "name": "All Files", "etag": None, "item_collection": items}


def user(who: Principal) -> dict[str, Any]:
    """Return the authenticated user."""
    return {"type": "user", "id": user_id(who.name), "name": who.name, "login": who.name}


def _time(time: datetime) -> str:
    return time.replace(microsecond=0).isoformat()
