"""A client of resumable uploads that sends what it is told."""

from __future__ import annotations

from typing import Any

from tests.support.wire import Message, Wire

ROOT = "/resumable/"
PARTIAL = "application/partial-upload"
REGISTRY = "https://iana.org/assignments/http-problem-types#"


class Client(Wire):
    """``version``: the interop version that every request names; None: none."""

    def __init__(self, port: int, version: int | None = 8, **fields: str) -> None:
        super().__init__(port)
        self._fields = fields if version is None else {"Upload_Draft_Interop_Version": str(version), **fields}

    def __call__(self, method: str, path: str, body: bytes | None = None, **fields: Any) -> Message:
        return super().__call__(method, path, body, **(self._fields | fields))

    def begin(self, method: str, path: str, *fields: tuple[str, str], **more: str) -> None:
        """Send the head of a request."""
        mine = [(name.replace("_", "-"), value) for name, value in (self._fields | more).items()]
        self.head(method, path, [*mine, *fields])

    def create(self, body: bytes | None = b"", complete: bool = False, path: str = ROOT, **fields: Any) -> Message:
        """Create an upload."""
        return self("POST", path, body, Upload_Complete=f"?{complete:d}", **fields)

    def created(self, body: bytes = b"", **fields: Any) -> str:
        """Create an upload that is not complete; its path."""
        answer = self.create(body, **fields)
        assert answer.status == 201, answer.body
        return answer.headers["location"]

    def append(self, path: str, offset: int, body: bytes | None, complete: bool = False, **fields: Any) -> Message:
        """Append."""
        fields = {"Content_Type": PARTIAL, "Upload_Offset": str(offset), **fields}
        return self("PATCH", path, body, Upload_Complete=f"?{complete:d}", **fields)

    def state(self, path: str) -> tuple[int, bool]:
        """The offset that HEAD tells, and whether the upload is complete."""
        answer = self("HEAD", path)
        assert answer.status == 204, answer.status
        return int(answer.headers["upload-offset"]), answer.headers["upload-complete"] == "?1"


def limits(message: Message) -> dict[str, int]:
    """The members of Upload-Limit."""
    pairs = (pair.strip().split("=") for pair in message.headers["upload-limit"].split(","))
    return {name: int(value) for name, value in pairs}
