"""One bucket of an S3-compatible store, in blocking calls for worker threads.

Bytes go through ``s3_streams.py``. Everything else (credentials, listing, multipart) is botocore's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Segment
from partwise.storage.s3_address import S3Address
from partwise.storage.s3_failures import ObjectMissing, failures, status_of
from partwise.storage.s3_streams import IDLE_CONNECTIONS, SILENCE_SECONDS, Put, Streams, read_all

#: The key of the object that says whose the place is.
MARKER = "installation"

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
        #: The installation that this process serves; None before ``bind``.
        self._installation: str | None = None
        bundle = session.get_config_variable("ca_bundle")  # AWS_CA_BUNDLE, as botocore's own requests have it
        try:
            self._streams = Streams(
                address, meta.endpoint_url, meta.region_name, find_credentials(session), ca_bundle=bundle
            )
        except OSError as error:
            raise StorageFailed(f"The certificates in {bundle} (AWS_CA_BUNDLE) cannot be used: {error}.") from error

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
        """The bytes of spans (not empty) of objects one behind the other, in blocks.

        Raises NotFound when an object is missing for certain, StorageFailed when nothing is known.
        """
        try:
            yield from read_all(self._streams, pieces)
        except ObjectMissing as error:
            self.confirm_missing(error)
            raise

    # is it there?

    def bind(self, installation: str, *, recorded: bool) -> None:
        """Make sure that the objects belong to ``installation``, and mark the place where no marker says so yet.

        Raises StorageFailed, with what to do: see ``Storage.bind``.
        """
        where = f"s3 bucket {self.address.bucket}, prefix {self.address.prefix or '(none)'}"
        found = self._marker()
        if found is None:
            held = any(self._is_listed(below, whole=False) for below in ("chunks/", "artifacts/"))
            if held and not recorded:
                raise StorageFailed(
                    f"{where} holds objects, but the metadata database is empty. Is it the right database? Every "
                    "object would be deleted as abandoned. Restore the database that belongs to them, or use another "
                    "prefix."
                )
            if recorded and not held:
                raise StorageFailed(
                    f"The metadata database knows artifacts or chunks, but {where} is empty. Is it the right bucket "
                    f"and prefix? If the bytes are gone for good, store an object '{MARKER}' with the content "
                    f"'{installation}' there, and start again."
                )
            put = self.put(MARKER, len(installation))
            put.write(memoryview(installation.encode()))
            put.finish()
        elif found != installation:
            raise StorageFailed(
                f"{where} belongs to another installation ({found}) than the metadata database ({installation}). "
                "Use the database and the bucket that belong together. If they do (one was restored from a copy), "
                f"delete the object '{self.address.prefix}{MARKER}' and start again."
            )
        self._installation = installation

    def confirm_missing(self, error: ObjectMissing) -> None:
        """Return when the object is missing for certain; raise StorageFailed when nothing is known.

        Two independent ways must agree: the listing does not have it either, and the marker of the installation, which
        is always there, can be read and is the right one.
        """
        unknown = "The object store does not find an object, but may not be answering itself; nothing is known."
        if self._is_listed(error.key, whole=True):
            raise StorageFailed(unknown) from error
        if self._installation is not None and self._marker() != self._installation:
            raise StorageFailed(unknown) from error

    def _is_listed(self, key: str, *, whole: bool) -> bool:
        """Whether a listing has an object of this key, or (not ``whole``) one whose key begins so."""
        return any(not whole or item.key == key for item in islice(self.list(key), 10))

    def _marker(self) -> str | None:
        """The installation that the place is marked as; None when a listing confirms that there is no marker."""
        try:
            with failures("read the marker of the installation", missing=MARKER):
                answer = self._client.get_object(**self._place(MARKER))
                return str(answer["Body"].read(100).decode("ascii", "replace")).strip()
        except ObjectMissing as error:
            if self._is_listed(MARKER, whole=True):
                raise StorageFailed(
                    "The object store lists the marker of the installation and cannot read it."
                ) from error
            return None

    # multipart uploads

    def begin(self, key: str) -> str:
        """Begin a multipart upload; its id."""
        with failures("begin an object"):
            return str(self._client.create_multipart_upload(**self._place(key))["UploadId"])

    def copy(self, key: str, upload: str, part: int, source: str, span: ByteRange) -> str:
        """Make a part of bytes that another object has, inside the store; the part's ETag."""
        origin = {"Bucket": self.address.bucket, "Key": self.address.prefix + source}
        try:
            with failures("copy within the store", missing=source):
                answer = self._client.upload_part_copy(
                    **self._place(key),
                    UploadId=upload,
                    PartNumber=part,
                    CopySource=origin,
                    CopySourceRange=f"bytes={span}",
                )
                return str(answer["CopyPartResult"]["ETag"])
        except ObjectMissing as error:
            self.confirm_missing(error)
            raise

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
        """An object's size. NotFound when it is missing for certain."""
        try:
            with failures("look at an object", missing=key):
                return int(self._client.head_object(**self._place(key))["ContentLength"])
        except ObjectMissing as error:
            self.confirm_missing(error)
            raise

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
