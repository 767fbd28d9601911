"""The call that gives an artifact's bytes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from partwise.engine.artifacts import get_artifact
from partwise.engine.context import check_scope
from partwise.http.downloads import give
from partwise.protocols.pulp.api import Api


async def download(api: Api, request: Request) -> Response:
    """Give the bytes of an artifact. This is the only call that answers 416: elsewhere ranges are sent, not asked."""
    check_scope(api.who(request))
    artifact = await get_artifact(api.engine, api.who(request), request.path_params["artifact_id"])
    return await give(api.engine, request, artifact)
