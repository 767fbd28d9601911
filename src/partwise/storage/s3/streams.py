"""Bytes to and from a store, as streams over connections of our own. Every call blocks: it is for worker threads.

A block that comes from a client is sent at once, so that no object is ever whole in memory; the SDKs want a body that
they can read, and read again.

Each object carries a CRC-32 behind its bytes, which the store checks before it keeps the object. That is the form of a
body that AWS calls ``aws-chunked`` with trailing checksums; stores without it answer with the MD5 of what they got.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import select
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange
from partwise.engine.ports import BLOCK
from partwise.storage.s3.address import S3Address
from partwise.storage.s3.failures import failures, reason, refusal

#: Seconds without any progress after which a connection to the store is given up, and that an idle one is kept.
SILENCE_SECONDS, IDLE_SECONDS = 60, 15
#: Idle connections that are kept.
IDLE_CONNECTIONS = 32
#: Tries of a read, which goes on where it broke; writes are the client's to repeat.
READ_TRIES = 3
#: Objects, and bytes of them, that are asked for before the one that is read has ended. What the store sends of them
#: meanwhile waits in the kernel's buffers.
AHEAD_OBJECTS, AHEAD_BYTES = 8, 8 << 20

_UNSIGNED, _TRAILER_FOLLOWS = "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_FRAME = 1 << 20


class Streams:
    """Signed requests for the objects of one bucket."""

    def __init__(
        self, address: S3Address, endpoint: str, region: str, credentials: Any, *, ca_bundle: str | None = None
    ) -> None:
        """``ca_bundle``: a file, or a folder, of the certificates to trust in place of the machine's."""
        self.address = address
        self._region, self._credentials = region, credentials
        self._connections = _Connections(endpoint, ca_bundle)

    def close(self) -> None:
        """Close idle connections."""
        self._connections.close()

    def begin_request(
        self, method: str, key: str, query: dict[str, str], headers: dict[str, str], payload: str = _UNSIGNED
    ) -> http.client.HTTPConnection:
        """Send a signed request's head; ``payload`` says what of the body the signature covers."""
        path = "/" + quote(f"{self.address.bucket}/{self.address.prefix}{key}", safe="/~")
        url = self._connections.base + path + (f"?{urlencode(query)}" if query else "")
        request = AWSRequest(method=method, url=url, headers=headers)
        request.context["payload"] = payload
        _Signer(self._credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
        connection = self._connections.take()
        try:
            connection.putrequest(method, url.removeprefix(self._connections.root), skip_accept_encoding=True)
            for name, value in request.headers.items():
                connection.putheader(name, value)
            connection.endheaders()
        except BaseException:
            connection.close()
            raise
        return connection

    def give_back(self, connection: http.client.HTTPConnection) -> None:
        """Take a connection whose answer was read whole."""
        self._connections.give(connection)


class _Signer(S3SigV4Auth):  # type: ignore[misc]
    """Signs the header fields; what covers the body is said by the request itself."""

    def payload(self, request: AWSRequest) -> str:
        """Return the placeholder for the body in the signature."""
        return str(request.context["payload"])


class Put:
    """An object, or a part of one, on its way. One thread at a time. ``abort`` or ``finish`` ends it."""

    def __init__(self, streams: Streams, key: str, query: dict[str, str], size: int) -> None:
        self._streams, self._left, self._frame = streams, size, 0
        self._crc, self._md5 = 0, None
        headers = {"Content-Type": "application/octet-stream"}
        self._framed = streams.address.checksum == "crc32"
        if self._framed:
            headers |= {
                "Content-Encoding": "aws-chunked",
                "Content-Length": str(_framed_length(size)),
                "X-Amz-Decoded-Content-Length": str(size),
                "X-Amz-Trailer": "x-amz-checksum-crc32",
            }
        else:
            headers["Content-Length"] = str(size)
            self._md5 = hashlib.md5(usedforsecurity=False)
        with failures("write"):
            payload = _TRAILER_FOLLOWS if self._framed else _UNSIGNED
            self._connection = streams.begin_request("PUT", key, query, headers, payload)

    def write(self, block: memoryview) -> None:
        """Send the next bytes. StorageFailed, OutOfSpace; the object is lost then."""
        if self._md5:
            self._md5.update(block)
            self._send(block)
            self._left -= len(block)
            return
        self._crc = zlib.crc32(block, self._crc)
        while len(block):
            if not self._frame:
                self._frame = min(_FRAME, self._left)
                self._send(f"{self._frame:x}\r\n".encode())
            piece = block[: self._frame]
            self._send(piece)
            block = block[len(piece) :]
            self._frame -= len(piece)
            self._left -= len(piece)
            if not self._frame:
                self._send(b"\r\n")

    def finish(self) -> str:
        """Wait until the store confirms all sent bytes. Return the ETag."""
        assert self._left == 0, "all bytes were announced"
        if self._framed:
            self._send(b"0\r\n" + _trailer(self._crc))
        with failures("write"):
            try:
                answer = self._connection.getresponse()
                text = answer.read()
            except BaseException:
                self.abort()
                raise
        if answer.status != 200:
            self.abort()
            raise refusal("write", answer.status, text)
        etag = answer.headers.get("ETag", "")
        if not etag.strip('"') or text.strip():
            # A store answers with an ETag and no body: this came from something else on the way.
            self.abort()
            raise StorageFailed(
                "The object store did not confirm the object: "
                "its response has no ETag, or is a web page. Try again later."
            )
        self._streams.give_back(self._connection)
        if self._md5 and etag.strip('"') != self._md5.hexdigest():
            raise StorageFailed("The object store received different bytes than were sent. Try again.")
        return etag

    def abort(self) -> None:
        """Cut the connection: the store keeps nothing of it."""
        self._connection.close()

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._connection.send(data)
        except OSError as error:
            raise self._explained(error) from error

    def _explained(self, error: OSError) -> Exception:
        """A store that refuses a body answers early and closes: what it says is worth more than the broken pipe."""
        try:
            answer = self._connection.getresponse()
            return refusal("write", answer.status, answer.read())
        except (OSError, http.client.HTTPException):
            return StorageFailed(f"Cannot write: {reason(error)}")
        finally:
            self.abort()


class Reader:
    """A range of an object that is being read. One thread at a time."""

    def __init__(self, streams: Streams, key: str, span: ByteRange) -> None:
        self._streams, self._key, self._span, self._tries = streams, key, span, READ_TRIES
        self._connection: http.client.HTTPConnection | None = None
        self._answer: http.client.HTTPResponse | None = None

    def ask(self) -> None:
        """Send the request, if it is not sent yet. What fails here, ``read`` meets again and tells."""
        with suppress(OSError, http.client.HTTPException, BotoCoreError):
            self._ask()

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` or what is left; empty at the end. A read that breaks goes on where it was."""
        size = min(size, self._span.size)
        if size == 0:
            return b""
        with failures("read"):
            block = self._insist(size)
        self._span = ByteRange(self._span.offset + size, self._span.size - size)
        if self._span.size == 0 and self._connection is not None:
            self._streams.give_back(self._connection)
            self._connection = None
        return block

    def _insist(self, size: int) -> bytes:
        while True:
            try:
                return self._read(size)
            except (OSError, http.client.HTTPException):
                self.close()
                self._tries -= 1
                if self._tries <= 0:
                    raise

    def _ask(self) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = self._streams.begin_request("GET", self._key, {}, {"Range": f"bytes={self._span}"})
        return self._connection

    def _read(self, size: int) -> bytes:
        if self._answer is None:
            answer = self._ask().getresponse()
            if answer.status not in (200, 206) or answer.length != self._span.size or "ETag" not in answer.headers:
                text = answer.read(10_000)
                self.close()
                raise refusal("read", answer.status, text, missing=self._key)
            self._answer = answer
        block = self._answer.read(size)
        if len(block) < size:
            raise http.client.IncompleteRead(block, size - len(block))
        return block

    def close(self) -> None:
        """Give up what is left."""
        connection, self._connection, self._answer = self._connection, None, None
        if connection is not None:
            connection.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_all(streams: Streams, pieces: Iterable[tuple[str, ByteRange]]) -> Generator[bytes]:
    """The bytes of spans (not empty) of objects one behind the other, in blocks. NotFound, StorageFailed.

    The next few are asked for while one is read, so that many small objects do not cost a round trip each. A generator
    that is given up is closed: that closes its connections.
    """
    waiting: deque[tuple[Reader, int]] = deque()
    try:
        for key, span in pieces:
            waiting.append((Reader(streams, key, span), span.size))
            waiting[-1][0].ask()
            while len(waiting) > AHEAD_OBJECTS or sum(size for _, size in waiting) > waiting[0][1] + AHEAD_BYTES:
                yield from _blocks(waiting)
        while waiting:
            yield from _blocks(waiting)
    finally:
        for reader, _ in waiting:
            reader.close()


def _blocks(waiting: deque[tuple[Reader, int]]) -> Iterator[bytes]:
    reader = waiting[0][0]
    while block := reader.read(BLOCK):
        yield block
    waiting.popleft()  # not before: what is given up in between is closed by whoever has the queue


def _trusting(ca_bundle: str | None) -> ssl.SSLContext:
    if ca_bundle is None:
        return ssl.create_default_context()
    if os.path.isdir(ca_bundle):
        return ssl.create_default_context(capath=ca_bundle)
    return ssl.create_default_context(cafile=ca_bundle)


class _Connections:
    """Idle connections to the store's one address."""

    def __init__(self, endpoint: str, ca_bundle: str | None) -> None:
        parts = urlsplit(endpoint)
        self.root = f"{parts.scheme}://{parts.netloc}"
        self.base = self.root + parts.path.rstrip("/")
        self._host, self._port, self._secure = parts.hostname or "", parts.port, parts.scheme == "https"
        self._tls = _trusting(ca_bundle) if self._secure else None
        self._idle: list[tuple[float, http.client.HTTPConnection]] = []
        self._mutex = threading.Lock()
        self._closed = False

    def take(self) -> http.client.HTTPConnection:
        """An idle connection that the store has not closed, or a new one."""
        while True:
            with self._mutex:
                if not self._idle:
                    break
                since, connection = self._idle.pop()
            if time.monotonic() - since < IDLE_SECONDS and not _readable(connection):
                return connection
            connection.close()
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=SILENCE_SECONDS, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=SILENCE_SECONDS)

    def give(self, connection: http.client.HTTPConnection) -> None:
        with self._mutex:
            if connection.sock is not None and len(self._idle) < IDLE_CONNECTIONS and not self._closed:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def close(self) -> None:
        with self._mutex:
            self._closed = True  # one that is in use comes back later
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()


def _readable(connection: http.client.HTTPConnection) -> bool:
    """Return whether an idle connection is readable, which means that it was closed."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _trailer(crc: int) -> bytes:
    return b"x-amz-checksum-crc32:" + base64.b64encode(crc.to_bytes(4, "big")) + b"\r\n\r\n"


def _framed_length(size: int) -> int:
    """The length of a body of ``size`` bytes in frames, with its trailer."""
    whole, rest = divmod(size, _FRAME)
    frames = whole * (len(f"{_FRAME:x}") + 4 + _FRAME) + (len(f"{rest:x}") + 4 + rest if rest else 0)
    return frames + len(b"0\r\n") + len(_trailer(0))
