"""The bytes of an artifact in their order, for targets that take them once: file objects, iterators, memory."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Generator
from typing import Any, Protocol

import urllib3

from partwise.client.errors import Cancelled, CannotReachServer, ClientError, TargetFailed, VerificationFailed
from partwise.client.http import Http, is_range_from
from partwise.client.models import ArtifactInfo, Observer, Phase
from partwise.client.retry import Patience, persist
from partwise.client.source import BLOCK


class Writable(Protocol):
    """A binary file object: open for writing, or anything with its ``write``."""

    def write(self, data: bytes, /) -> Any:
        """Take bytes; how many, or None for all."""
        ...


class Receiver:
    """Receives one artifact once, in the thread of the caller."""

    def __init__(
        self, http: Http, artifact: ArtifactInfo, observer: Observer, cancelled: threading.Event, patience: Patience
    ) -> None:
        self._http, self._artifact, self._observer = http, artifact, observer
        self._cancelled, self._patience = cancelled, patience
        self.received = 0
        self.retries = 0

    def blocks(self) -> Generator[bytes, None, None]:
        """Yield all bytes in blocks. Raises VerificationFailed at the end if they do not match the artifact's digest.

        Goes on behind the last block after a cut. CannotReachServer: that is not possible, or not for too long.
        """
        digest, size = hashlib.sha256(), self._artifact.size
        while self.received < size:
            response, block = persist(self._begin, self._patience, self._cancelled, on_retry=self._count)
            try:
                while block:
                    self.received += len(block)
                    if self.received > size:
                        raise VerificationFailed(f"The server sent more than the artifact's {size} bytes.")
                    digest.update(block)
                    self._observer.progress(Phase.RECEIVING, self.received, size)
                    yield block
                    if self._cancelled.is_set():
                        raise Cancelled("Stopped.")
                    block = _read(response)
            finally:
                response.close()
        if digest.hexdigest() != self._artifact.sha256:
            raise VerificationFailed(
                f"Checksum mismatch: the SHA-256 is {digest.hexdigest()}, not {self._artifact.sha256}. "
                "Discard what was received."
            )

    def _begin(self) -> tuple[urllib3.BaseHTTPResponse, bytes]:
        """A response that goes on behind what was received, and its first block."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if self.received:
            headers |= {"Range": f"bytes={self.received}-", "If-Range": f'"{self._artifact.sha256}"'}
        response = self._http.stream(f"{self._artifact.href}download/", headers)
        if self.received and not is_range_from(self.received, response):
            response.close()
            raise ClientError(
                "The download cannot resume: a proxy or the server does not support ranges. "
                "Download to a path, or over a direct connection."
            )
        block = _read(response)
        if not block:
            response.close()
            raise CannotReachServer("The connection was closed.")
        return response, block

    def _count(self, error: ClientError, pause: float) -> None:
        self.retries += 1
        self._observer.note(f"{error} Trying again.")


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    """The next block; none at the end, and where the connection was cut."""
    try:
        return bytes(response.read(BLOCK, decode_content=False))
    except urllib3.exceptions.HTTPError:
        return b""


def check_writable(file: Any) -> None:
    """Raise TypeError or ValueError for what takes no bytes."""
    if isinstance(file, io.TextIOBase):
        raise TypeError("The file is open in text mode. Open it in binary mode: open(path, 'wb').")
    if not callable(getattr(file, "write", None)):
        raise TypeError(f"Cannot download to {type(file).__name__}: give a path or a binary file object.")
    if getattr(file, "closed", False):
        raise ValueError("The file is closed.")
    writable = getattr(file, "writable", None)
    if callable(writable) and not writable():
        raise ValueError("The file is not open for writing.")


def write_all(file: Writable, block: bytes) -> None:
    """Write a block to a file object, which may take less at once. Raises TargetFailed."""
    rest = block
    while rest:
        try:
            count = file.write(rest)
        except Exception as error:
            raise TargetFailed(f"Cannot write the data: {type(error).__name__}: {error}") from error
        if count is None and isinstance(file, io.RawIOBase):
            raise TargetFailed("The file takes no bytes now (it is non-blocking). Make it blocking.")
        rest = rest[len(rest) if count is None else count :]
