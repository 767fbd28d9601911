"""One bucket of an S3-compatible store: objects are sent and read as streams, in blocking calls for worker threads.

Bytes go over connections of our own: a block that comes from a client is sent at once, so that no object is ever whole
in memory; the SDKs want a body that they can read, and read again. Everything else (credentials, signatures, listing,
multipart) is botocore's.

Each object carries a CRC-32 behind its bytes, which the store checks before it keeps the object. That is the form of a
body that AWS calls ``aws-chunked`` with trailing checksums; stores without it answer with the MD5 of what they got.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import select
import ssl
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from partwise.core.errors import NotFound, OutOfSpace, StorageFailed
from partwise.core.ranges import ByteRange
from partwise.engine.ports import BLOCK, Sink

#: Seconds without any progress after which a connection to the store is given up, and that an idle one is kept.
SILENCE_SECONDS, IDLE_SECONDS = 60, 15
#: Idle connections that are kept.
IDLE_CONNECTIONS = 32
#: Tries of a read, which goes on where it broke; writes are the client's to repeat.
READ_TRIES = 3
#: Parts of one multipart upload, at most.
MAX_PARTS = 10_000

_UNSIGNED, _TRAILER_FOLLOWS = "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_FRAME = 1 << 20
_NO_ROOM = {"XMinioStorageFull", "InsufficientCapacity", "QuotaExceeded", "InsufficientStorage"}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """Where a bucket is, as its URL says. Credentials are found as by all AWS tools: environment, files, machine."""

    bucket: str
    #: What all keys begin with: empty, or ending with a slash.
    prefix: str = ""
    #: None: AWS itself.
    endpoint: str | None = None
    region: str | None = None
    #: How the store checks what it gets: "crc32" (behind the bytes) or "md5" (by the ETag of its answer).
    checksum: str = "crc32"

    @classmethod
    def parse(cls, url: str) -> S3Address:
        """From ``s3://BUCKET/PREFIX?endpoint=URL&region=NAME&checksum=crc32|md5``. ValueError."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        known = {"endpoint", "region", "checksum"}
        if parts.scheme != "s3" or not parts.hostname or not options.keys() <= known:
            raise ValueError("The storage's URL must read s3://BUCKET/PREFIX?endpoint=URL&region=NAME&checksum=crc32.")
        if options.get("checksum", "crc32") not in ("crc32", "md5"):
            raise ValueError("The storage's checksum must be crc32 or md5.")
        if "endpoint" in options and urlsplit(options["endpoint"]).scheme not in ("http", "https"):
            raise ValueError("The storage's endpoint must be an http:// or https:// URL.")
        prefix = parts.path.strip("/")
        return cls(bucket=parts.netloc, prefix=f"{prefix}/" if prefix else "", **options)


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, or an unfinished multipart upload, as a listing shows it."""

    key: str
    size: int
    modified: datetime
    upload: str | None = None


class _Signer(S3SigV4Auth):  # type: ignore[misc]
    """Signs the header fields; what covers the body is said by the request itself."""

    def payload(self, request: AWSRequest) -> str:
        """What stands for the body in the signature."""
        return str(request.context["payload"])


class Bucket:
    """Objects by key, below the address's prefix. Every method blocks, and may run on several threads at once."""

    def __init__(self, address: S3Address) -> None:
        self.address = address
        session = Session()
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 4, "mode": "standard"},
            connect_timeout=10,
            read_timeout=SILENCE_SECONDS,
            max_pool_connections=IDLE_CONNECTIONS,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            self._client: Any = session.create_client(
                "s3", endpoint_url=address.endpoint, region_name=address.region or "us-east-1", config=config
            )
            self._credentials: Any = session.get_credentials()
        except (BotoCoreError, ValueError) as error:
            raise StorageFailed(f"The object store cannot be used: {error}.") from error
        if self._credentials is None:
            raise StorageFailed("There are no credentials for the object store: set AWS_ACCESS_KEY_ID and its secret.")
        self._region = self._client.meta.region_name
        self._connections = _Connections(self._client.meta.endpoint_url)

    def close(self) -> None:
        """Close idle connections."""
        self._connections.close()
        self._client.close()

    def check(self) -> None:
        """Find out whether the bucket is there and may be used. StorageFailed."""
        with _failures("look at the bucket"):
            self._client.list_objects_v2(Bucket=self.address.bucket, Prefix=self.address.prefix, MaxKeys=1)

    # bytes

    def put(self, key: str, size: int, *, upload: str | None = None, part: int = 0) -> Put:
        """Begin to send an object of ``size`` bytes, or a part of a multipart upload."""
        query = {} if upload is None else {"partNumber": str(part), "uploadId": upload}
        return Put(self, key, query, size)

    def read(self, key: str, span: ByteRange, sink: Sink) -> None:
        """Give ``span`` (not empty) of an object to ``sink``, in blocks. NotFound, StorageFailed."""
        with self.open(key, span) as reader:
            while block := reader.read(BLOCK):
                sink(memoryview(block))

    def open(self, key: str, span: ByteRange) -> Reader:
        """Begin to read ``span`` (not empty) of an object."""
        return Reader(self, key, span)

    # multipart uploads

    def begin(self, key: str) -> str:
        """Begin a multipart upload; its id."""
        with _failures("begin an object"):
            return str(self._client.create_multipart_upload(**self._place(key))["UploadId"])

    def copy(self, key: str, upload: str, part: int, source: str, span: ByteRange) -> str:
        """Make a part of bytes that another object has, inside the store; the part's ETag."""
        origin = {"Bucket": self.address.bucket, "Key": self.address.prefix + source}
        with _failures("copy within the store"):
            answer = self._client.upload_part_copy(
                **self._place(key), UploadId=upload, PartNumber=part, CopySource=origin, CopySourceRange=f"bytes={span}"
            )
        return str(answer["CopyPartResult"]["ETag"])

    def complete(self, key: str, upload: str, etags: list[str]) -> None:
        """Make one object of all parts."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        with _failures("complete an object"):
            self._client.complete_multipart_upload(
                **self._place(key), UploadId=upload, MultipartUpload={"Parts": parts}
            )

    def abort(self, key: str, upload: str) -> None:
        """Give up a multipart upload. Idempotent."""
        with _failures("give up an object"):
            try:
                self._client.abort_multipart_upload(**self._place(key), UploadId=upload)
            except ClientError as error:
                if _status(error) != 404:
                    raise

    # the rest

    def size(self, key: str) -> int:
        """An object's size. NotFound."""
        with _failures("look at an object"):
            return int(self._client.head_object(**self._place(key))["ContentLength"])

    def delete(self, key: str) -> None:
        """Delete an object. Idempotent."""
        with _failures("delete an object"):
            self._client.delete_object(**self._place(key))

    def list(self, below: str = "") -> Iterator[Listed]:
        """Objects whose key begins with ``below``."""
        pages = self._client.get_paginator("list_objects_v2")
        with _failures("list objects"):
            for page in pages.paginate(Bucket=self.address.bucket, Prefix=self.address.prefix + below):
                for item in page.get("Contents", ()):
                    yield Listed(self._relative(item["Key"]), item["Size"], item["LastModified"])

    def list_unfinished(self, below: str = "") -> Iterator[Listed]:
        """Multipart uploads that were begun and not completed."""
        pages = self._client.get_paginator("list_multipart_uploads")
        with _failures("list unfinished objects"):
            for page in pages.paginate(Bucket=self.address.bucket, Prefix=self.address.prefix + below):
                for item in page.get("Uploads", ()):
                    yield Listed(self._relative(item["Key"]), 0, item["Initiated"], item["UploadId"])

    def presign(self, key: str, seconds: int, headers: Mapping[str, str]) -> str:
        """A URL that anyone may GET the object with for so long; ``headers`` are what the answer shall say."""
        names = {"Content-Type": "ResponseContentType", "Content-Disposition": "ResponseContentDisposition"}
        wanted = {names[name]: value for name, value in headers.items() if name in names}
        parameters = self._place(key) | wanted
        return str(self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds))

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self.address.bucket, "Key": self.address.prefix + key}

    def _relative(self, key: str) -> str:
        return key.removeprefix(self.address.prefix)

    # one request by hand

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


class Put:
    """An object, or a part of one, on its way. One thread at a time. ``abort`` or ``finish`` ends it."""

    def __init__(self, bucket: Bucket, key: str, query: dict[str, str], size: int) -> None:
        self._bucket, self._left, self._frame = bucket, size, 0
        self._crc, self._md5 = 0, None
        headers = {"Content-Type": "application/octet-stream"}
        self._framed = bucket.address.checksum == "crc32"
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
        with _failures("write"):
            payload = _TRAILER_FOLLOWS if self._framed else _UNSIGNED
            self._connection = bucket.begin_request("PUT", key, query, headers, payload)

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
        """All bytes are sent: wait until the store has them. The ETag."""
        assert self._left == 0, "all bytes were announced"
        if self._framed:
            self._send(b"0\r\n" + _trailer(self._crc))
        with _failures("write"):
            try:
                answer = self._connection.getresponse()
                text = answer.read()
            except BaseException:
                self.abort()
                raise
        if answer.status != 200:
            self.abort()
            raise _refusal("write", answer.status, text)
        etag = answer.headers.get("ETag", "")
        self._bucket.give_back(self._connection)
        if self._md5 and etag.strip('"') != self._md5.hexdigest():
            raise StorageFailed("The object store got other bytes than were sent; try again.")
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
            return _refusal("write", answer.status, answer.read())
        except (OSError, http.client.HTTPException):
            return StorageFailed(f"The object store failed to write ({type(error).__name__}).")
        finally:
            self.abort()


class Reader:
    """A range of an object that is being read. One thread at a time."""

    def __init__(self, bucket: Bucket, key: str, span: ByteRange) -> None:
        self._bucket, self._key, self._span, self._tries = bucket, key, span, READ_TRIES
        self._connection: http.client.HTTPConnection | None = None
        self._answer: http.client.HTTPResponse | None = None

    def read(self, size: int) -> bytes:
        """The next bytes, ``size`` or what is left; empty at the end. A read that breaks goes on where it was."""
        size = min(size, self._span.size)
        if size == 0:
            return b""
        with _failures("read"):
            block = self._insist(size)
        self._span = ByteRange(self._span.offset + size, self._span.size - size)
        if self._span.size == 0 and self._connection is not None:
            self._bucket.give_back(self._connection)
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

    def _read(self, size: int) -> bytes:
        if self._answer is None:
            self._connection = self._bucket.begin_request("GET", self._key, {}, {"Range": f"bytes={self._span}"})
            answer = self._connection.getresponse()
            if answer.status not in (200, 206) or answer.length != self._span.size:
                text = answer.read(10_000)
                self.close()
                raise _refusal("read", answer.status, text)
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


class _Connections:
    """Idle connections to the store's one address."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self.root = f"{parts.scheme}://{parts.netloc}"
        self.base = self.root + parts.path.rstrip("/")
        self._host, self._port, self._secure = parts.hostname or "", parts.port, parts.scheme == "https"
        self._tls = ssl.create_default_context() if self._secure else None
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
    """Whether an idle connection has something to say: then it says that it is closed."""
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


@contextmanager
def _failures(action: str) -> Iterator[None]:
    """Turn what botocore and connections raise into the project's errors."""
    try:
        yield
    except ClientError as error:
        raise _refusal(action, _status(error), b"", str(error.response.get("Error", {}).get("Code", ""))) from error
    except (BotoCoreError, OSError, http.client.HTTPException) as error:
        raise StorageFailed(f"The object store failed to {action} ({type(error).__name__}).") from error


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _refusal(action: str, status: int, text: bytes, code: str = "") -> Exception:
    """What the store's answer means."""
    if not code and text:
        try:
            code = ElementTree.fromstring(text).findtext("{*}Code") or ""  # noqa: S314 (our own store's answer)
        except ElementTree.ParseError:
            code = ""
    if status == 404 and code not in ("NoSuchBucket", "NoSuchUpload"):
        return NotFound("upload")
    if status == 507 or code in _NO_ROOM:
        return OutOfSpace()
    return StorageFailed(f"The object store refused to {action} (status {status}{f', {code}' if code else ''}).")
