"""Chunked upload sessions: create, send parts in any order, list them, commit, abort.

A session is an upload of known size. A part is a chunk whose bytes have the SHA-1 that the client sends with it. The
rows are the truth: the list of parts in a commit is read past, and the SHA-1 of the whole file decides.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from partwise.core.errors import (
    BadBody,
    BadContentRange,
    BadRequest,
    IncompleteUpload,
    NotFound,
    StorageFailed,
)
from partwise.core.numbers import parse_size
from partwise.core.records import TaskState, Upload
from partwise.engine import uploads
from partwise.engine.chunks import put_chunk
from partwise.engine.commit import commit as commit_upload
from partwise.engine.ports import Body
from partwise.engine.whole import digests_of, gaps_of, keep_digests
from partwise.http.dialect import Site
from partwise.http.digests import CheckedBody
from partwise.http.problems import PRECONDITION_FAILED, Refusal
from partwise.http.requests import content_range, parse_members, read_small, refuse_encoding
from partwise.protocols.box import render
from partwise.protocols.box.fields import check_folder, parse_digest, parse_name
from partwise.protocols.box.ids import part_id

#: Seconds that a commit waits for its artifact, and those after which it is to be asked for again.
COMMIT_WAIT, COMMIT_AGAIN = 3600.0, 1

#: The longest list of parts in a commit, in bytes: some 112 for each of MOST_PARTS, with room for attributes.
MAX_COMMIT = 4 << 20

#: Parts of a page, by default and at most.
_PAGE, _LONGEST_PAGE = 1000, render.MOST_PARTS


async def create(site: Site, request: Request) -> Response:
    """Begin a session for a new file."""
    members = parse_members(request, await read_small(site, request))
    for name in ("file_size", "file_name", "folder_id"):
        if name not in members:
            raise BadBody("This field is required.", field=name)
    check_folder(members["folder_id"])
    name = parse_name(members["file_name"], "file_name")
    try:
        size = parse_size(members["file_size"])
    except BadRequest as error:
        error.field = "file_size"
        raise
    notes = {render.PART_SIZE: str(render.part_size(site, size))}
    upload = await uploads.create_upload(
        site.engine, site.who(request), size=size, filename=name, notes=notes, checksums=("sha1",)
    )
    return JSONResponse(render.session(site, request, upload), 201)


async def status(site: Site, request: Request) -> Response:
    """Show a session."""
    return JSONResponse(render.session(site, request, await _session(site, request)))


async def put_part(site: Site, request: Request) -> Response:
    """Receive a part. The same one again changes nothing."""
    refuse_encoding(request)
    place = content_range(request)
    if place.total is None:
        raise BadContentRange("Content-Range needs the size of the file: bytes FIRST-LAST/SIZE.")
    upload = await _session(site, request)
    digests = parse_digest(request.headers.getlist("digest"))
    sha256 = digests.pop("sha256", None)
    body: Body = site.body_of(request, sha256.hex() if sha256 else None)
    for algorithm, digest in digests.items():
        body = CheckedBody(body, algorithm, digest)
    received = await put_chunk(site.engine, site.who(request), upload.id, place.range, body, total=place.total)
    span = received.chunk.range
    part = {"part_id": part_id(span.offset), "offset": span.offset, "size": span.size, "sha1": digests["sha1"].hex()}
    return JSONResponse({"part": part})


async def parts(site: Site, request: Request) -> Response:
    """List the parts that have come, by their place."""
    upload = await _session(site, request)
    offset = window(request, "offset", 0)
    limit = min(window(request, "limit", _PAGE), _LONGEST_PAGE)
    number, entries = 0, []
    async for chunk in uploads.each_chunk(site.engine, site.who(request), upload.id):
        if number >= offset + limit:
            break
        if number >= offset:
            entries.append({"part_id": part_id(chunk.offset), "offset": chunk.offset, "size": chunk.size})
        number += 1
    return JSONResponse(render.page(entries, upload.chunk_count, offset, limit))


async def commit(site: Site, request: Request) -> Response:
    """Make the file, which has the SHA-1 that the client states. Repeated, the answer is the same."""
    expected = parse_digest(request.headers.getlist("digest"))
    upload = await _session(site, request)
    await _read_past(site, request)
    who = site.who(request)
    gaps = await gaps_of(site.engine, who, upload)
    if gaps.count:
        raise IncompleteUpload(gaps.first, gaps.count)
    found = await digests_of(site.engine, upload, expected)
    for algorithm, digest in expected.items():
        if found[algorithm] != digest.hex():
            detail = f"The {algorithm} of the file is {found[algorithm]}, not {digest.hex()}."
            raise Refusal(PRECONDITION_FAILED, f"{detail} The session is as before.")
    task = await commit_upload(site.engine, who, upload.id, found["sha256"], wait=COMMIT_WAIT)
    if task.state is TaskState.RUNNING:
        return Response(status_code=202, headers={"Retry-After": str(COMMIT_AGAIN)})
    if task.state is not TaskState.COMPLETED or task.artifact_id is None:
        raise StorageFailed(task.error or "The file could not be stored; try again.")
    artifact = await keep_digests(site.engine, task.artifact_id, found)
    return JSONResponse(render.files([render.file(artifact)]), 201)


async def abort(site: Site, request: Request) -> Response:
    """Give a session up."""
    upload = await _session(site, request)
    await uploads.delete_upload(site.engine, site.who(request), upload.id)
    return Response(status_code=204)


async def _read_past(site: Site, request: Request) -> None:
    """Receive the list of parts, which nothing is taken from. BadBody when it is longer than MAX_COMMIT."""
    size = 0

    def count(block: memoryview) -> None:
        nonlocal size
        size += len(block)
        if size > MAX_COMMIT:
            raise BadBody(f"The body is longer than {MAX_COMMIT} bytes.")

    refuse_encoding(request)
    await site.body_of(request).drain(count)


def window(request: Request, name: str, default: int) -> int:
    """A number of the query. Raises BadRequest."""
    value = request.query_params.get(name)
    if value is None:
        return default
    try:
        return parse_size(value)
    except BadRequest as error:
        raise BadRequest(f"{name} must be a whole number.", field=name) from error


async def _session(site: Site, request: Request) -> Upload:
    """The upload that the path names. NotFound; one whose size nobody has said yet is no session."""
    upload = await uploads.get_upload(site.engine, site.who(request), request.path_params["session_id"])
    if upload.size is None:
        raise NotFound("upload session")
    return upload
