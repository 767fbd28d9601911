"""Files and the one folder: uploads of one request, the question before one, metadata, downloads, deletion."""

from __future__ import annotations

from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from partwise.core.errors import BadBody, QuotaExceeded
from partwise.core.numbers import parse_size
from partwise.core.records import Artifact
from partwise.engine import artifacts
from partwise.engine.context import check_scope
from partwise.engine.ports import Sink
from partwise.engine.uploads import check_size
from partwise.engine.whole import keep_digests
from partwise.http.dialect import Site
from partwise.http.digests import CheckedBody
from partwise.http.downloads import give
from partwise.http.forms import FormBody, is_form
from partwise.http.problems import PRECONDITION_FAILED, UNSUPPORTED_TYPE, Problem, Refusal
from partwise.http.requests import content_length, content_type, parse_members, read_small, refuse_encoding, single
from partwise.protocols.box import render
from partwise.protocols.box.fields import check_folder, check_parent, parse_content_md5, parse_name
from partwise.protocols.box.ids import artifact_id
from partwise.protocols.box.sessions import window

#: What SDKs call the part of a form that is the file.
_FILE = ("file", "content")

#: Files of a page of the folder, by default and at most.
_PAGE, _LONGEST_PAGE = 100, 1000

_NO_VERSIONS = Problem("no-versions", 403, "Files have no versions", "An artifact never changes. Upload a new file.")


class _File:
    """The file of a form, under the name that its attributes give; its SHA-1 is made as it comes."""

    media_type: str | None = None

    def __init__(self, form: FormBody, filename: str, sha1: bytes | None) -> None:
        self._body = CheckedBody(form, "sha1", sha1)
        self.filename: str | None = filename

    @property
    def sha256(self) -> str | None:
        return self._body.sha256

    @property
    def sha1(self) -> str:
        return self._body.found

    async def drain(self, sink: Sink) -> None:
        await self._body.drain(sink)


async def upload(site: Site, request: Request) -> Response:
    """Make a file of a form: ``attributes`` in JSON, then the file."""
    refuse_encoding(request)
    kind = content_type(request)
    if not is_form(kind):
        raise Refusal(UNSUPPORTED_TYPE, "Send 'attributes' and 'file' in a multipart/form-data body.")
    sha1 = parse_content_md5(single(request, "Content-MD5"))
    form = FormBody(site.body_of(request), kind, file=_FILE)
    await form.begin()
    attributes = _attributes(form.fields.get("attributes"))
    check_parent(attributes)
    body = _File(form, parse_name(attributes.get("name"), "name"), sha1)
    artifact = await artifacts.store_file(site.engine, site.who(request), body, bound=content_length(request))
    # Of the same bytes as the SHA-256, as both were made of what came.
    artifact = await keep_digests(site.engine, artifact.id, {"sha256": artifact.sha256, "sha1": body.sha1})
    return JSONResponse(render.files([render.file(artifact)]), 201)


def _attributes(value: str | None) -> dict[str, object]:
    if value is None:
        raise BadBody("The form needs 'attributes' before the file.", field="attributes")
    try:
        members = from_json(value)
    except ValueError:
        members = None
    if not isinstance(members, dict):
        raise BadBody("'attributes' must be a JSON object.", field="attributes")
    return members


async def preflight(site: Site, request: Request) -> Response:
    """Say whether a file of a size would be taken, and where it is to be sent."""
    members = parse_members(request, await read_small(site, request))
    check_parent(members)
    parse_name(members.get("name"), "name")
    size = parse_size(members.get("size") or 0)
    check_size(site.engine, size)
    quota = await site.engine.catalog.owner_quota(site.who(request).name, site.engine.limits.quota)
    if quota is not None:
        usage = await site.engine.catalog.usage(site.who(request).name)
        if usage.reserved + usage.stored + size > quota:
            raise QuotaExceeded(size, usage.reserved + usage.stored, quota)
    return JSONResponse({"upload_url": site.absolute(request, f"{render.API}files/content"), "upload_token": None})


async def no_versions(_site: Site, _request: Request) -> Response:
    """Refuse a new version of a file."""
    raise Refusal(_NO_VERSIONS)


async def show(site: Site, request: Request) -> Response:
    """Show a file."""
    return JSONResponse(render.file(await _artifact(site, request)))


async def delete(site: Site, request: Request) -> Response:
    """Delete a file."""
    artifact = await _artifact(site, request)
    if request.headers.get("if-match", artifact.sha256).strip('"') != artifact.sha256:
        raise Refusal(PRECONDITION_FAILED, "The file is not the one that If-Match names.")
    await artifacts.delete_artifact(site.engine, site.who(request), artifact.id)
    return Response(status_code=204)


async def content(site: Site, request: Request) -> Response:
    """Tell where a file's bytes are: SDKs read no others than those behind a redirect."""
    artifact = await _artifact(site, request)
    url = site.absolute(request, f"{render.DOWNLOADS}{request.path_params['file_id']}")
    return RedirectResponse(url, 302, {"Cache-Control": "no-store", "ETag": f'"{artifact.sha256}"'})


async def download(site: Site, request: Request) -> Response:
    """Give the bytes of a file."""
    check_scope(site.who(request))
    return await give(site.engine, request, await _artifact(site, request))


async def folder(site: Site, request: Request) -> Response:
    """Show the one folder, with its newest files."""
    check_folder(request.path_params["folder_id"])
    return JSONResponse(render.folder(await _items(site, request, 0, _PAGE)))


async def items(site: Site, request: Request) -> Response:
    """List the files of the one folder, newest first."""
    check_folder(request.path_params["folder_id"])
    limit = min(window(request, "limit", _PAGE), _LONGEST_PAGE)
    return JSONResponse(await _items(site, request, window(request, "offset", 0), limit))


async def me(site: Site, request: Request) -> Response:
    """Say who asks."""
    return JSONResponse(render.user(site.who(request)))


async def _items(site: Site, request: Request, offset: int, limit: int) -> dict[str, object]:
    page = await artifacts.list_artifacts(site.engine, site.who(request), offset=offset, limit=limit)
    return render.page([render.file(artifact) for artifact in page.items], page.count, offset, limit)


async def _artifact(site: Site, request: Request) -> Artifact:
    return await artifacts.get_artifact(site.engine, site.who(request), artifact_id(request.path_params["file_id"]))
