"""Calls on artifacts: make one from an upload or a file, list, show, delete. Downloads are in ``download.py``."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from partwise.core.digests import parse_sha256
from partwise.core.errors import ArtifactDigestMismatch, BadBody, WrongState
from partwise.core.records import Artifact
from partwise.core.state import UploadState
from partwise.engine import artifacts
from partwise.engine.ports import Sink
from partwise.engine.uploads import get_upload
from partwise.http.forms import FormBody, agreed, is_form, parse_small_form
from partwise.http.problems import LENGTH_REQUIRED, Refusal
from partwise.http.requests import (
    MAX_SMALL_BODY,
    content_digest,
    content_length,
    content_type,
    form_members,
    parse_members,
    parse_model,
    read_small,
    refuse_encoding,
)
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.models import ArtifactCreate, FileHead
from partwise.protocols.pulp.render import artifact_out
from partwise.protocols.pulp.requests import page_window
from partwise.protocols.pulp.responses import json_response, page_response


async def create(api: Api, request: Request) -> Response:
    """Make an artifact of a completed upload, or of a ``file`` in the form."""
    refuse_encoding(request)
    length = content_length(request)
    if length is None:
        raise Refusal(LENGTH_REQUIRED, "The body's size is missing. Send a Content-Length.")
    if is_form(content_type(request)):
        artifact = await _from_form(api, request, length)
    else:
        members = parse_members(request, await read_small(api, request))
        artifact = await _from_upload(api, request, parse_model(ArtifactCreate, members))
    out = artifact_out(api, artifact)
    return json_response(request, out, 201, {"Location": out.pulp_href})


async def _from_upload(api: Api, request: Request, wish: ArtifactCreate) -> Artifact:
    who = api.who(request)
    upload = await get_upload(api.engine, who, api.id_of("uploads", wish.upload))
    if upload.state is not UploadState.COMPLETED or upload.artifact_id is None or upload.sha256 is None:
        raise WrongState(upload.state.value, "make an artifact")
    if wish.sha256 is not None and wish.sha256 != upload.sha256:
        raise ArtifactDigestMismatch(wish.sha256, upload.sha256)
    return await artifacts.get_artifact(api.engine, who, upload.artifact_id)


async def _from_form(api: Api, request: Request, length: int) -> Artifact:
    """A form too long for memory can only be one with a file; a short one tells which of the two it is."""
    digest = content_digest(request)
    who, kind = api.who(request), content_type(request)
    if length > MAX_SMALL_BODY:
        body = FormBody(api.body_of(request), kind, digest, on_head=_check_head)
        if api.engine.before_create is not None:
            await body.begin()  # the application is told what the file is called
        return await artifacts.store_file(api.engine, who, body, bound=length)
    form = parse_small_form(kind, await read_small(api, request))
    if form.file is None:
        members = form_members(form)
        if "upload" not in members:
            raise BadBody(
                "The source is missing. Send 'upload' with the path of a completed upload, or a 'file'.", field="file"
            )
        return await _from_upload(api, request, parse_model(ArtifactCreate, members))
    if form.fields.get("sha256"):
        digest = agreed(digest, parse_sha256(form.fields["sha256"]))
    _check_head(form.filename, form.media_type)
    small = _Small(form.file, digest, form.filename, form.media_type)
    return await artifacts.store_file(api.engine, who, small, bound=len(form.file))


def _check_head(filename: str | None, media_type: str | None) -> None:
    """Raise BadBody unless the file part's name and type keep to the rules of the same members elsewhere."""
    members: dict[str, object] = {"filename": filename or None, "media_type": media_type or None}
    parse_model(FileHead, members)


class _Small:
    """A file in memory as a body."""

    def __init__(self, content: bytes, sha256: str | None, filename: str | None, media_type: str | None) -> None:
        self._content = content
        self.sha256, self.filename, self.media_type = sha256, filename, media_type

    async def drain(self, sink: Sink) -> None:
        if self._content:
            await asyncio.to_thread(sink, memoryview(self._content))


async def index(api: Api, request: Request) -> Response:
    """List artifacts, newest first; ``sha256`` finds one by its content, ``filename`` those with exactly this name."""
    window = page_window(request)
    sha256 = request.query_params.get("sha256")
    page = await artifacts.list_artifacts(
        api.engine,
        api.who(request),
        sha256=parse_sha256(sha256) if sha256 else None,
        offset=window.offset,
        limit=window.limit,
        after=window.after,
        search=request.query_params.get("search", ""),
        filename=request.query_params.get("filename") or None,
    )
    return page_response(request, page, partial(artifact_out, api))


async def show(api: Api, request: Request) -> Response:
    """Show an artifact."""
    artifact = await artifacts.get_artifact(api.engine, api.who(request), request.path_params["artifact_id"])
    return json_response(request, artifact_out(api, artifact))


async def delete(api: Api, request: Request) -> Response:
    """Give an artifact up; its bytes go with the last owner's."""
    await artifacts.delete_artifact(api.engine, api.who(request), request.path_params["artifact_id"])
    return Response(status_code=204)
