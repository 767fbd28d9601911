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
    errors.CursorExpired: Problem("cursor-expired", 410, "The events behind the cursor are gone"),
    errors.Denied: Problem("denied", 403, "The application does not allow it"),
    errors.HookFailed: Problem("hook-failed", 503, "The application did not answer"),
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

BAD_HTTP = Problem("bad-http", 400, "Not HTTP", "What came is no HTTP request. The connection is closed.")
BAD_ENCODING = Problem(
    "bad-transfer-encoding", 400, "The Transfer-Encoding is not understood", "The only one understood is chunked."
)
BAD_QUERY = Problem("bad-query", 400, "The query cannot be used", "A query cannot hold a NUL character.")
NOT_SIGNED_IN = Problem("not-signed-in", 401, "A token is needed", "The token is missing, mistyped or revoked.")
ADMINS_ONLY = Problem("admins-only", 403, "For admins", "What concerns all users needs a token made with --admin.")
TICKET_ONLY = Problem(
    "ticket-only", 403, "A ticket opens one upload", "A ticket sends the bytes of its upload, and nothing else."
)
NOT_STARTED = Problem(
    "not-started", 503, "partwise was not started", "The application that partwise is part of did not run its lifespan."
)
FOREIGN_HOST = Problem(
    "foreign-host",
    403,
    "Not a name of this machine",
    "A server without authentication answers only to names of its own machine, such as localhost.",
)
FOREIGN_ORIGIN = Problem(
    "foreign-origin",
    403,
    "Another site made the request",
    "Pages of other sites change nothing: see cors_origins.",
)
FINAL_UPLOAD = Problem(
    "final-upload", 403, "A final upload takes no bytes", "A final upload of tus is made of its parts alone."
)
NO_SUCH_PATH = Problem("no-such-path", 404, "No such path", "The server has nothing at this path.")
METHOD_NOT_ALLOWED = Problem("method-not-allowed", 405, "The path has no such method", "Allow lists those that it has.")
HEADERS_TOO_SLOW = Problem(
    "headers-too-slow", 408, "The header fields did not come in time", "The connection is closed."
)
LENGTH_REQUIRED = Problem("length-required", 411, "The length is needed first", "Send a Content-Length.")
PRECONDITION_FAILED = Problem(
    "precondition-failed", 412, "Not what was meant", "If-Match names another artifact than the one that is here."
)
UNSUPPORTED_VERSION = Problem(
    "unsupported-version", 412, "The protocol's version is not spoken", "Tus-Version lists those that are."
)
BEYOND_LENGTH = Problem(
    "beyond-length", 413, "More than the upload has", "The body of a tus request goes beyond its upload."
)
UNSUPPORTED_TYPE = Problem(
    "unsupported-media-type", 415, "The body's type or encoding is not supported", "Send it as it is."
)
RANGE_NOT_SATISFIABLE = Problem(
    "range-not-satisfiable", 416, "The artifact has no such bytes", "Content-Range tells its size."
)
HEADERS_TOO_LARGE = Problem("headers-too-large", 431, "The header fields are too large", "The connection is closed.")
CHECKSUM_MISMATCH = Problem("checksum-mismatch", 460, "The checksum differs", "Nothing of the tus request was kept.")
BUSY = Problem("busy", 503, "The server is busy", "Try again after Retry-After seconds.")

#: What is refused before the engine is asked, each by its cause. None of them comes from an error of the tree.
REFUSALS = (
    BAD_HTTP,
    BAD_ENCODING,
    BAD_QUERY,
    NOT_SIGNED_IN,
    ADMINS_ONLY,
    TICKET_ONLY,
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
        """Have the problem's type lead to the page of errors where that is: below the path ``base``."""
        if base and self._content["type"].startswith("/"):
            self._content["type"] = base + self._content["type"]
            self.body = self.render(self._content)
            self.headers["content-length"] = str(len(self.body))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, in the way of the dialect that the request is in, and leave a note for logs and figures."""
        scope[PROBLEM], scope[SETTING] = self.problem.name, self.setting
        self.place_below(scope.get(BASE, ""))
        render = scope.get(RENDER)
        if render is None:
            await super().__call__(scope, receive, send)
        else:
            await render(self)(scope, receive, send)


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


def refuse(
    problem: Problem, detail: str = "", headers: Mapping[str, str] | None = None, *, setting: str | None = None
) -> ProblemResponse:
    """The answer for a named problem; ``setting`` names the limit that stood in the way, where one did."""
    return ProblemResponse(problem, _content(problem, detail or problem.text), headers, setting=setting)


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
    if isinstance(error, Refusal):
        content = _content(error.problem, str(error)) | dict(error.members)
        return ProblemResponse(error.problem, content, error.headers)
    if isinstance(error, HTTPException):
        return _render_http(error)
    return render_unexpected(request, error)


def _render_http(error: HTTPException) -> ProblemResponse:
    """What the router raised. ``about:blank`` says no more than the status does (RFC 9457, section 4.2.1)."""
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
