"""The methods of tus on uploads: create, ask for the offset, append, terminate, concatenate; and read what came of one.

An upload is at its *frontier*: the end of the bytes that have come without a gap from the start. A request appends
there and nowhere else. What came of one that was cut is kept, unless a checksum was to be checked. When the last byte
has come the server commits the upload by itself; partial uploads wait to be made into a final one.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from partwise.core.digests import format_digest_field
from partwise.core.errors import (
    BadRequest,
    BadSize,
    BodySizeMismatch,
    ChunkDigestMismatch,
    Conflict,
    NotFound,
    WrongState,
)
from partwise.core.ranges import MAX_SIZE, ByteRange
from partwise.core.records import Principal, Upload
from partwise.core.state import UploadState
from partwise.engine import uploads
from partwise.engine.artifacts import get_artifact
from partwise.engine.chunks import Early, put_chunk, settle
from partwise.engine.context import check_scope
from partwise.engine.engine import Engine
from partwise.engine.finish import concatenate, finish
from partwise.engine.ports import Body
from partwise.http.dialect import Site
from partwise.http.digests import CheckedBody
from partwise.http.downloads import give
from partwise.http.problems import BEYOND_LENGTH, CHECKSUM_MISMATCH, FINAL_UPLOAD, UNSUPPORTED_TYPE, Refusal
from partwise.http.requests import content_length, content_type, refuse_encoding
from partwise.protocols.tus.fields import (
    ALGORITHMS,
    Checksum,
    file_of,
    format_time,
    parse_checksum,
    parse_concat,
    parse_deferred,
    parse_metadata,
    parse_number,
)

#: Seconds that the request with the last byte waits for the artifact, and that of a final upload for its bytes too.
#: What takes longer goes on by itself.
FINISH_WAIT = 10.0

#: Where uploads are created, and below which they are.
PREFIX = "/tus/"

_BYTES = "application/offset+octet-stream"

#: What is given back as it came, by the name of its field and in the upload's notes.
_METADATA, _CONCAT = "Upload-Metadata", "Upload-Concat"


async def create(tus: Site, request: Request) -> Response:
    """Start an upload, with its first bytes if the request has some; or make one of partial uploads."""
    fields = request.headers
    parts = parse_concat(fields.get(_CONCAT), tus.base + PREFIX)
    metadata = parse_metadata(fields.get(_METADATA, ""))
    notes = {name: fields[name] for name in (_METADATA, _CONCAT) if name in fields}
    filename, media_type = file_of(metadata)
    who = tus.who(request)
    if parts:
        if "Upload-Length" in fields or "Upload-Defer-Length" in fields:
            raise BadRequest("A final upload has no Upload-Length: it is the sum of its parts'.", field="Upload-Length")
        upload = await concatenate(tus.engine, who, parts, filename=filename, media_type=media_type, notes=notes)
        upload = await finish(tus.engine, who, upload.id, wait=FINISH_WAIT)
        return _created(tus, upload, None)
    length, deferred = parse_number(fields, "Upload-Length"), parse_deferred(fields)
    if (length is None) is not deferred:
        raise BadRequest(
            "The upload's length is missing. Send either Upload-Length or 'Upload-Defer-Length: 1'.",
            field="Upload-Length",
        )
    has_body = content_length(request) != 0
    if has_body:
        _require_bytes(request)
    checksum = parse_checksum(fields, ALGORITHMS)
    upload = await uploads.create_upload(
        tus.engine,
        who,
        size=length,
        filename=filename,
        media_type=media_type,
        notes=notes,
        auto_commit=parts is None,
        part=parts is not None,
    )
    who = tus.act_for_owner(request, upload)
    offset = 0
    if has_body:
        try:
            upload, offset = await _append(tus, request, upload, 0, checksum)
        except BaseException:
            # The client has no address to go on at.
            await _forget(tus.engine, who, upload.id)
            raise
    upload = await _finished(tus.engine, who, upload, offset)
    return _created(tus, upload, offset if has_body or _is_bytes(request) else None)


async def _forget(engine: Engine, who: Principal, upload_id: str) -> None:
    try:
        await uploads.delete_upload(engine, who, upload_id)
    except (NotFound, WrongState):
        return  # someone else was quicker


def _created(tus: Site, upload: Upload, offset: int | None) -> Response:
    headers = {"Location": f"{tus.base}{PREFIX}{upload.id}"} | _expiry(tus, upload)
    if offset is not None:
        headers["Upload-Offset"] = str(offset)
    return Response(status_code=201, headers=headers)


async def head(tus: Site, request: Request) -> Response:
    """Tell where to go on; the digest, when all is there. Whoever still writes there is asked to leave first."""
    who, upload_id = tus.who(request), request.path_params["upload_id"]
    upload = await uploads.get_upload(tus.engine, who, upload_id)
    if _is_final(upload):
        offset = upload.received if upload.state is UploadState.OPEN else upload.size or 0
        joined = offset == upload.size
    else:
        upload, offset = await settle(tus.engine, who, upload_id)
        joined = True
    upload = await finish(tus.engine, who, upload_id, wait=0)
    headers = {"Cache-Control": "no-store"} | _expiry(tus, upload)
    if joined:  # a final upload has no offset before
        headers["Upload-Offset"] = str(offset)
    if upload.size is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(upload.size)
    if upload.sha256 is not None:
        headers["Repr-Digest"] = format_digest_field(upload.sha256)
    headers |= {name: upload.notes[name] for name in (_METADATA, _CONCAT) if name in upload.notes}
    return Response(headers=headers)


async def patch(tus: Site, request: Request) -> Response:
    """Append bytes. All that can be refused is refused before the body is asked for."""
    fields = request.headers
    _require_bytes(request)
    offset, length = parse_number(fields, "Upload-Offset"), parse_number(fields, "Upload-Length")
    if offset is None:
        raise BadRequest("Upload-Offset is missing. Send the offset that HEAD returns.", field="Upload-Offset")
    checksum = parse_checksum(fields, ALGORITHMS)
    who, upload_id = tus.who(request), request.path_params["upload_id"]
    upload, frontier = await uploads.get_frontier(tus.engine, who, upload_id)
    if _is_final(upload):
        raise Refusal(
            FINAL_UPLOAD,
            "Cannot append to a final upload: it consists of its parts. Send the bytes to a partial upload.",
        )
    if offset != frontier:
        raise Conflict(f"Upload-Offset is {offset}, but the upload is at byte {frontier}. Continue from there.")
    if length is not None:
        _check_within(offset, content_length(request), length)
        upload = await _declare(tus.engine, who, upload, length)
    upload, offset = await _append(tus, request, upload, offset, checksum)
    upload = await _finished(tus.engine, who, upload, offset)
    return Response(status_code=204, headers={"Upload-Offset": str(offset)} | _expiry(tus, upload))


async def get(tus: Site, request: Request) -> Response:
    """Give the bytes of an upload that is complete. No part of tus, but what its clients' own tests do."""
    who = tus.who(request)
    upload = await uploads.get_upload(tus.engine, who, request.path_params["upload_id"])
    if upload.artifact_id is None:
        raise WrongState(upload.state.value, "read")
    check_scope(who)
    return await give(tus.engine, request, await get_artifact(tus.engine, who, upload.artifact_id))


async def delete(tus: Site, request: Request) -> Response:
    """Terminate an upload. An artifact that it has become already stays."""
    await uploads.delete_upload(tus.engine, tus.who(request), request.path_params["upload_id"])
    return Response(status_code=204)


async def _declare(engine: Engine, who: Principal, upload: Upload, length: int) -> Upload:
    """Fix a length that was deferred; once said it does not change."""
    if upload.size is None:
        return await uploads.set_size(engine, who, upload.id, length)
    if upload.size != length:
        raise BadSize(
            f"The upload's length is already declared as {upload.size} bytes. Send the same length, or none.",
            field="Upload-Length",
        )
    return upload


async def _append(
    tus: Site, request: Request, upload: Upload, offset: int, checksum: Checksum | None
) -> tuple[Upload, int]:
    """Receive the request's body at ``offset``; the upload after it, and its new offset."""
    refuse_encoding(request)
    announced = content_length(request)
    end = MAX_SIZE if upload.size is None else upload.size
    if announced is not None:
        _check_within(offset, announced, end)
        end = offset + announced
    if offset == end:
        return upload, offset
    span = ByteRange(offset, end - offset)
    try:
        # Bytes that were to be checked and cannot be are not kept.
        early = Early.KEEP if checksum is None else Early.ACCEPT
        received = await put_chunk(
            tus.engine, tus.who(request), upload.id, span, _body(tus, request, checksum), early=early
        )
    except ChunkDigestMismatch:
        detail = "Checksum mismatch. Nothing was kept. Send the bytes again."
        raise Refusal(CHECKSUM_MISMATCH, detail) from None
    except BodySizeMismatch as error:
        if error.received == 0:
            return upload, offset  # a body of unannounced length that was empty
        raise
    return received.upload, received.chunk.range.end


def _check_within(offset: int, announced: int | None, end: int) -> None:
    if announced and offset + announced > end:
        raise Refusal(
            BEYOND_LENGTH, f"The body exceeds the upload's length of {end} bytes. Nothing was kept. Send fewer bytes."
        )


def _body(tus: Site, request: Request, checksum: Checksum | None) -> Body:
    if checksum is None:
        return tus.body_of(request)
    if checksum.algorithm == "sha256":
        return tus.body_of(request, checksum.digest.hex())
    return CheckedBody(tus.body_of(request), checksum.algorithm, checksum.digest)


async def _finished(engine: Engine, who: Principal, upload: Upload, offset: int) -> Upload:
    """The upload, committed if that was its last byte."""
    if offset == upload.size:
        return await finish(engine, who, upload.id, wait=FINISH_WAIT)
    return upload


def _is_bytes(request: Request) -> bool:
    return content_type(request).partition(";")[0].strip().lower() == _BYTES


def _require_bytes(request: Request) -> None:
    if not _is_bytes(request):
        raise Refusal(UNSUPPORTED_TYPE, f"The Content-Type is not supported. Send 'Content-Type: {_BYTES}'.")


def _is_final(upload: Upload) -> bool:
    return upload.notes.get(_CONCAT, "").startswith("final")


def _expiry(tus: Site, upload: Upload) -> dict[str, str]:
    """Return when an unfinished upload expires."""
    if upload.completed is not None:
        return {}
    return {"Upload-Expires": format_time(uploads.expires(tus.engine, upload))}
