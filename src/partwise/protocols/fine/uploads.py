"""The calls of Fine Uploader: a chunk or a file, the end of a file, its deletion, and the list at a page's start.

Chunks come in any order and several at once. The file is committed by itself with its last byte, so that clients with
and without a success endpoint are served alike.
"""

from __future__ import annotations

from contextlib import suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from partwise.core.errors import BadBody, NotFound
from partwise.core.records import Upload
from partwise.core.state import UploadState
from partwise.engine import uploads
from partwise.engine.artifacts import delete_artifact
from partwise.engine.chunks import put_chunk
from partwise.engine.finish import finish, open_named
from partwise.engine.ports import Body
from partwise.http.dialect import Site
from partwise.http.forms import FormBody, is_form
from partwise.http.problems import Problem, Refusal
from partwise.http.requests import content_length, content_type, parse_members, read_small, refuse_encoding
from partwise.protocols.fine.params import Params, parse, upload_id

#: Seconds that a request with bytes waits for the artifact, and that the success endpoint does: for the second the
#: client waits as long as it takes, and believes its answer.
FINISH_WAIT, DONE_WAIT = 10.0, 3600.0

#: Files of a list at a page's start, at most.
MOST_LISTED = 1000

#: Under which note an upload has the client's own name of it.
_UUID = "qquuid"

_START_OVER = Problem("start-over", 404, "The upload has to begin anew")


async def post(site: Site, request: Request) -> Response:
    """Whatever the endpoint is sent: bytes, or with ``?done`` the end of a file, or ``_method=DELETE``."""
    if "done" in request.query_params:
        return await done(site, request)
    refuse_encoding(request)
    members = dict(request.query_params)
    kind = content_type(request)
    body: Body
    if is_form(kind):
        form = FormBody(site.body_of(request), kind, file="qqfile")
        await form.begin()
        members |= form.fields
        body = form
    elif "qqtotalfilesize" in members:
        body = site.body_of(request)
    else:
        return await _small(site, request)
    return await _receive(site, request, parse(members), body)


async def _small(site: Site, request: Request) -> Response:
    members = await _members(site, request)
    if members.get("_method", "").upper() != "DELETE":
        raise BadBody(
            "The file is missing. Send it as the part 'qqfile' of a form, or send '_method=DELETE' to delete a file."
        )
    return await _delete(site, request, members.get("qquuid", ""))


async def _receive(site: Site, request: Request, wish: Params, body: Body) -> Response:
    """Take the bytes; with the last of them the file is made."""
    engine, who = site.engine, site.who(request)
    id_ = upload_id(who.name, wish.uuid)
    if wish.resumed:
        await _known(site, request, id_)
    notes = {_UUID: wish.uuid}
    upload = await open_named(engine, who, id_, size=wish.total, filename=wish.filename, notes=notes)
    if upload.size != wish.total:
        raise _start_over(f"The upload was begun with {upload.size} bytes, not with {wish.total}.")
    if upload.state is UploadState.OPEN:
        await put_chunk(engine, who, id_, wish.span, body, total=wish.total)
        upload = await finish(engine, who, id_, wait=FINISH_WAIT)
    return _success(site, upload)


async def done(site: Site, request: Request) -> Response:
    """The client has sent all parts: answer once the file is there. The client looks at the status alone."""
    members = await _members(site, request)
    who = site.who(request)
    id_ = upload_id(who.name, members.get("qquuid", ""))
    await _known(site, request, id_)
    upload = await finish(site.engine, who, id_, wait=DONE_WAIT)
    if upload.state is not UploadState.COMPLETED:
        raise _start_over(f"{upload.received} of {upload.size} bytes are there.")
    return _success(site, upload)


async def delete(site: Site, request: Request) -> Response:
    """Delete a file, whether it is still on its way or an artifact."""
    return await _delete(site, request, request.path_params["uuid"])


async def _delete(site: Site, request: Request, name: str) -> Response:
    who = site.who(request)
    id_ = upload_id(who.name, name)
    upload = await uploads.get_upload(site.engine, who, id_)
    if upload.artifact_id is not None:
        with suppress(NotFound):  # it was deleted otherwise
            await delete_artifact(site.engine, who, upload.artifact_id)
    await uploads.delete_upload(site.engine, who, id_)
    return JSONResponse({"success": True})


async def session(site: Site, request: Request) -> Response:
    """List the files that this dialect's clients have uploaded, for a page that shows them again."""
    page = await uploads.list_uploads(
        site.engine, site.who(request), limit=MOST_LISTED, states=(UploadState.COMPLETED.value,)
    )
    known = [upload for upload in page.items if _UUID in upload.notes]
    return JSONResponse(
        [{"name": upload.filename or "", "uuid": upload.notes[_UUID], "size": upload.size} for upload in known]
    )


async def _known(site: Site, request: Request, id_: str) -> None:
    """Make a client restart an upload that no longer exists. Otherwise it would skip the chunks that it once sent."""
    try:
        await uploads.get_upload(site.engine, site.who(request), id_)
    except NotFound:
        raise _start_over("The server does not have this upload any more.") from None


async def _members(site: Site, request: Request) -> dict[str, str]:
    if content_length(request) == 0:
        return dict(request.query_params)
    members = parse_members(request, await read_small(site, request))
    return dict(request.query_params) | {name: str(value) for name, value in members.items()}


def _success(site: Site, upload: Upload) -> Response:
    content: dict[str, object] = {"success": True}
    if upload.artifact_id is not None:
        content["artifact"] = f"{site.base}{site.api_prefix}artifacts/{upload.artifact_id}/"
        content["sha256"] = upload.sha256
    return JSONResponse(content)


def _start_over(detail: str) -> Refusal:
    return Refusal(_START_OVER, detail, members={"reset": True})
