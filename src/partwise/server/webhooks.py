"""Webhooks: events as POST requests, signed by the Standard Webhooks specification.

Endpoints stand in the operator's settings alone. No user can name a URL, so nobody can make the server send requests
to places of their choice.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from partwise import __version__
from partwise.core.webhooks import parse_secret, signature
from partwise.engine.context import utc_now
from partwise.engine.deliveries import AT_ONCE, Endpoint, Receipt
from partwise.engine.ports import Delivery
from partwise.server.settings import Webhook

#: Seconds to wait for a connection, and for the next piece of the answer's head. A try as a whole has its own limit.
_TIMEOUT_SECONDS = 15.0


class WebhookSender:
    """Sends to one URL. ``close`` ends its threads."""

    def __init__(self, webhook: Webhook, clock: Callable[[], datetime] = utc_now) -> None:
        self._url = urlsplit(webhook.url)
        self._secrets = [parse_secret(secret.get_secret_value()) for secret in webhook.secrets]
        self._clock = clock
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"webhook-{webhook.name}")
        self.endpoint = Endpoint(name=webhook.name, send=self.send, types=webhook.types)

    async def send(self, delivery: Delivery) -> Receipt:
        """Make one try. Redirects are not followed. When it is cancelled, the connection is cut."""
        connection = self._connection()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._exchange, connection, delivery)
        except asyncio.CancelledError:
            if connection.sock is not None:  # the thread may wait for an answer that drips
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            raise

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)

    def _exchange(self, connection: http.client.HTTPConnection, delivery: Delivery) -> Receipt:
        path = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        body = delivery.body.encode()
        try:
            connection.request("POST", path, body, self._fields(delivery, body))
            response = connection.getresponse()
            status, retry_after = response.status, response.headers.get("Retry-After")
            response.close()  # what it says beside the status interests nobody
        except (OSError, http.client.HTTPException) as error:
            return Receipt(accepted=False, error=f"{type(error).__name__}: {error}"[:500])
        finally:
            connection.close()
        if 200 <= status < 300:
            return Receipt(accepted=True, status=status)
        wait = _seconds(retry_after, self._clock())
        text = f"The receiver answered {status}."
        return Receipt(accepted=False, status=status, error=text, retry_after=wait, gone=status == http.client.GONE)

    def _fields(self, delivery: Delivery, body: bytes) -> dict[str, str]:
        timestamp = int(self._clock().timestamp())
        return {
            "Content-Type": "application/json",
            "User-Agent": f"partwise/{__version__}",
            "webhook-id": delivery.event_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secrets, delivery.event_id, timestamp, body),
        }


def _seconds(retry_after: str | None, now: datetime) -> timedelta | None:
    """The wait that a Retry-After asks for, in either of its forms (RFC 9110, section 10.2.3)."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdecimal():
        return timedelta(seconds=min(int(text), 1 << 31))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
