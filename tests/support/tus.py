"""A plain way to speak tus to a server: each method sends what it is told and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from tests.support.server import API, Answer, Http

ROOT = "/tus/"
BYTES = "application/offset+octet-stream"


class Tus:
    """tus over one connection."""

    def __init__(self, http: Http) -> None:
        self.http = http

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """A request with ``Tus-Resumable``; ``_`` in names of header fields becomes ``-``."""
        return self.http(method, path, body, **({"Tus_Resumable": "1.0.0"} | headers))

    def create(self, size: int | None, **headers: str) -> str:
        """A new upload's path; ``size`` None: to be said later."""
        length = {"Upload_Defer_Length": "1"} if size is None else {"Upload_Length": str(size)}
        answer = self("POST", ROOT, **length, **headers)
        assert answer.status == 201, answer.body
        return str(answer.headers["Location"])

    def patch(self, path: str, offset: int, data: bytes, **headers: str) -> Answer:
        """Append."""
        return self("PATCH", path, data, Upload_Offset=str(offset), Content_Type=BYTES, **headers)

    def head(self, path: str) -> Answer:
        """Where it is."""
        return self("HEAD", path)

    def offset(self, path: str) -> int:
        """The offset that HEAD tells."""
        answer = self.head(path)
        assert answer.status == 200
        return int(answer.headers["Upload-Offset"])

    def artifact(self, data: bytes) -> bytes:
        """What the server gives back for the content of ``data``: it must be listed as an artifact."""
        listed = self.http("GET", f"{API}artifacts/?sha256={hashlib.sha256(data).hexdigest()}").json
        assert listed["count"] == 1, listed
        return self.http("GET", listed["results"][0]["file"]).body


def metadata(**values: str) -> str:
    """The value of Upload-Metadata."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())


def checksum(algorithm: str, data: bytes) -> str:
    """The value of Upload-Checksum."""
    digest = hashlib.new(algorithm, data, usedforsecurity=False).digest()
    return f"{algorithm} {base64.b64encode(digest).decode()}"


def repr_digest(data: bytes) -> str:
    """The value of Repr-Digest for a file of ``data``."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def tus_fields(answer: Answer) -> Mapping[str, str]:
    """The answer's header fields of tus."""
    return {name: value for name, value in answer.headers.items() if name.lower().startswith(("tus-", "upload-"))}
