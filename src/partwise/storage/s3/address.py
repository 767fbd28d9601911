"""Address of a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Address:
    """Address of a bucket. Credentials come from the environment, files or the machine, as with all AWS tools."""

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
            raise ValueError(
                "The storage URL is not valid. Write s3://BUCKET/PREFIX?endpoint=URL&region=NAME&checksum=crc32."
            )
        if options.get("checksum", "crc32") not in ("crc32", "md5"):
            raise ValueError("The checksum in the storage URL is not valid. Use crc32 or md5.")
        if "endpoint" in options and urlsplit(options["endpoint"]).scheme not in ("http", "https"):
            raise ValueError("The endpoint in the storage URL is not valid. Use an http:// or https:// URL.")
        prefix = parts.path.strip("/")
        return cls(bucket=parts.netloc, prefix=f"{prefix}/" if prefix else "", **options)
