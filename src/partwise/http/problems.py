"""The one place that says how each error looks over HTTP: problem details (RFC 9457) with Pulp's keys beside them.

Pulp's clients print what they find under the name of the field at fault (``{"size": ["…"]}``), or under
``non_field_errors`` when it is no member of the body.

What the engine raises is looked up by its class (``PROBLEMS``). What is refused before it comes there has a named
problem of its own cause (``REFUSALS``): raise ``Refusal``, or answer with ``refuse``.
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

#: The path below which a proxy has put the server, in the scope of a request, for the paths that it answers with.
BASE = "partwise.base"

#: What makes the dialect's own answer of a ``ProblemResponse``, in the scope of its requests; see ``dialect.py``.
RENDER = "partwise.render"

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
        return self.name if self.name == "about:blank" else f"{ERRORS_PAGE}#{self.name}"


#: What each class of the tree becomes; a class that is not here is what its base is.
PROBLEMS: Mapping[type[errors.PartwiseError], Problem] = {
    errors.PartwiseError: Problem(
        "internal-error", 500, "Internal error", "The server failed. The operator's log has the details."
    ),
    errors.BadRequest: Problem("bad-request", 400, "Invalid request"),
    errors.BadSize: Problem("bad-size", 400, "Invalid size"),
    errors.BadContentRange: Problem("bad-content-range", 400, "Invalid Content-Range"),
    errors.BadDigest: Problem("bad-digest", 400, "Invalid digest"),
    errors.BadBody: Problem("bad-body", 400, "Invalid body"),
    errors.BodySizeMismatch: Problem("body-size-mismatch", 400, "Body and range differ in size"),
    errors.ChunkDigestMismatch: Problem("chunk-digest-mismatch", 400, "Chunk checksum mismatch"),
    errors.ArtifactDigestMismatch: Problem("artifact-digest-mismatch", 400, "File checksum mismatch"),
    errors.BodyInterrupted: Problem("body-interrupted", 408, "Incomplete body"),
    errors.OutOfScope: Problem("out-of-scope", 403, "Not in the token's scope"),
    errors.NotFound: Problem("not-found", 404, "Not found"),
    errors.CursorExpired: Problem("cursor-expired", 410, "Cursor expired"),
    errors.Denied: Problem("denied", 403, "Refused by the application"),
    errors.HookFailed: Problem("hook-failed", 503, "The application did not decide"),
    errors.Conflict: Problem("conflict", 409, "Conflict"),
    errors.ChunkOverlap: Problem("chunk-overlap", 409, "The range partly overlaps chunks"),
    errors.IncompleteUpload: Problem("incomplete-upload", 409, "Bytes are missing"),
    errors.UnverifiedUpload: Problem("unverified-upload", 409, "Digest required"),
    errors.WrongState: Problem("wrong-state", 409, "Wrong state of the upload"),
    errors.StaleGeneration: Problem("stale-generation", 409, "The upload changed during the request"),
    errors.RangeBusy: Problem("range-busy", 409, "The range is being written"),
    errors.Superseded: Problem("superseded", 409, "Preempted by a newer request"),
    errors.LimitExceeded: Problem("limit-exceeded", 413, "Limit reached"),
    errors.UploadTooLarge: Problem("upload-too-large", 413, "The upload is too large"),
    errors.QuotaExceeded: Problem("quota-exceeded", 413, "Quota exceeded"),
    errors.TooManyUploads: Problem("too-many-uploads", 413, "Too many open uploads"),
    errors.TooManyArtifacts: Problem("too-many-artifacts", 413, "Too many artifacts"),
    errors.TooManyChunks: Problem("too-many-chunks", 413, "Too many chunks"),
    errors.TooManyStreams: Problem("too-many-streams", 429, "Too many event streams"),
    errors.OutOfSpace: Problem("out-of-space", 507, "Out of space"),
    errors.StorageFailed: Problem("storage-failed", 503, "Storage unavailable"),
    errors.SyncFailed: Problem("sync-failed", 503, "Sync to disk failed"),
    errors.BytesLost: Problem("bytes-lost", 500, "Stored bytes were lost"),
}

BAD_HTTP = Problem("bad-http", 400, "Malformed request", "The request is not valid HTTP. The connection is closed.")
BAD_ENCODING = Problem(
    "bad-transfer-encoding", 400, "Unsupported Transfer-Encoding", "The only supported encoding is chunked."
)
BAD_QUERY = Problem("bad-query", 400, "Invalid query", "The query contains a NUL character. Remove it.")
NOT_SIGNED_IN = Problem("not-signed-in", 401, "Not signed in", "Missing, invalid or revoked token.")
ADMINS_ONLY = Problem(
    "admins-only", 403, "Admins only", "The request needs an admin's token (partwise token create --admin)."
)
TOO_MANY_FAILURES = Problem(
    "too-many-failures",
    429,
    "Too many wrong tokens",
    "This address sent too many wrong tokens. Try again in a minute.",
)
TICKET_ONLY = Problem(
    "ticket-only", 403, "Not allowed with a ticket", "A ticket grants access to one upload only. Use a token."
)
NOT_STARTED = Problem(
    "not-started", 503, "Not started", "The application that embeds partwise did not run its lifespan."
)
FOREIGN_HOST = Problem(
    "foreign-host",
    403,
    "Foreign host",
    "A server without authentication accepts only names of its own machine, such as localhost.",
)
FOREIGN_ORIGIN = Problem(
    "foreign-origin",
    403,
    "Foreign origin",
    "Pages of other sites cannot make changes. The setting cors_origins allows them.",
)
FINAL_UPLOAD = Problem(
    "final-upload", 403, "Final upload", "A final tus upload consists of its parts. It accepts no bytes of its own."
)
NO_SUCH_PATH = Problem("no-such-path", 404, "No such path", "The path does not exist.")
METHOD_NOT_ALLOWED = Problem(
    "method-not-allowed", 405, "Method not allowed", "The header field Allow lists the methods of this path."
)
HEADERS_TOO_SLOW = Problem("headers-too-slow", 408, "Header fields too slow", "The connection is closed.")
LENGTH_REQUIRED = Problem("length-required", 411, "Length required", "Send a Content-Length.")
PRECONDITION_FAILED = Problem("precondition-failed", 412, "Precondition failed", "If-Match names another artifact.")
UNSUPPORTED_VERSION = Problem(
    "unsupported-version",
    412,
    "Unsupported protocol version",
    "The header field Tus-Version lists the supported versions.",
)
BEYOND_LENGTH = Problem(
    "beyond-length", 413, "Body exceeds the upload", "The body of a tus request exceeds the upload's length."
)
UNSUPPORTED_TYPE = Problem(
    "unsupported-media-type", 415, "Unsupported type or encoding", "Send the bytes unchanged, without an encoding."
)
RANGE_NOT_SATISFIABLE = Problem(
    "range-not-satisfiable", 416, "Range not satisfiable", "The header field Content-Range gives the artifact's size."
)
HEADERS_TOO_LARGE = Problem("headers-too-large", 431, "Header fields too large", "The connection is closed.")
CHECKSUM_MISMATCH = Problem(
    "checksum-mismatch", 460, "Checksum mismatch", "Nothing of the tus request was kept. Send it again."
)
BUSY = Problem("busy", 503, "The server is busy", "Try again after Retry-After seconds.")

#: What is refused before the engine is asked, each by its cause. None of them comes from an error of the tree.
REFUSALS = (
    BAD_HTTP,
    BAD_ENCODING,
    BAD_QUERY,
    NOT_SIGNED_IN,
    ADMINS_ONLY,
    TICKET_ONLY,
    TOO_MANY_FAILURES,
    NOT_STARTED,
    FOREIGN_HOST,
    FOREIGN_ORIGIN,
    FINAL_UPLOAD,
    NO_SUCH_PATH,
    METHOD_NOT_ALLOWED,
    HEADERS_TOO_SLOW,
    LENGTH_REQUIRED,
    PRECONDITION_FAILED,
    UNSUPPORTED_VERSION,
    BEYOND_LENGTH,
    UNSUPPORTED_TYPE,
    RANGE_NOT_SATISFIABLE,
    HEADERS_TOO_LARGE,
    CHECKSUM_MISMATCH,
    BUSY,
)

#: What the router refuses by itself.
_ROUTING = {problem.status: problem for problem in (NO_SUCH_PATH, METHOD_NOT_ALLOWED)}


class Refusal(Exception):
    """A request is refused for the cause that ``problem`` names; ``detail`` says what to do."""

    def __init__(
        self,
        problem: Problem,
        detail: str = "",
        headers: Mapping[str, str] | None = None,
        *,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        """``members``: what a program needs beside the sentence."""
        super().__init__(detail or problem.text)
        self.problem = problem
        self.headers = headers
        self.members = members or {}


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
        self._content = dict(content)
        self.problem = problem
        self.content = content
        self.setting = setting

    def plain(self) -> JSONResponse:
        """The same answer as problem details, whatever the dialect."""
        return JSONResponse(self.content, self.status_code, dict(self.headers), ProblemResponse.media_type)

    def place_below(self, base: str) -> None:
        """Prefix the problem's type with ``base``, so that it leads to the page of errors."""
        if base and self._content["type"].startswith("/"):
            self._content["type"] = base + self._content["type"]
            self.body = self.render(self._content)
            self.headers["content-length"] = str(len(self.body))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond in the form of the request's dialect, and record the problem for logs and metrics."""
        scope[PROBLEM], scope[SETTING] = self.problem.name, self.setting
        self.place_below(scope.get(BASE, ""))
        render = scope.get(RENDER)
        if render is None:
            await super().__call__(scope, receive, send)
        else:
            await render(self)(scope, receive, send)


def problem_of(error: errors.PartwiseError) -> Problem:
    """Return the HTTP problem of ``error``, by its class or the nearest mapped base class."""
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
    """Return the machine-readable members of a problem: ranges, digests and numbers."""
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


def refuse(
    problem: Problem, detail: str = "", headers: Mapping[str, str] | None = None, *, setting: str | None = None
) -> ProblemResponse:
    """The answer for a named problem; ``setting`` names the limit that stood in the way, where one did."""
    return ProblemResponse(problem, _content(problem, detail or problem.text), headers, setting=setting)


def render_unexpected(request: Request, error: Exception) -> ProblemResponse:
    """The answer for a fault of ours: details go to the log alone."""
    _logger.error("%s %s failed", request.method, _path(request), exc_info=error)
    detail = "The server failed. The operator's log has the details."
    problem = PROBLEMS[errors.PartwiseError]
    return ProblemResponse(problem, _content(problem, detail))


def render_any(request: Request, error: Exception) -> ProblemResponse:
    """The answer for whatever was raised while ``request`` was served."""
    if isinstance(error, errors.StorageFailed):
        # One line: while a storage is away every request says so.
        _logger.error("%s %s: %s (%r)", request.method, _path(request), error, error.__cause__)
    if isinstance(error, errors.PartwiseError):
        return render_error(error)
    if isinstance(error, Refusal):
        content = _content(error.problem, str(error)) | dict(error.members)
        return ProblemResponse(error.problem, content, error.headers)
    if isinstance(error, HTTPException):
        return _render_http(error)
    return render_unexpected(request, error)


def _render_http(error: HTTPException) -> ProblemResponse:
    """Return the response to an error of the router, of type ``about:blank`` (RFC 9457, section 4.2.1)."""
    problem = _ROUTING.get(error.status_code)
    if problem is not None:
        return refuse(problem, headers=error.headers)
    blank = Problem("about:blank", error.status_code, HTTPStatus(error.status_code).phrase)
    return ProblemResponse(blank, _content(blank, error.detail), error.headers)


def _path(request: Request) -> str:
    """The path as it came, percent-encoded: decoded, it could hold what a terminal takes for commands."""
    path: bytes = request.scope.get("raw_path") or b""
    return path.decode("ascii", "replace")


def errors_page() -> str:
    """An HTML page with an anchor for each type of problem, so that a problem's type leads somewhere."""
    rows = [(problem, problem.text or (cls.__doc__ or "").splitlines()[0]) for cls, problem in PROBLEMS.items()]
    rows += [(problem, problem.text) for problem in REFUSALS]
    items = "\n".join(
        f'<dt id="{problem.name}"><code>{problem.name}</code> ({problem.status}): {html.escape(problem.title)}</dt>'
        f"<dd>{html.escape(text.replace('`', ''))}</dd>"
        for problem, text in rows
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Errors of partwise</title></head>\n'
        f"<body><h1>Errors</h1>\n<dl>\n{items}\n</dl></body></html>\n"
    )
