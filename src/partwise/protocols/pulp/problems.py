"""The one place that says how each error looks over HTTP: problem details (RFC 9457) with Pulp's keys beside them.

Pulp's clients print what they find under the name of the field at fault (``{"size": ["…"]}``), or under
``non_field_errors`` when it is no member of the body.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from partwise.core import errors
from partwise.core.ranges import ByteRange

#: The name of the problem that a request was answered with, in its scope.
PROBLEM = "partwise.problem"
#: And the name of the setting that stood in the way, where a limit did.
SETTING = "partwise.setting"

#: Where the types of problems are explained; each has its name as the fragment.
ERRORS_PAGE = "/docs/errors"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """One type of problem. ``name`` never changes once published; ``status`` is that of HTTP."""

    name: str
    status: int
    title: str
    #: What the page of errors says beside it; by default what the error's class says of itself.
    text: str = ""

    @property
    def type(self) -> str:
        """The problem's type, a relative URI reference."""
        return f"{ERRORS_PAGE}#{self.name}"


#: What each class of the tree becomes; a class that is not here is what its base is.
PROBLEMS: Mapping[type[errors.PartwiseError], Problem] = {
    errors.PartwiseError: Problem(
        "internal-error", 500, "The server failed", "A fault of the server. The operator's log says more."
    ),
    errors.BadRequest: Problem("bad-request", 400, "The request is wrong"),
    errors.BadSize: Problem("bad-size", 400, "Not a size"),
    errors.BadContentRange: Problem("bad-content-range", 400, "Not a usable Content-Range"),
    errors.BadDigest: Problem("bad-digest", 400, "Not a SHA-256"),
    errors.BadBody: Problem("bad-body", 400, "The body cannot be read"),
    errors.BodySizeMismatch: Problem("body-size-mismatch", 400, "The body does not fill its range"),
    errors.ChunkDigestMismatch: Problem("chunk-digest-mismatch", 400, "The chunk's digest differs"),
    errors.ArtifactDigestMismatch: Problem("artifact-digest-mismatch", 400, "The file's digest differs"),
    errors.BodyInterrupted: Problem("body-interrupted", 408, "The body did not come whole"),
    errors.NotFound: Problem("not-found", 404, "Not found"),
    errors.Conflict: Problem("conflict", 409, "Not possible now"),
    errors.ChunkOverlap: Problem("chunk-overlap", 409, "The range overlaps chunks in part"),
    errors.IncompleteUpload: Problem("incomplete-upload", 409, "Bytes are missing"),
    errors.UnverifiedUpload: Problem("unverified-upload", 409, "The file's digest is needed"),
    errors.WrongState: Problem("wrong-state", 409, "The upload's state does not allow it"),
    errors.StaleGeneration: Problem("stale-generation", 409, "The upload was changed meanwhile"),
    errors.RangeBusy: Problem("range-busy", 409, "The range is being written"),
    errors.Superseded: Problem("superseded", 409, "A newer request took over"),
    errors.LimitExceeded: Problem("limit-exceeded", 413, "A limit of the server is reached"),
    errors.UploadTooLarge: Problem("upload-too-large", 413, "The upload is too large"),
    errors.QuotaExceeded: Problem("quota-exceeded", 413, "The quota has no room for it"),
    errors.TooManyUploads: Problem("too-many-uploads", 413, "Too many open uploads"),
    errors.TooManyArtifacts: Problem("too-many-artifacts", 413, "Too many artifacts"),
    errors.TooManyChunks: Problem("too-many-chunks", 413, "Too many chunks"),
    errors.OutOfSpace: Problem("out-of-space", 507, "The server has no room"),
    errors.StorageFailed: Problem("storage-failed", 503, "The storage failed"),
    errors.SyncFailed: Problem("sync-failed", 503, "The storage could not bring bytes to its disk"),
    errors.BytesLost: Problem("bytes-lost", 500, "The storage lost bytes"),
}

#: What HTTP itself refuses, by status.
HTTP_PROBLEMS: Mapping[int, Problem] = {
    problem.status: problem
    for problem in (
        Problem("bad-http", 400, "Not HTTP", "What came is no HTTP request. The connection is closed."),
        Problem("not-signed-in", 401, "A token is needed", "The token is missing, mistyped or revoked."),
        Problem("forbidden", 403, "Not allowed", "The server does not do this for who asks, or from where they ask."),
        Problem("no-such-path", 404, "No such path", "The server has nothing at this path."),
        Problem("method-not-allowed", 405, "The path has no such method", "Allow lists those that it has."),
        Problem("headers-too-slow", 408, "The header fields did not come in time", "The connection is closed."),
        Problem("length-required", 411, "The length is needed first", "Send the request with a Content-Length."),
        Problem("precondition-failed", 412, "Not what was meant", "If-Match names another artifact, or tus a version."),
        Problem("beyond-length", 413, "More than the upload has", "The body of a tus request goes beyond its upload."),
        Problem("unsupported-media-type", 415, "The body's type or encoding is not supported", "Send it as it is."),
        Problem("range-not-satisfiable", 416, "The artifact has no such bytes", "Content-Range tells its size."),
        Problem("headers-too-large", 431, "The header fields are too large", "The connection is closed."),
        Problem("busy", 503, "The server is busy", "Try again after Retry-After seconds."),
        Problem("checksum-mismatch", 460, "The checksum differs", "Nothing of the tus request was kept."),
    )
}

#: Members of request bodies, under whose names Pulp's clients look for messages.
_MEMBERS = frozenset({"size", "sha256", "file", "upload", "filename", "media_type"})


class ProblemResponse(JSONResponse):
    """An answer of type ``application/problem+json``."""

    media_type = "application/problem+json"

    def __init__(
        self,
        problem: Problem,
        content: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        setting: str | None = None,
    ) -> None:
        super().__init__(content, problem.status, headers)
        self.problem = problem
        self.setting = setting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and leave a note for logs and figures."""
        scope[PROBLEM], scope[SETTING] = self.problem.name, self.setting
        await super().__call__(scope, receive, send)


def problem_of(error: errors.PartwiseError) -> Problem:
    """What ``error`` is over HTTP: by its class, or the nearest base that is mapped."""
    return next(PROBLEMS[cls] for cls in type(error).__mro__ if cls in PROBLEMS)


def render_error(error: errors.PartwiseError) -> ProblemResponse:
    """The answer for an error of the tree."""
    problem = problem_of(error)
    content = _content(problem, str(error))
    field = getattr(error, "field", None)
    if field is not None:
        content["field"] = field
    if isinstance(error, errors.BadRequest):
        content[field if field in _MEMBERS else "non_field_errors"] = [str(error)]
    content |= _particulars(error)
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return ProblemResponse(problem, content, headers, setting=error.setting)


def _particulars(error: errors.PartwiseError) -> dict[str, Any]:
    """What a program needs to go on: the ranges, digests and numbers that the sentence is about."""
    match error:
        case errors.ChunkOverlap():
            return {"chunks": _ranges(error.chunks), "count": error.count}
        case errors.IncompleteUpload():
            return {"missing": _ranges(error.missing), "count": error.count}
        case errors.ChunkDigestMismatch() | errors.ArtifactDigestMismatch():
            return {"expected": error.expected, "actual": error.actual}
        case errors.BodySizeMismatch():
            return {"expected": error.expected, "received": error.received}
        case errors.WrongState():
            return {"state": str(error.state)}
        case errors.LimitExceeded():
            return {"limit": error.limit}
    return {}


def _ranges(ranges: Sequence[ByteRange]) -> list[dict[str, int]]:
    return [{"offset": span.offset, "size": span.size} for span in ranges[:100]]


def _content(problem: Problem, detail: str) -> dict[str, Any]:
    return {"type": problem.type, "title": problem.title, "status": problem.status, "detail": detail}


def render_http(
    status: int, detail: str, headers: Mapping[str, str] | None = None, *, setting: str | None = None
) -> ProblemResponse:
    """The answer for what HTTP itself refuses; ``setting`` names the limit that stood in the way, where one did."""
    problem = HTTP_PROBLEMS.get(status) or Problem("about:blank", status, HTTPStatus(status).phrase)
    content = _content(problem, detail)
    if status not in HTTP_PROBLEMS:
        content["type"] = "about:blank"
    return ProblemResponse(problem, content, headers, setting=setting)


def render_unexpected(request: Request, error: Exception) -> ProblemResponse:
    """The answer for a fault of ours: details go to the log alone."""
    _logger.error("%s %s failed", request.method, _path(request), exc_info=error)
    detail = "The server failed; its log says more."
    problem = PROBLEMS[errors.PartwiseError]
    return ProblemResponse(problem, _content(problem, detail))


def render_any(request: Request, error: Exception) -> ProblemResponse:
    """The answer for whatever was raised while ``request`` was served."""
    if isinstance(error, errors.StorageFailed):
        # One line: while a storage is away every request says so.
        _logger.error("%s %s: %s (%r)", request.method, _path(request), error, error.__cause__)
    if isinstance(error, errors.PartwiseError):
        return render_error(error)
    if isinstance(error, HTTPException):
        detail = error.detail
        if error.status_code in (404, 405) and detail == HTTPStatus(error.status_code).phrase:
            detail = HTTP_PROBLEMS[error.status_code].text
        return render_http(error.status_code, detail, error.headers)
    return render_unexpected(request, error)


def _path(request: Request) -> str:
    """The path as it came, percent-encoded: decoded, it could hold what a terminal takes for commands."""
    path: bytes = request.scope.get("raw_path") or b""
    return path.decode("ascii", "replace")


def errors_page() -> str:
    """An HTML page with an anchor for each type of problem, so that a problem's type leads somewhere."""
    rows = [(problem, problem.text or (cls.__doc__ or "").splitlines()[0]) for cls, problem in PROBLEMS.items()]
    rows += [(problem, problem.text) for problem in HTTP_PROBLEMS.values()]
    items = "\n".join(
        f'<dt id="{problem.name}"><code>{problem.name}</code> ({problem.status}): {html.escape(problem.title)}</dt>'
        f"<dd>{html.escape(text.replace('`', ''))}</dd>"
        for problem, text in rows
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Errors of partwise</title></head>\n'
        f"<body><h1>Errors</h1>\n<dl>\n{items}\n</dl></body></html>\n"
    )
