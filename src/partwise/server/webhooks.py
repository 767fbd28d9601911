"""Webhooks: events as POST requests, signed by the Standard Webhooks specification."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from partwise.engine.context import utc_now
from partwise.engine.deliveries import AT_ONCE, Endpoint, Receipt
from partwise.engine.ports import Delivery
from partwise.server.outgoing import PostFailed, SignedPost
from partwise.server.settings import Webhook

#: Seconds to wait for a connection, and for the next piece of the answer's head. A try as a whole has its own limit.
_TIMEOUT_SECONDS = 15.0


class WebhookSender:
    """Sends to one URL. ``close`` ends its threads."""

    def __init__(self, webhook: Webhook, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._post = SignedPost(
            webhook, name=f"webhook-{webhook.name}", threads=AT_ONCE, timeout=_TIMEOUT_SECONDS, clock=clock
        )
        self.endpoint = Endpoint(name=webhook.name, send=self.send, types=webhook.types)
        self.close = self._post.close

    async def send(self, delivery: Delivery) -> Receipt:
        """Make one try. When it is cancelled, the connection is cut."""
        try:  # only the status matters
            answered = await self._post.send(delivery.event_id, delivery.body.encode())
        except PostFailed as error:
            return Receipt(accepted=False, error=str(error))
        status = answered.status
        if 200 <= status < 300:
            return Receipt(accepted=True, status=status)
        wait = _seconds(answered.headers.get("retry-after"), self._clock())
        text = f"The endpoint responded with status {status}."
        return Receipt(accepted=False, status=status, error=text, retry_after=wait, gone=status == http.client.GONE)


def _seconds(retry_after: str | None, now: datetime) -> timedelta | None:
    """The wait that a Retry-After asks for, in either of its forms (RFC 9110, section 10.2.3)."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return timedelta(seconds=min(int(text), 1 << 31))
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
