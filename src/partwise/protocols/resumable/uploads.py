"""The requests of resumable uploads: create, retrieve the offset, append, cancel.

An upload is at its contiguous offset, and a request appends there. A newer request ends an older one that still runs,
and what came of that is kept, unless a digest of its content was to be verified. The client says when the upload is
complete. The server notes that before it receives the content, and commits by itself once the last byte is recorded,
also after a restart.
"""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from partwise.core.digests import parse_digest_field
from partwise.core.errors import (
    ArtifactDigestMismatch,
    BadRequest,
    BodySizeMismatch,
    ChunkOverlap,
    NotFound,
    StorageFailed,
    WrongState,
)
from partwise.core.ranges import MAX_SIZE, ByteRange
from partwise.core.records import Upload
from partwise.core.state import UploadState
from partwise.engine import uploads
from partwise.engine.artifacts import get_artifact
from partwise.engine.chunks import Early, put_chunk, settle
from partwise.engine.context import check_scope
from partwise.engine.finish import commit_when_whole, finish
from partwise.engine.ports import Body
from partwise.http.dialect import Site
from partwise.http.digests import CheckedBody
from partwise.http.downloads import give
from partwise.http.problems import UNSUPPORTED_TYPE, Problem, Refusal
from partwise.http.requests import (
    content_digest,
    content_length,
    content_sha512,
    content_type,
    refuse_encoding,
    single,
)
from partwise.protocols.resumable.answers import completed, location, state_of, tell_progress, tell_resource
from partwise.protocols.resumable.fields import OFFSET, PARTIAL, Statement, file_name, media_type, read

#: Seconds that the request which completes an upload waits for its artifact.
FINISH_WAIT = 3600.0

MISMATCHING_OFFSET = Problem("mismatching-upload-offset", 409, "Mismatching upload offset")
INCONSISTENT_LENGTH = Problem("inconsistent-upload-length", 400, "Inconsistent upload length values")
COMPLETED_UPLOAD = Problem("completed-upload", 400, "The upload is completed")


async def create(site: Site, request: Request) -> Response:
    """Create an upload resource, and receive what the request brings of the file.

    A request that does not say whether it is complete is a conventional upload of one request.
    """
    said = read(request.headers)
    _check_content(request)
    announced = content_length(request)
    conventional = said.complete is None
    complete = said.complete is not False
    size = _length(said.length, 0, announced, complete=complete)
    repr_digest = request.headers.getlist("repr-digest")
    upload = await uploads.create_upload(
        site.engine,
        site.who(request),
        size=size,
        filename=file_name(single(request, "Content-Disposition")),
        media_type=media_type(content_type(request)),
        sha256=parse_digest_field(", ".join(repr_digest)) if repr_digest else None,
        auto_commit=complete or (said.version.by_length and size is not None),
        instant=False,
    )
    site.act_for_owner(request, upload)
    told = not conventional and tell_resource(site, request, said.version, upload)
    if told:
        request.state.upload = upload
    try:
        upload, offset = await _receive(site, request, said, upload, 0)
        if complete:
            upload = await _complete(site, request, upload, offset)
        elif upload.auto_commit and offset == upload.size:
            upload = await _finished(site, request, upload)
        else:
            fields = {"Location": location(site, upload), **state_of(site, said.version, upload, offset)}
            return Response(status_code=201, headers=fields)
    except BaseException:
        if not told:  # the client has no address to go on at
            await asyncio.shield(_forget(site, request, upload.id))
        raise
    return completed(site, said.version, upload, conventional=conventional)


async def retrieve(site: Site, request: Request) -> Response:
    """Tell the offset, which the next append may begin at."""
    said = _strictly(read(request.headers))
    upload, offset = await _settled(site, request)
    upload = await finish(site.engine, site.who(request), upload.id, wait=0)
    failed = await _failure(site, upload) is not None
    fields = state_of(site, said.version, upload, offset, complete=True if failed else None)
    return Response(status_code=204, headers={"Cache-Control": "no-store", **fields})


async def append(site: Site, request: Request) -> Response:
    """Append the content. What can be refused is refused before the content is asked for."""
    said, wanted, complete = _read_append(request)
    upload, offset = await _settled(site, request)
    if wanted != offset:
        raise _mismatch(offset, wanted)
    announced = content_length(request)
    if upload.state is not UploadState.OPEN:
        return await _replay(site, request, said, upload, repeated=complete and announced == 0)
    length = _length(said.length, offset, announced, complete=complete, known=upload.size)
    who = site.who(request)
    if upload.size is None and length is not None:
        upload = await uploads.set_size(site.engine, who, upload.id, length)
    if complete or (said.version.by_length and upload.size is not None):
        upload = await commit_when_whole(site.engine, who, upload.id)
    try:
        upload, offset = await _receive(site, request, said, upload, offset)
    except ChunkOverlap:
        _upload, now = await uploads.get_frontier(site.engine, who, upload.id)
        if now == offset:
            raise
        raise _mismatch(now, offset) from None
    if complete:
        return completed(site, said.version, await _complete(site, request, upload, offset))
    if upload.auto_commit and offset == upload.size:  # or an earlier request was to bring the end, and was cut
        return completed(site, said.version, await _finished(site, request, upload))
    return Response(status_code=said.version.appended, headers=state_of(site, said.version, upload, offset))


def _read_append(request: Request) -> tuple[Statement, int, bool]:
    """Return the header fields of an append, its offset, and whether it completes the upload."""
    said = read(request.headers)
    if said.version.typed and content_type(request).partition(";")[0].strip().lower() != PARTIAL:
        raise Refusal(UNSUPPORTED_TYPE, f"The Content-Type is not supported. Send 'Content-Type: {PARTIAL}'.")
    _check_content(request)
    if said.offset is None:
        raise BadRequest("Upload-Offset is missing or not valid. Send the offset that HEAD returns.", field=OFFSET)
    complete = said.version.unsaid if said.complete is None else said.complete
    if complete is None:
        name = said.version.completeness
        raise BadRequest(f"{name} is missing or not valid. Send ?1 with the end of the file, else ?0.", field=name)
    return said, said.offset, complete


async def _settled(site: Site, request: Request) -> tuple[Upload, int]:
    """The upload and its offset, after whoever still writes has left: what came of that counts. NotFound."""
    upload, offset = await settle(site.engine, site.who(request), request.path_params["upload_id"])
    if upload.state is UploadState.DELETING:
        raise NotFound("upload")
    return upload, offset


async def cancel(site: Site, request: Request) -> Response:
    """Remove the upload, and end who still writes. An artifact that it has become already stays."""
    _strictly(read(request.headers))
    await uploads.delete_upload(site.engine, site.who(request), request.path_params["upload_id"])
    return Response(status_code=204)


async def download(site: Site, request: Request) -> Response:
    """Give the bytes of a file that has been uploaded."""
    who = site.who(request)
    check_scope(who)
    return await give(site.engine, request, await get_artifact(site.engine, who, request.path_params["artifact_id"]))


async def _replay(site: Site, request: Request, said: Statement, upload: Upload, *, repeated: bool) -> Response:
    """Answer an append to what is complete: with the final answer again where the request adds nothing."""
    if not repeated:
        raise Refusal(COMPLETED_UPLOAD, "Cannot append: the upload is completed. Create another one.")
    return completed(site, said.version, await _finished(site, request, upload))


def _length(
    stated: int | None, offset: int, announced: int | None, *, complete: bool, known: int | None = None
) -> int | None:
    """Return the length of the file as a request has it; None: nobody knows yet. Raises Refusal when it contradicts.

    ``stated`` is its Upload-Length, ``announced`` its Content-Length.
    """
    end = None if announced is None else offset + announced
    lengths = {length for length in (known, stated, end if complete else None) if length is not None}
    if len(lengths) > 1:
        raise _inconsistent(f"The lengths differ: {', '.join(map(str, sorted(lengths)))} bytes. Send one length.")
    length, end = next(iter(lengths), None), offset if end is None else end
    if length is not None and end > length:
        raise _inconsistent(f"The content ends at byte {end}, beyond the length of {length} bytes. Send fewer bytes.")
    return length


def _check_content(request: Request) -> None:
    """Refuse content that could not be stored as it comes, or not be verified, before anything is done."""
    refuse_encoding(request)
    content_digest(request)
    content_sha512(request)


async def _receive(site: Site, request: Request, said: Statement, upload: Upload, offset: int) -> tuple[Upload, int]:
    """Receive the content at ``offset``; the upload after it, and its new offset."""
    announced = content_length(request)
    end = MAX_SIZE if upload.size is None else upload.size
    if announced is not None:
        end = offset + announced
    body = site.body_of(request, content_digest(request))
    if offset == end:
        if announced is None and await body.first():
            raise await _exceeded(site, request, upload)
        return upload, offset
    # Content that is to be verified is appended whole or not at all.
    sha512 = content_sha512(request)
    early = Early.KEEP if body.sha256 is None and sha512 is None else Early.ACCEPT
    checked: Body = body if sha512 is None else CheckedBody(body, "sha512", sha512)
    on_progress = partial(tell_progress, request, said.version)
    span = ByteRange(offset, end - offset)
    try:
        received = await put_chunk(
            site.engine, site.who(request), upload.id, span, checked, early=early, on_progress=on_progress
        )
    except BodySizeMismatch as error:
        if error.received == 0:
            return upload, offset  # content of unannounced length that was empty
        if error.received is None:
            raise await _exceeded(site, request, upload) from None
        raise
    return received.upload, received.chunk.range.end


async def _exceeded(site: Site, request: Request, upload: Upload) -> Refusal:
    """Content went beyond the length: the upload is invalid from then on, and gone."""
    await _forget(site, request, upload.id)
    return _inconsistent(f"The content exceeds the length of {upload.size} bytes. The upload was removed.")


async def _complete(site: Site, request: Request, upload: Upload, offset: int) -> Upload:
    """Bring an upload whose content came to its end to completion."""
    if upload.size is None:
        upload = await uploads.set_size(site.engine, site.who(request), upload.id, offset)
    elif offset != upload.size:
        raise _inconsistent(f"The content ends at byte {offset}, but the length is {upload.size} bytes. Send the rest.")
    return await _finished(site, request, upload)


async def _finished(site: Site, request: Request, upload: Upload) -> Upload:
    """Wait for the artifact."""
    upload = await finish(site.engine, site.who(request), upload.id, wait=FINISH_WAIT)
    if upload.state is UploadState.COMPLETED:
        return upload
    failure = await _failure(site, upload)
    raise failure or StorageFailed("The file is complete, but not stored yet. Ask for the offset, then complete it.")


async def _failure(site: Site, upload: Upload) -> ArtifactDigestMismatch | None:
    """Return why the file of an open upload was not accepted: its digest is not the one declared at its creation."""
    declared = upload.declared_sha256
    if upload.state is not UploadState.OPEN or declared is None or upload.received != upload.size:
        return None
    task = await site.engine.catalog.find_task(upload.id)
    if task is None or task.found_sha256 is None:
        return None
    return ArtifactDigestMismatch(declared, task.found_sha256)


def _strictly(said: Statement) -> Statement:
    """Refuse a retrieval or a cancellation with fields that belong to an append, where the draft has it so."""
    if said.version.strict and (said.offset, said.complete, said.length) != (None, None, None):
        raise BadRequest(f"{OFFSET}, {said.version.completeness} and Upload-Length belong to appends. Leave them out.")
    return said


def _mismatch(expected: int, provided: int) -> Refusal:
    return Refusal(
        MISMATCHING_OFFSET,
        f"Upload-Offset is {provided}, but the upload is at byte {expected}. Continue from there.",
        {OFFSET: str(expected)},
        members={"expected-offset": expected, "provided-offset": provided},
    )


def _inconsistent(detail: str) -> Refusal:
    return Refusal(INCONSISTENT_LENGTH, detail)


async def _forget(site: Site, request: Request, upload_id: str) -> None:
    try:
        await uploads.delete_upload(site.engine, site.who(request), upload_id)
    except (NotFound, WrongState):
        return  # gone, or committing after all
