"""One bucket of an S3-compatible store, in blocking calls for worker threads.

Bytes go through ``s3_streams.py``. Everything else (credentials, listing, multipart) is botocore's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Segment
from partwise.storage.s3_address import S3Address
from partwise.storage.s3_failures import failures, status_of
from partwise.storage.s3_streams import IDLE_CONNECTIONS, SILENCE_SECONDS, Put, Streams, read_all

#: Parts of one multipart upload, at most.
MAX_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, or an unfinished multipart upload, as a listing shows it."""

    key: str
    size: int
    modified: datetime
    upload: str | None = None


def find_credentials(session: Session) -> Any:
    """Those that AWS tools would find, which renew themselves. StorageFailed when there are none."""
    try:
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise StorageFailed(f"The credentials for the object store cannot be used: {error}.") from error
    if credentials is None:
        raise StorageFailed("There are no credentials for the object store: set AWS_ACCESS_KEY_ID and its secret.")
    return credentials


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
        except (BotoCoreError, ValueError) as error:
            raise StorageFailed(f"The object store cannot be used: {error}.") from error
        meta = self._client.meta
        self._streams = Streams(address, meta.endpoint_url, meta.region_name, find_credentials(session))

    def close(self) -> None:
        """Close idle connections."""
        self._streams.close()
        self._client.close()

    def check(self) -> None:
        """Find out whether the bucket is there and may be used. StorageFailed."""
        with failures("look at the bucket"):
            self._client.list_objects_v2(Bucket=self.address.bucket, Prefix=self.address.prefix, MaxKeys=1)

    # bytes

    def put(self, key: str, size: int, *, upload: str | None = None, part: int = 0) -> Put:
        """Begin to send an object of ``size`` bytes, or a part of a multipart upload."""
        query = {} if upload is None else {"partNumber": str(part), "uploadId": upload}
        return Put(self._streams, key, query, size)

    def read(self, pieces: Iterable[tuple[str, ByteRange]]) -> Generator[bytes]:
        """The bytes of spans (not empty) of objects one behind the other, in blocks. NotFound, StorageFailed."""
        return read_all(self._streams, pieces)

    # multipart uploads

    def begin(self, key: str) -> str:
        """Begin a multipart upload; its id."""
        with failures("begin an object"):
            return str(self._client.create_multipart_upload(**self._place(key))["UploadId"])

    def copy(self, key: str, upload: str, part: int, source: str, span: ByteRange) -> str:
        """Make a part of bytes that another object has, inside the store; the part's ETag."""
        origin = {"Bucket": self.address.bucket, "Key": self.address.prefix + source}
        with failures("copy within the store"):
            answer = self._client.upload_part_copy(
                **self._place(key), UploadId=upload, PartNumber=part, CopySource=origin, CopySourceRange=f"bytes={span}"
            )
        return str(answer["CopyPartResult"]["ETag"])

    def complete(self, key: str, upload: str, etags: list[str]) -> None:
        """Make one object of all parts."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        with failures("complete an object"):
            self._client.complete_multipart_upload(
                **self._place(key), UploadId=upload, MultipartUpload={"Parts": parts}
            )

    def abort(self, key: str, upload: str) -> None:
        """Give up a multipart upload. Idempotent."""
        with failures("give up an object"):
            try:
                self._client.abort_multipart_upload(**self._place(key), UploadId=upload)
            except ClientError as error:
                if status_of(error) != 404:
                    raise

    # the rest

    def size(self, key: str) -> int:
        """An object's size. NotFound."""
        with failures("look at an object"):
            return int(self._client.head_object(**self._place(key))["ContentLength"])

    def delete(self, key: str) -> None:
        """Delete an object. Idempotent."""
        with failures("delete an object"):
            self._client.delete_object(**self._place(key))

    def list(self, below: str = "") -> Iterator[Listed]:
        """Objects whose key begins with ``below``."""
        pages = self._client.get_paginator("list_objects_v2")
        with failures("list objects"):
            for page in pages.paginate(Bucket=self.address.bucket, Prefix=self.address.prefix + below):
                for item in page.get("Contents", ()):
                    yield Listed(self._relative(item["Key"]), item["Size"], item["LastModified"])

    def list_unfinished(self, below: str = "") -> Iterator[Listed]:
        """Multipart uploads that were begun and not completed."""
        pages = self._client.get_paginator("list_multipart_uploads")
        with failures("list unfinished objects"):
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


def within(segments: Iterable[Segment], span: ByteRange) -> Iterator[tuple[str, ByteRange]]:
    """Which objects hold the bytes of ``span``, and where in them."""
    for segment in segments:
        start, end = max(segment.offset, span.offset), min(segment.range.end, span.end)
        if end > start:
            yield segment.ref, ByteRange(start - segment.offset, end - start)
