"""HTTP for the client: keep-alive connections, file bodies, JSON, and errors as exceptions.

urllib3 brings TLS, proxies and the pool; a chunk's bytes go from the page cache to the socket with sendfile(2), which
takes a third less CPU than reading and sending them (docs/decisions/client-transport.md). Over TLS, where the bytes
must be encrypted here, and where a file system cannot, they are read and sent in blocks.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlencode, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import wait_for_write

from partwise import __version__
from partwise.client.errors import AnswerError, CannotReachServer, ClientError, FileChanged, answer_error
from partwise.client.proxies import Proxy, proxy_for
from partwise.client.source import BLOCK, LocalFile, Source
from partwise.client.throttle import RateLimit
from partwise.core.ranges import ByteRange

DEFAULT_PREFIX = "/pulp/api/v3/"
#: Bytes handed to one sendfile call: progress is counted, and a wish to stop is heard, between two of them.
_SEND_BYTES = 4 * BLOCK
#: Seconds in which a connection has to take some bytes.
_SILENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class FilePiece:
    """A part of a request body that is sent straight from a file or from memory."""

    file: Source
    span: ByteRange


class _FileBodies:
    """Mixed into urllib3's connections: sends the `FilePiece` items of an iterable body."""

    sock: Any

    def connect(self) -> None:
        """Connect within the time for that; to send may take longer: urllib3 would have both end after the first."""
        super().connect()  # type: ignore[misc]
        self.sock.settimeout(_SILENCE_SECONDS)

    def send(self, data: Any) -> None:
        if not isinstance(data, FilePiece):
            super().send(data)  # type: ignore[misc]
        elif isinstance(self.sock, ssl.SSLSocket) or not _sendfile(self.sock, data):
            for block in data.file.blocks(data.span):
                self.sock.sendall(block)


class _PlainConnection(_FileBodies, HTTPConnection):
    pass


class _TlsConnection(_FileBodies, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _sendfile(sock: Any, piece: FilePiece) -> bool:
    """Send ``piece`` with sendfile(2). False, with nothing sent, where the file or socket does not support it."""
    file = piece.file
    if not (hasattr(os, "sendfile") and isinstance(sock, socket.socket) and isinstance(file, LocalFile)):
        return False
    offset, end = piece.span.offset, piece.span.end
    while offset < end:
        try:
            count = os.sendfile(sock.fileno(), file.fd, offset, end - offset)
        except BlockingIOError:
            # A socket with a time-out is non-blocking underneath.
            if not wait_for_write(sock, sock.gettimeout()):
                raise TimeoutError("The server accepted no data.") from None
        except OSError as error:
            if offset == piece.span.offset and error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                return False
            if error.errno == errno.EIO:
                raise file.unreadable(error) from error
            raise
        else:
            if count == 0:
                raise FileChanged(f"{file.name} became shorter during the upload. Run the upload again.")
            offset += count
    return True


class Answer(dict[str, Any]):
    """A JSON object of the server. Raises ClientError for a member that it lacks."""

    def __missing__(self, key: str) -> Any:
        raise ClientError(f"The server's answer has no {key!r}. Check that it is a partwise server.")


class Http:
    """The connections to one server. Threads may share it."""

    def __init__(
        self,
        server: str,
        *,
        token: str | None = None,
        connections: int = 16,
        timeout_seconds: float = 60,
        limit: RateLimit | None = None,
    ) -> None:
        """``server`` is a URL; a path in it replaces the standard prefix of the API. Raises ClientError if bad.

        ``limit`` holds for the bytes of files, of all connections together.
        """
        self.limit = limit
        parts = _server_parts(server)
        self.origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.root = parts.path.rstrip("/") + "/" if parts.path.strip("/") else DEFAULT_PREFIX
        self._headers = {"User-Agent": f"partwise/{__version__}", "Accept": "application/json"}
        self._headers |= _authorization(token, parts)
        self._options: dict[str, Any] = {
            # Trying again is for the callers, which know what a request means.
            "retries": False,
            "timeout": urllib3.Timeout(connect=10, read=timeout_seconds),
            "maxsize": connections,
            "block": True,
            "blocksize": BLOCK,
        }
        self._proxy = proxy_for(parts)
        self._pools = _open_pools(self._proxy, self._options)

    def close(self) -> None:
        """Close idle connections; those in use are closed when their request ends."""
        self._pools.clear()

    def url(self, href: str, query: Mapping[str, str | int] | None = None) -> str:
        """The URL of ``href``: site-relative as the server gives it, or relative to the API's root."""
        if href.startswith("//") or "://" in href:
            raise ClientError(f"The server returned a path on another server: {href!r}.")
        path = href if href.startswith("/") else self.root + href
        return self.origin + path + (f"?{urlencode(query)}" if query else "")

    def call(
        self,
        method: str,
        href: str,
        *,
        query: Mapping[str, str | int] | None = None,
        data: Any = None,
    ) -> tuple[int, dict[str, Any]]:
        """One request with a JSON body (or none) and a JSON answer: its status and body. Errors as `request`."""
        headers = {} if data is None else {"Content-Type": "application/json"}
        body = None if data is None else json.dumps(data).encode()
        response = self.request(method, href, query=query, body=body, headers=headers)
        if not response.data:
            return response.status, Answer()
        return response.status, self._json(href, response)

    def _json(self, href: str, response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
        try:
            answer = json.loads(response.data, object_hook=Answer)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ClientError(f"{self.url(href)} did not return JSON. Check that it is a partwise server.")
        return answer

    def put_file(self, href: str, file: Source, span: ByteRange, headers: Mapping[str, str], on_sent: Any) -> None:
        """PUT the bytes of ``span`` as a raw body; ``on_sent(count)`` is called as they go, and may raise to stop."""

        def pieces() -> Iterator[FilePiece]:
            # Small enough that progress shows on a slow line, whose chunks are small.
            step = min(_SEND_BYTES, max(64 * 1024, span.size // 16))
            if self.limit is not None:
                step = min(step, self.limit.piece_bytes)
            for offset in range(span.offset, span.end, step):
                piece = ByteRange(offset, min(step, span.end - offset))
                if self.limit is not None:
                    self.limit.take(piece.size)
                yield FilePiece(file, piece)
                on_sent(piece.size)

        self.request(
            "PUT",
            href,
            body=pieces(),
            headers={**headers, "Content-Type": "application/octet-stream", "Content-Length": str(span.size)},
        )

    def post(self, href: str, body: bytes, content_type: str) -> dict[str, Any]:
        """One POST with a JSON answer, whose body is not slowed down. Errors as `request`."""
        return self._json(href, self.request("POST", href, body=body, headers={"Content-Type": content_type}))

    def request(
        self,
        method: str,
        href: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: bytes | Iterator[FilePiece] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """One request; with ``stream`` the caller reads the body and releases the connection.

        Raises CannotReachServer when there is no connection or it broke, AnswerError for status 400 and above.
        """
        try:
            response = self._pools.request(
                method,
                self.url(href, query),
                body=body,  # type: ignore[arg-type]  # our connections take file pieces
                headers={**self._headers, **(headers or {})},
                preload_content=not stream,
                redirect=False,
            )
            if response.status < 300 or response.status == 304:
                return response
            data = response.data
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(self.origin, self._proxy, error) from error
        raise answer_error(response.status, response.reason or "", data, response.headers)

    def stream(self, href: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """GET a body that the caller reads, and closes; also where the server says that it is somewhere else.

        There the request has no credentials of this server, and no condition: entity tags are another's. Raises what
        `request` does.
        """
        try:
            return self.request("GET", href, headers=headers, stream=True)
        except AnswerError as error:
            place = error.location
            if error.status not in (302, 303, 307, 308) or place is None:
                raise
        parts = urlsplit(urljoin(self.url(href), place))
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError("The server redirected the download without a target.")
        proxy, elsewhere = proxy_for(parts), f"{parts.scheme}://{parts.netloc}"
        kept = {name: value for name, value in headers.items() if name.lower() not in ("authorization", "if-range")}
        pools = _open_pools(proxy, {**self._options, "maxsize": 1})
        try:
            response = pools.request("GET", parts.geturl(), headers=kept, preload_content=False, redirect=False)
            if response.status < 300:
                return response
            data = response.data
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(elsewhere, proxy, error) from error
        raise answer_error(response.status, response.reason or "", data, response.headers)

    def _unreachable(self, origin: str, proxy: Proxy | None, error: Exception) -> CannotReachServer:
        before = isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))
        through = f" through the proxy {proxy.url}" if proxy else ""
        cause = error.__cause__ or error
        return CannotReachServer(
            f"Cannot reach {origin}{through}: {_plainly(error)}.",
            before_request=before,
            unknown_host=isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME,
        )


def is_range_from(begin: int, response: urllib3.BaseHTTPResponse) -> bool:
    """Return whether an answer has the bytes from ``begin`` on (RFC 9110, section 14.4)."""
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == 206 and match is not None and int(match[1]) == begin


def _server_parts(server: str) -> SplitResult:
    """The parts of a server's URL. Raises ClientError if it is none."""
    try:
        parts = urlsplit(server if "://" in server else f"http://{server}")
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port):
            return parts
    except ValueError:
        pass
    # What stands before an @ may be a password.
    shown = server.rpartition("@")[2]
    raise ClientError(f"{shown!r} is not a server address. Write one like http://127.0.0.1:24817.")


def _authorization(token: str | None, server: SplitResult) -> dict[str, str]:
    """The field that opens the server: a token, or name and password in its URL. Raises ClientError."""
    if token:
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise ClientError("The token contains a space, a line end or an invalid character. Copy it again.")
        return {"Authorization": f"Bearer {token}"}
    if server.username is None:
        return {}
    both = f"{unquote(server.username)}:{unquote(server.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}


def _open_pools(proxy: Proxy | None, options: Mapping[str, Any]) -> urllib3.PoolManager:
    if proxy is None:
        pools = urllib3.PoolManager(**options)
    else:
        headers = urllib3.make_headers(proxy_basic_auth=proxy.credentials) if proxy.credentials else None
        pools = urllib3.ProxyManager(proxy.url, proxy_headers=headers, **options)
    pools.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}
    return pools


def _plainly(error: BaseException) -> str:
    """The cause in a few words: urllib3 wraps the system's own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return "it does not speak TLS; perhaps its address begins with http://"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "no answer in time"
    return "the connection was cut" if isinstance(error, urllib3.exceptions.ProtocolError) else str(error)
