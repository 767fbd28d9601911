"""The call that releases an artifact to the application."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path, PurePosixPath

from starlette.requests import Request
from starlette.responses import Response

from partwise.core.errors import BadBody, Conflict
from partwise.engine.artifacts import get_artifact
from partwise.engine.release import release
from partwise.http.problems import ADMINS_ONLY, Refusal
from partwise.http.requests import read_model
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.models import ArtifactRelease, ReleaseOut
from partwise.protocols.pulp.responses import json_response


async def create(api: Api, request: Request) -> Response:
    """Move the file of an artifact into the server's release folder, for administrators."""
    who = api.who(request)
    if not who.admin:
        await get_artifact(api.engine, who, request.path_params["artifact_id"])  # others' are not there
        raise Refusal(ADMINS_ONLY, "Artifacts are released with a token made with --admin.")
    wish = await read_model(api, request, ArtifactRelease)
    if api.release_folder is None:
        raise Conflict("The server has no release_folder: set it to release artifacts.")
    path = await asyncio.to_thread(_inside, api.release_folder, wish.path)
    released = await release(api.engine, who, request.path_params["artifact_id"], path)
    return json_response(request, ReleaseOut(path=wish.path, size=released.size, sha256=released.sha256))


def _inside(folder: Path, text: str) -> str:
    """The absolute path of a file in an existing folder below ``folder``, links followed. BadBody, Conflict."""
    relative = PurePosixPath(text)
    if relative.is_absolute() or not relative.name or ".." in relative.parts or not text.isprintable():
        raise BadBody("'path' is relative to the release folder, and does not leave it.", field="path")
    root = os.path.realpath(folder)
    parent = os.path.realpath(os.path.join(root, *relative.parts[:-1]))
    if os.path.commonpath((root, parent)) != root:
        raise BadBody("'path' is relative to the release folder, and does not leave it.", field="path")
    if not os.path.isdir(parent):
        raise Conflict("There is no such folder.")
    return os.path.join(parent, relative.name)
