"""Status of the server, and the documents that describe its API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from partwise import __version__
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.models import LimitsOut, StatusOut, StorageOut, Version
from partwise.protocols.pulp.responses import json_response

#: The version of Pulp's API that this dialect keeps to: its clients refuse servers that they take for older.
PULP_API_VERSION = "3.123.1"


async def show(api: Api, request: Request) -> Response:
    """Show versions, and to those who are signed in the storage and their name too."""
    signed_in = api.signed_in(request)
    # How much room there is after a commit tells whether somebody else has the same content.
    admin = signed_in and api.who(request).admin
    limits = api.engine.limits
    quota = await api.engine.catalog.owner_quota(api.who(request).name, limits.quota) if signed_in else None
    status = StatusOut(
        versions=[
            Version(component="core", version=PULP_API_VERSION, package="partwise", module="partwise"),
            Version(component="partwise", version=__version__, package="partwise", module="partwise"),
        ],
        database_connection={"connected": True},
        storage=await _storage(api) if admin else None,
        user=api.who(request).name if signed_in else None,
        limits=LimitsOut(max_upload_size=limits.max_upload_size, quota=quota) if signed_in else None,
    )
    return json_response(request, status)


async def _storage(api: Api) -> StorageOut:
    space = await api.engine.storage.space()
    return StorageOut(
        total=space.total, used=max(0, space.total - space.free), free=space.free, available=space.available
    )
