"""The calls of drf-chunked-upload: begin with a chunk, append chunks, complete with a checksum; or all in one request.

A chunk is a form with the part ``file``, and its place is in Content-Range, with the file's size. What came is checked
at the end against the checksum of the whole file that the client states, by any of ``ALGORITHMS``.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from partwise.core.errors import (
    BadBody,
    BadContentRange,
    BodySizeMismatch,
    ChunkOverlap,
    IncompleteUpload,
    NotFound,
    RangeBusy,
    StorageFailed,
    Superseded,
    WrongState,
)
from partwise.core.ranges import ByteRange
from partwise.core.records import Principal, TaskState, Upload
from partwise.engine import uploads
from partwise.engine.artifacts import get_artifact
from partwise.engine.chunks import Early, put_chunk
from partwise.engine.commit import commit
from partwise.engine.context import check_scope
from partwise.engine.whole import digests_of, gaps_of, keep_digests
from partwise.http.dialect import Site
from partwise.http.downloads import give
from partwise.http.forms import FormBody, is_form
from partwise.http.problems import LENGTH_REQUIRED, UNSUPPORTED_TYPE, Problem, Refusal
from partwise.http.requests import (
    content_length,
    content_range,
    content_type,
    parse_members,
    read_small,
    refuse_encoding,
)
from partwise.protocols.drf.record import record

#: Checksums of whole files by the names of their fields: those that servers of this protocol are set up with.
ALGORITHMS = ("md5", "sha1", "sha256", "sha512")

#: The one that is made while the file comes, as it is what clients state. Another costs one more read of the file.
USUAL = ("md5",)

#: Seconds that the request which completes an upload waits for its artifact.
COMMIT_WAIT = 3600.0

#: Uploads that a list has at most, the newest.
MOST_LISTED = 1000

_OFFSETS_DIFFER = Problem("offset-mismatch", 400, "Offsets do not match")
_WRONG_CHECKSUM = Problem("checksum-mismatch", 400, "The checksum does not match")
_NO_CHECKSUM = Problem("checksum-required", 400, "A checksum is required")


async def index(site: Site, request: Request) -> Response:
    """List one's own uploads, the newest first, in a bare list."""
    page = await uploads.list_uploads(site.engine, site.who(request), limit=MOST_LISTED)
    return JSONResponse([record(site, request, upload, upload.received) for upload in page.items])


async def show(site: Site, request: Request) -> Response:
    """Show an upload."""
    upload, offset = await uploads.get_frontier(site.engine, site.who(request), request.path_params["upload_id"])
    return JSONResponse(record(site, request, upload, offset))


async def begin(site: Site, request: Request) -> Response:
    """Begin an upload with its first chunk, whose Content-Range has the size of the file."""
    span, total = _place(request)
    if span.offset:
        raise _offsets_differ(0, span.offset)
    form = _form(site, request)
    upload = await uploads.create_upload(
        site.engine, site.who(request), size=total, media_type=form.media_type, checksums=USUAL
    )
    who = site.act_for_owner(request, upload)
    try:
        received = await put_chunk(site.engine, who, upload.id, span, form, total=total)
        await _name(site, upload, form)
    except BaseException:
        await asyncio.shield(_forget(site, who, upload.id))
        raise
    upload = await uploads.get_upload(site.engine, who, upload.id)
    return JSONResponse(record(site, request, upload, received.chunk.range.end))


async def append(site: Site, request: Request) -> Response:
    """Add a chunk, in any order and also beside others. The same one again changes nothing."""
    span, total = _place(request)
    who, upload_id = site.who(request), request.path_params["upload_id"]
    try:
        await put_chunk(site.engine, who, upload_id, span, _form(site, request), total=total)
    except (ChunkOverlap, RangeBusy, Superseded) as error:
        _upload, offset = await uploads.get_frontier(site.engine, who, upload_id)
        raise _offsets_differ(offset, span.offset) from error
    upload, offset = await uploads.get_frontier(site.engine, who, upload_id)
    return JSONResponse(record(site, request, upload, offset))


async def complete(site: Site, request: Request) -> Response:
    """Complete an upload by the checksum of its file."""
    who, upload_id = site.who(request), request.path_params["upload_id"]
    await uploads.get_upload(site.engine, who, upload_id)
    members = parse_members(request, await read_small(site, request))
    upload = await _completed(site, who, upload_id, {name: str(value) for name, value in members.items()})
    return JSONResponse(record(site, request, upload, upload.size or 0))


async def store(site: Site, request: Request) -> Response:
    """Make a file of one request, with its checksum beside it."""
    length = content_length(request)
    if length is None:
        raise Refusal(LENGTH_REQUIRED)
    form = _form(site, request)
    if length == 0:
        raise BadBody("The submitted file is empty.", field="file")
    upload = await uploads.create_upload(site.engine, site.who(request), size=None, checksums=USUAL)
    who = site.act_for_owner(request, upload)
    try:
        received = await put_chunk(site.engine, who, upload.id, ByteRange(0, length), form, early=Early.ACCEPT)
        await uploads.set_size(site.engine, who, upload.id, received.chunk.size)
        await _name(site, upload, form)
        upload = await _completed(site, who, upload.id, form.fields)
    except BodySizeMismatch as error:
        await asyncio.shield(_forget(site, who, upload.id))
        if error.received == 0:
            raise BadBody("The submitted file is empty.", field="file") from error
        raise
    except BaseException:
        await asyncio.shield(_forget(site, who, upload.id))
        raise
    return JSONResponse(record(site, request, upload, upload.size or 0))


async def download(site: Site, request: Request) -> Response:
    """Give the bytes of a file that has been uploaded."""
    who = site.who(request)
    check_scope(who)
    return await give(site.engine, request, await get_artifact(site.engine, who, request.path_params["artifact_id"]))


def _place(request: Request) -> tuple[ByteRange, int]:
    """Return the range of the chunk, and the size of the file."""
    place = content_range(request)
    if place.total is None:
        raise BadContentRange("Content-Range needs the size of the file: bytes FIRST-LAST/SIZE.")
    return place.range, place.total


def _form(site: Site, request: Request) -> FormBody:
    refuse_encoding(request)
    if not is_form(content_type(request)):
        raise Refusal(UNSUPPORTED_TYPE, "Send the chunk as the part 'file' of a multipart/form-data body.")
    return FormBody(site.body_of(request), content_type(request))


async def _name(site: Site, upload: Upload, form: FormBody) -> None:
    """Give the upload the name that the form has in its field, which may come behind the file.

    One that the application chose before stays.
    """
    filename = form.fields.get("filename")
    if not filename:
        raise BadBody("This field is required.", field="filename")
    if "\0" in filename or len(filename) > 255:
        raise BadBody("A file name has at most 255 characters, and no NUL.", field="filename")
    await site.engine.catalog.set_name(upload.id, upload.filename or filename, None, site.engine.clock())


async def _completed(site: Site, who: Principal, upload_id: str, fields: dict[str, str]) -> Upload:
    """The upload, once its file has the checksum that ``fields`` state. Repeated, the answer is the same."""
    stated = {name: value.strip().lower() for name in ALGORITHMS if (value := fields.get(name))}
    if not stated:
        raise Refusal(_NO_CHECKSUM, "Checksum of type 'md5' is required (or sha1, sha256, sha512).")
    upload = await uploads.get_upload(site.engine, who, upload_id)
    gaps = await gaps_of(site.engine, who, upload)
    if gaps.count:
        missing = [{"offset": gap.offset, "size": gap.size} for gap in gaps.first]
        raise Refusal(_WRONG_CHECKSUM, "checksum does not match: bytes are missing.", members={"missing": missing})
    try:
        found = await digests_of(site.engine, upload, stated)
        if any(found[name] != value for name, value in stated.items()):
            raise Refusal(_WRONG_CHECKSUM, "checksum does not match")
        task = await commit(site.engine, who, upload_id, found["sha256"], wait=COMMIT_WAIT)
    except IncompleteUpload as error:
        raise Refusal(_WRONG_CHECKSUM, "checksum does not match: bytes are missing.") from error
    if task.state is not TaskState.COMPLETED:
        raise StorageFailed(task.error or "The file could not be stored; try again.")
    if task.artifact_id is not None:
        with suppress(NotFound):  # deleted already: the upload is complete all the same
            await keep_digests(site.engine, task.artifact_id, found)
    return await uploads.get_upload(site.engine, who, upload_id)


def _offsets_differ(expected: int, provided: int) -> Refusal:
    members = {"expected_offset": expected, "provided_offset": provided}
    return Refusal(_OFFSETS_DIFFER, "Offsets do not match", members=members)


async def _forget(site: Site, who: Principal, upload_id: str) -> None:
    """Delete an upload whose client never learnt its address."""
    try:
        await uploads.delete_upload(site.engine, who, upload_id)
    except (NotFound, WrongState):
        return
