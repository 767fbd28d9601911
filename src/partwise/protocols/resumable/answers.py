"""Answers about an upload resource: its state in header fields, interim answers, the final one, and refusals."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from partwise.core.digests import format_digest_field
from partwise.core.errors import ArtifactDigestMismatch, PartwiseError
from partwise.core.records import Upload
from partwise.core.state import UploadState
from partwise.engine.uploads import expires, get_frontier
from partwise.http.dialect import Site
from partwise.http.interim import send_interim
from partwise.http.problems import UNSUPPORTED_TYPE, ProblemResponse, Refusal, render_any
from partwise.protocols.resumable.fields import LENGTH, LIMIT, OFFSET, format_limits, read
from partwise.protocols.resumable.versions import FIELD, Version

#: Where uploads are created, below which they are, and below which the files are that they have become.
PREFIX = "/resumable/"
FILES = f"{PREFIX}files/"

#: The status of interim answers that tell of an upload resource, or of progress.
STATUS, REASON = 104, "Upload Resumption Supported"

#: Types of problems that the draft registers, by our name.
_REGISTERED = "https://iana.org/assignments/http-problem-types#"
_TYPES = ("mismatching-upload-offset", "inconsistent-upload-length", "completed-upload")


def location(site: Site, upload: Upload) -> str:
    """Return the reference of the upload resource: absolute where the server knows its own address."""
    return f"{site.origin or ''}{site.base}{PREFIX}{upload.id}"


def limits(site: Site, version: Version, upload: Upload | None = None) -> dict[str, str]:
    """Return the field with the limits of an upload, or of new ones; none where the draft knows none."""
    if version.lifetime is None:
        return {}
    largest = [
        size for size in (site.engine.limits.max_upload_size, upload.largest if upload else None) if size is not None
    ]
    found = {"max-size": min(largest)} if largest else {}
    age = site.engine.limits.idle_expiry
    if upload is not None:
        age = expires(site.engine, upload) - site.engine.clock()
    found[version.lifetime] = max(0, int(age.total_seconds()))
    return {LIMIT: format_limits(found)}


def state_of(
    site: Site, version: Version, upload: Upload, offset: int, *, complete: bool | None = None
) -> dict[str, str]:
    """Return the fields that tell the state of an upload; ``complete`` None: as its state is."""
    if complete is None:
        complete = upload.state is UploadState.COMPLETED
    fields = {OFFSET: str(offset), **version.complete(complete), **limits(site, version, upload)}
    if upload.size is not None:
        fields[LENGTH] = str(upload.size)
    if upload.sha256 is not None:
        fields["Repr-Digest"] = format_digest_field(upload.sha256)
    return fields


def tell_resource(site: Site, request: Request, version: Version, upload: Upload) -> bool:
    """Tell the client of its upload resource while it sends; return whether that could be told."""
    if version.number is None:
        return False
    fields = {FIELD: str(version.number), "Location": location(site, upload), **limits(site, version, upload)}
    return send_interim(request, STATUS, REASON, fields)


def tell_progress(request: Request, version: Version, offset: int) -> None:
    """Tell the client how much of what it sends is recorded."""
    if version.number is not None and version.progress:
        send_interim(request, STATUS, REASON, {FIELD: str(version.number), OFFSET: str(offset)})


def completed(site: Site, version: Version, upload: Upload, *, conventional: bool = False) -> Response:
    """Return the final answer: what the file has become.

    The one to a ``conventional`` upload says nothing of upload resources.
    """
    content = {
        "file": f"{site.base}{FILES}{upload.artifact_id}",
        "filename": upload.filename,
        "size": upload.size,
        "sha256": upload.sha256,
    }
    fields = {} if conventional else state_of(site, version, upload, upload.size or 0)
    if upload.sha256 is not None:
        fields["Repr-Digest"] = format_digest_field(upload.sha256)
    return JSONResponse(content, 201, {"Location": location(site, upload), **fields})


async def refused(site: Site, request: Request, error: PartwiseError | Refusal) -> Response:
    """Return the answer to a request that failed, with the state of its upload.

    It says that the upload is complete where the file itself was refused: then there is nothing to go on with.
    """
    answer = render_any(request, error)
    version = read(request.headers).version
    created: Upload | None = getattr(request.state, "upload", None)
    upload_id = request.path_params.get("upload_id")
    unfit = isinstance(error, Refusal) and error.problem is UNSUPPORTED_TYPE and upload_id is None
    if created is not None:
        upload_id = created.id
        answer.headers["Location"] = location(site, created)
    answer.headers.update(version.complete(unfit or isinstance(error, ArtifactDigestMismatch)))
    if answer.status_code == 413:
        answer.headers.update(limits(site, version))
    if upload_id is not None and OFFSET not in answer.headers:
        try:
            _upload, offset = await get_frontier(site.engine, site.who(request), upload_id)
        except PartwiseError:
            return answer
        answer.headers[OFFSET] = str(offset)
    return answer


def render(problem: ProblemResponse) -> Response:
    """Return a problem with the type that the draft registers for it, if it does."""
    answer = problem.plain()
    if problem.problem.name not in _TYPES:
        return answer
    content = {**problem.content, "type": f"{_REGISTERED}{problem.problem.name}"}
    headers = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
    return JSONResponse(content, answer.status_code, headers, ProblemResponse.media_type)
