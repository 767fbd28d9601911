"""One bucket of an S3-compatible store: see ``partwise.storage.objects.store`` for what each method does.

Bytes go through ``streams.py``. Everything else (credentials, listing, multipart) is botocore's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange
from partwise.storage.objects.store import Listed
from partwise.storage.s3.address import S3Address
from partwise.storage.s3.failures import failures, status_of
from partwise.storage.s3.streams import IDLE_CONNECTIONS, SILENCE_SECONDS, Put, Streams, read_all


def find_credentials(session: Session) -> Any:
    """Return the credentials that AWS tools would find. They renew themselves. StorageFailed if there are none."""
    try:
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise StorageFailed(
            f"The credentials for the object store cannot be read ({error}). Check the environment and ~/.aws."
        ) from error
    if credentials is None:
        raise StorageFailed(
            "The credentials for the object store are missing. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return credentials


class S3Store:
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
            raise StorageFailed(
                f"The URL of the object store is not valid ({error}). Check the setting storage."
            ) from error
        meta = self._client.meta
        bundle = session.get_config_variable("ca_bundle")  # AWS_CA_BUNDLE, as botocore's own requests have it
        try:
            self._streams = Streams(
                address, meta.endpoint_url, meta.region_name, find_credentials(session), ca_bundle=bundle
            )
        except OSError as error:
            raise StorageFailed(
                f"The certificates in {bundle} (AWS_CA_BUNDLE) cannot be read: {error.strerror or error}."
            ) from error

    @property
    def where(self) -> str:
        """Bucket and prefix."""
        return f"s3 bucket {self.address.bucket}, prefix {self.address.prefix or '(none)'}"

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
        """The bytes of spans of objects one behind the other, in blocks."""
        yield from read_all(self._streams, pieces)

    def read_small(self, key: str) -> bytes:
        """The first 100 bytes of an object."""
        with failures("read an object", missing=key):
            return bytes(self._client.get_object(**self._place(key))["Body"].read(100))

    # multipart uploads

    def begin(self, key: str) -> str:
        """Begin a multipart upload; its id."""
        with failures("begin an object"):
            return str(self._client.create_multipart_upload(**self._place(key))["UploadId"])

    def copy(self, key: str, upload: str, part: int, source: str, span: ByteRange) -> str:
        """Make a part of bytes that another object has, inside the store; the part's ETag."""
        origin = {"Bucket": self.address.bucket, "Key": self.address.prefix + source}
        with failures("copy within the store", missing=source):
            answer = self._client.upload_part_copy(
                **self._place(key),
                UploadId=upload,
                PartNumber=part,
                CopySource=origin,
                CopySourceRange=f"bytes={span}",
            )
            return str(answer["CopyPartResult"]["ETag"])

    def complete(self, key: str, upload: str, tags: Sequence[str]) -> None:
        """Make one object of all parts."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(tags, 1)]
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
        """An object's size."""
        with failures("look at an object", missing=key):
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


def check_url(url: str) -> None:
    """Raise ValueError when the URL is no bucket's, StorageFailed when there are no credentials for it."""
    S3Address.parse(url)
    find_credentials(Session())


def open_url(url: str) -> S3Store:
    """The store that a URL names. ValueError, StorageFailed."""
    return S3Store(S3Address.parse(url))
