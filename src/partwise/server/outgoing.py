"""Requests that this server makes: POST, signed by the Standard Webhooks specification.

Their URLs stand in the operator's settings alone. No user can name a URL, so nobody can make the server send requests
to places of their choice. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from partwise import __version__
from partwise.core.webhooks import parse_secret, signature
from partwise.engine.context import utc_now
from partwise.server.settings import SignedUrl


class PostFailed(Exception):
    """A request got no answer that can be used. The text is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: its header fields in small letters, and the first bytes of its body as far as they were asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class SignedPost:
    """Sends to one URL, from threads of its own, which ``close`` ends.

    ``timeout``: seconds to wait for a connection, and for the next piece of an answer. Whoever waits for the whole sets
    a limit of its own, and cancels.
    """

    def __init__(
        self, target: SignedUrl, *, name: str, threads: int, timeout: float, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._url = urlsplit(target.url)
        self._secrets = [parse_secret(secret.get_secret_value()) for secret in target.secrets]
        self._timeout = timeout
        self._clock = clock
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def send(self, message_id: str, body: bytes, *, most: int = 0) -> Answered:
        """Make one request; with ``most`` read the answer's body, which has at most so many bytes. Raises PostFailed.

        When it is cancelled, the connection is cut.
        """
        connection = self._connection()
        sockets: list[socket.socket] = []
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._threads, self._exchange, connection, sockets, message_id, body, most
            )
        except asyncio.CancelledError:
            for one in sockets:  # the thread may wait for an answer that drips
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            raise

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        sockets: list[socket.socket],
        message_id: str,
        body: bytes,
        most: int,
    ) -> Answered:
        path = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        try:
            connection.connect()
            # The connection forgets it once the head of an answer that ends with the connection was read.
            sockets.append(connection.sock)
            connection.request("POST", path, body, self._fields(message_id, body))
            response = connection.getresponse()
            try:
                content = self._read(response, most) if most else b""
                fields = {name.lower(): value for name, value in response.headers.items()}
                return Answered(response.status, fields, content)
            finally:
                response.close()
        except (OSError, http.client.HTTPException) as error:
            raise PostFailed(self._reason(error)) from error
        finally:
            connection.close()

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"The endpoint did not respond within {self._timeout:g} seconds."
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"The certificate of the endpoint is not valid: {error.verify_message}."
        if isinstance(error, OSError) and error.strerror:
            return f"The endpoint cannot be reached: {error.strerror}."
        return "The endpoint did not respond with HTTP."

    def _read(self, response: http.client.HTTPResponse, most: int) -> bytes:
        content, end = bytearray(), time.monotonic() + self._timeout
        while piece := response.read1(most + 1 - len(content)):
            content += piece
            if len(content) > most:
                raise PostFailed(f"The response has more than {most} bytes.")
            if time.monotonic() > end:
                raise PostFailed(f"The response takes longer than {self._timeout:g} seconds.")
        return bytes(content)

    def _fields(self, message_id: str, body: bytes) -> dict[str, str]:
        timestamp = int(self._clock().timestamp())
        return {
            "Content-Type": "application/json",
            "User-Agent": f"partwise/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._secrets, message_id, timestamp, body),
        }
