"""Calls on the tickets of an upload."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from partwise.engine import tickets
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.models import TicketOut
from partwise.protocols.pulp.responses import json_response


async def create(api: Api, request: Request) -> Response:
    """Make a ticket for an upload: a secret that opens it and nothing else."""
    secret = await tickets.make_ticket(api.engine, api.who(request), request.path_params["upload_id"])
    return json_response(request, TicketOut(ticket=secret), 201, {"Cache-Control": "no-store"})


async def revoke(api: Api, request: Request) -> Response:
    """Revoke all tickets of an upload."""
    await tickets.revoke_tickets(api.engine, api.who(request), request.path_params["upload_id"])
    return Response(status_code=204)
