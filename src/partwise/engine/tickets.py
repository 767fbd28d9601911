"""Tickets: an application hands one to a user's browser, where it opens one upload and nothing else.

A ticket has no clock. It goes with its upload, so that none expires in the middle of one.
"""

from __future__ import annotations

import hashlib
import secrets

from partwise.core.records import Principal
from partwise.engine.audit import record_upload
from partwise.engine.context import Context

#: What tickets begin with, so that people and scanners for leaked secrets know them.
PREFIX = "partwise_ticket_"


async def make_ticket(engine: Context, who: Principal, upload_id: str) -> str:
    """Return a new ticket for an upload of ``who``, or of anyone for an admin. It is kept nowhere. NotFound."""
    upload = await engine.owned_upload(who, upload_id)
    secret = PREFIX + secrets.token_urlsafe(32)
    await engine.catalog.create_ticket(upload_id, hashlib.sha256(secret.encode()).hexdigest(), engine.clock())
    record_upload("ticket.created", upload)
    return secret


async def revoke_tickets(engine: Context, who: Principal, upload_id: str) -> None:
    """Let all tickets of an upload open nothing, within some seconds. The upload stays. NotFound."""
    upload = await engine.owned_upload(who, upload_id)
    count = await engine.catalog.revoke_tickets(upload_id)
    record_upload("ticket.revoked", upload, count=count)
