"""Calls on uploads: create, list, show, send a chunk, commit, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from partwise.core.content_range import ContentRange
from partwise.core.errors import (
    ArtifactDigestMismatch,
    BadBody,
    BodySizeMismatch,
    ChunkOverlap,
    NotFound,
    StorageFailed,
)
from partwise.core.ranges import ByteRange, Gaps
from partwise.core.records import Chunk, Principal, TaskState, Upload
from partwise.core.state import UploadState
from partwise.engine import chunks, uploads
from partwise.engine.chunks import Early
from partwise.engine.commit import commit
from partwise.engine.copying import CopyRange, copy_ranges
from partwise.engine.ports import Body
from partwise.engine.tickets import make_ticket
from partwise.http.digests import CheckedBody
from partwise.http.downloads import begun
from partwise.http.forms import FormBody, is_form
from partwise.http.problems import ADMINS_ONLY, Refusal, problem_of
from partwise.http.requests import (
    content_digest,
    content_length,
    content_range,
    content_sha512,
    content_type,
    read_list,
    read_model,
    refuse_encoding,
)
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.detail import detail_json
from partwise.protocols.pulp.models import (
    CopiesOut,
    CopiesWanted,
    CopyOut,
    TaskHref,
    UploadCommit,
    UploadCreate,
    UploadCreated,
)
from partwise.protocols.pulp.render import upload_out
from partwise.protocols.pulp.requests import chosen, flag, keeps_partial, numbers, page_window
from partwise.protocols.pulp.responses import JSON, json_response, members_wanted, page_response

#: What a form may be longer than its file, in bytes: boundaries, headers of parts, other fields.
FORM_OVERHEAD = 64 * 1024

#: Seconds that a commit is waited for. Pulp's clients look at the task once a second: a short wait first lets
#: the first look find it completed. The other form answers with the upload itself, so it waits longer.
TASK_WAIT = 0.5
COMMIT_WAIT = 10.0


async def create(api: Api, request: Request) -> Response:
    """Start an upload."""
    wish = await read_model(api, request, UploadCreate)
    who = api.who(request)
    if wish.user not in (None, who.name) and not who.admin:
        raise Refusal(
            ADMINS_ONLY, "Creating uploads for other users needs an admin's token (partwise token create --admin)."
        )
    upload = await uploads.create_upload(
        api.engine,
        who,
        size=wish.size,
        owner=wish.user,
        filename=wish.filename,
        media_type=wish.media_type,
        sha256=wish.sha256,
        metadata=wish.metadata,
        auto_commit=wish.auto_commit,
    )
    out = upload_out(api, upload)
    who = api.act_for_owner(request, upload)
    ticket = await make_ticket(api.engine, who, upload.id) if wish.ticket else None
    created = UploadCreated(**out.model_dump(), **_advice(api), ticket=ticket)
    return json_response(request, created, 201, {"Location": out.pulp_href})


def _advice(api: Api) -> dict[str, int]:
    return {"chunk_size": api.chunk_size, "parallel": api.parallel}


async def index(api: Api, request: Request) -> Response:
    """List uploads, newest first."""
    window = page_window(request)
    page = await uploads.list_uploads(
        api.engine,
        api.who(request),
        offset=window.offset,
        limit=window.limit,
        after=window.after,
        states=chosen(request, "state", UploadState),
        search=request.query_params.get("search", ""),
    )
    return page_response(request, page, partial(upload_out, api))


async def show(api: Api, request: Request) -> Response:
    """Show an upload with its chunks and what is missing, and the SHA-256 of chunks on request.

    ``digests=true`` reads each chunk as it is stored now, or only those that begin ``at`` some offsets; with
    ``digests=recorded`` each has the digest that was made as it came, where one was made, and nothing is read.
    """
    who, upload_id = api.who(request), request.path_params["upload_id"]
    upload = await uploads.get_upload(api.engine, who, upload_id)
    wanted = members_wanted(request)
    gaps = Gaps()
    stored = flag(request, "digests")
    if wanted is None or wanted("chunks"):
        chunks = uploads.each_chunk(api.engine, who, upload_id, gaps)
    else:
        chunks, stored = _no_chunks(), False
        if wanted("missing") or wanted("missing_count"):
            gaps = await uploads.find_gaps(api.engine, who, upload_id)
    if stored:
        chunks = await begun(uploads.with_stored_digests(api.engine, upload_id, chunks, numbers(request, "at")))
    text = detail_json(
        upload_out(api, upload).model_dump(mode="json") | _advice(api),
        chunks,
        gaps,
        digests=stored or request.query_params.get("digests", "").lower() == "recorded",
        wanted=wanted,
    )
    # What takes as long as hashing the file is sent as it comes; else an error could still be the answer.
    return StreamingResponse(text, media_type=JSON) if stored else Response(await _joined(text), media_type=JSON)


async def _no_chunks() -> AsyncIterator[Chunk]:
    chunks: tuple[Chunk, ...] = ()
    for chunk in chunks:
        yield chunk


async def _joined(parts: AsyncIterator[str]) -> str:
    return "".join([part async for part in parts])


async def update(api: Api, request: Request) -> Response:
    """Send a chunk. All that can be refused is refused before the body is asked for (RFC 9110, section 10.1.1).

    With ``Prefer: partial=keep`` what came of a body that is cut is recorded, where the storage writes chunks in place
    and the body is raw and came without a digest.
    """
    target = content_range(request)
    refuse_encoding(request)
    digest, sha512 = content_digest(request), content_sha512(request)
    length = content_length(request)
    span = target.range
    body: Body
    early = Early.REFUSE
    if is_form(content_type(request)):
        body = FormBody(api.body_of(request), content_type(request), digest)
        if length is not None and length > span.size + FORM_OVERHEAD:
            raise BodySizeMismatch(span.size)
    else:
        body = api.body_of(request, digest)
        if length is not None and length != span.size:
            raise BodySizeMismatch(span.size, length)
        if digest is None and sha512 is None and keeps_partial(request) and not api.engine.storage.remote:
            early = Early.KEEP
    if sha512 is not None:
        body = CheckedBody(body, "sha512", sha512)
    return json_response(request, upload_out(api, await _receive(api, request, target, body, early)))


async def _receive(api: Api, request: Request, target: ContentRange, body: Body, early: Early) -> Upload:
    """Receive the body; the upload after it."""
    who, upload_id = api.who(request), request.path_params["upload_id"]
    if early is Early.KEEP:
        try:
            received = await chunks.put_chunk(
                api.engine, who, upload_id, target.range, body, total=target.total, early=early
            )
            return received.upload
        except ChunkOverlap as error:
            if error.chunks != [target.range]:
                raise
            # Nothing of the body was asked for yet. A chunk that is recorded is compared, as without the preference.
    received = await chunks.put_chunk(api.engine, who, upload_id, target.range, body, total=target.total)
    return received.upload


async def commit_task(api: Api, request: Request) -> Response:
    """Commit, and answer with a task to follow."""
    wish = await read_model(api, request, UploadCommit)
    who, upload_id = api.who(request), request.path_params["upload_id"]
    await _declare_size(api, who, upload_id, wish.size)
    task = await commit(api.engine, who, upload_id, wish.sha256, wait=TASK_WAIT)
    # Nothing else in it: Pulp's clients take any other member for a finished result.
    return json_response(request, TaskHref(task=api.href("tasks", task.id)), 202)


async def commit_now(api: Api, request: Request) -> Response:
    """Commit, and answer with the completed upload; with a task when it takes long."""
    wish = await read_model(api, request, UploadCommit)
    who, upload_id = api.who(request), request.path_params["upload_id"]
    await _declare_size(api, who, upload_id, wish.size)
    task = await commit(api.engine, who, upload_id, wish.sha256, wait=COMMIT_WAIT)
    if task.state is TaskState.RUNNING:
        href = api.href("tasks", task.id)
        return json_response(request, TaskHref(task=href), 202, {"Location": href})
    upload = await uploads.get_upload(api.engine, who, upload_id)
    if task.found_sha256 is not None:
        raise ArtifactDigestMismatch(str(wish.sha256 or upload.declared_sha256), task.found_sha256)
    if task.state is not TaskState.COMPLETED:
        raise StorageFailed(task.error or "The commit failed; try again.")
    return json_response(request, upload_out(api, upload))


async def _declare_size(api: Api, who: Principal, upload_id: str, size: int | None) -> None:
    """Fix the size of an upload that was created without one. Raises BadBody when it has another size."""
    if size is None:
        return
    upload = await uploads.get_upload(api.engine, who, upload_id)
    if upload.size is None:
        await uploads.set_size(api.engine, who, upload_id, size)
    elif upload.size != size:
        raise BadBody(f"The upload has {upload.size} bytes, not {size}. Send its size, or none.", field="size")


async def copy(api: Api, request: Request) -> Response:
    """Fill ranges with bytes of your artifacts, and say what became of each."""
    wanted = (await read_list(api, request, CopiesWanted)).root
    ranges = [CopyRange(ByteRange(one.offset, one.size), _artifact_id(api, one.artifact), one.source) for one in wanted]
    upload, results = await copy_ranges(api.engine, api.who(request), request.path_params["upload_id"], ranges)
    out = [
        CopyOut(
            offset=result.span.offset,
            size=result.span.size,
            state=result.state,
            problem=problem_of(result.error).type if result.error else None,
            detail=str(result.error) if result.error else None,
        )
        for result in results
    ]
    return json_response(request, CopiesOut(received=upload.received, ranges=out))


def _artifact_id(api: Api, reference: str) -> str:
    """The id in a path or an id; what is neither is the id of nothing."""
    try:
        return api.id_of("artifacts", reference)
    except NotFound:
        return ""


async def delete(api: Api, request: Request) -> Response:
    """Abort an open upload, or clear a completed one from the list; its artifact stays."""
    await uploads.delete_upload(api.engine, api.who(request), request.path_params["upload_id"])
    return Response(status_code=204)
