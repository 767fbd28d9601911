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
        raise Refusal(ADMINS_ONLY, "Releasing artifacts needs an admin's token (partwise token create --admin).")
    wish = await read_model(api, request, ArtifactRelease)
    if api.release_folder is None:
        raise Conflict(
            "The server cannot release artifacts: the setting release_folder is not set. Ask the operator to set it."
        )
    path = await asyncio.to_thread(_inside, api.release_folder, wish.path)
    released = await release(api.engine, who, request.path_params["artifact_id"], path)
    return json_response(request, ReleaseOut(path=wish.path, size=released.size, sha256=released.sha256))


def _inside(folder: Path, text: str) -> str:
    """The absolute path of a file in an existing folder below ``folder``, links followed. BadBody, Conflict."""
    relative = PurePosixPath(text)
    if relative.is_absolute() or not relative.name or ".." in relative.parts or not text.isprintable():
        raise BadBody("'path' leads out of the release folder. Send a relative path inside it.", field="path")
    root = os.path.realpath(folder)
    parent = os.path.realpath(os.path.join(root, *relative.parts[:-1]))
    if os.path.commonpath((root, parent)) != root:
        raise BadBody("'path' leads out of the release folder. Send a relative path inside it.", field="path")
    if not os.path.isdir(parent):
        raise Conflict("The folder of 'path' does not exist. Create it, or choose another path.")
    return os.path.join(parent, relative.name)
