"""The signature of an artifact, fetched from the server and checked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import urllib3

from partwise.client.errors import AnswerError, Cancelled, CannotReachServer, ClientError
from partwise.client.http import Http
from partwise.client.models import ArtifactInfo
from partwise.client.retry import Patience, persist, worth_another_try
from partwise.client.source import BLOCK, Source
from partwise.core.outline import Filling, Outline, is_outline
from partwise.core.pieces import Cutter, Cutting, Piece
from partwise.core.signature import MEDIA_TYPE, BadSignature, Signature, largest_signature, pack

#: A signature may have so many bytes at most, and no more than a file of that size can have.
_MOST_BYTES = 256 << 20
#: Seconds that the server may take to make a signature: some 100 GB at the speed of one core, plus time for a queue.
_PATIENCE_SECONDS = 600.0
#: Bytes that an answer without a signature may have, and seconds that it may ask to wait.
_MOST_WAITING, _LONGEST_PAUSE = 64 << 10, 10.0
#: An outline may have so many bytes more than the signature.
_MORE = 256
#: Of files up to this size the outline is fetched. The signature of a larger one is a smaller share of it, and reading
#: the local file before anything is sent takes time. So many ranges of pieces are asked for at most.
_LARGEST_OUTLINED, _MOST_RANGES = 64 << 20, 256
_TOO_LONG = "the server takes too long to make and to send its signature."


class NoSignature(ClientError):
    """There is no signature to be had; the sentence says why."""


def cut(
    file: Source, cutting: Cutting, cancelled: threading.Event, reached: Callable[[int], None]
) -> Iterator[Iterable[Piece]]:
    """Read a file, and yield the pieces that end in each block of it: perhaps none. Raises Cancelled, and what the file
    raises.

    ``reached`` is called with the offset up to which the file was read.
    """
    cutter, offset = Cutter(cutting), 0
    while offset < file.size:
        if cancelled.is_set():
            raise Cancelled("Stopped.")
        count = file.read_into(cutter.room()[: min(BLOCK, file.size - offset)], offset)
        offset += count
        reached(offset)
        yield cutter.filled(count)
    yield cutter.end()


class Scan:
    """The pieces of a local file. It is cut when they are first asked for, and once for each kind of pieces."""

    def __init__(self, file: Source, cancelled: threading.Event, reached: Callable[[int], None]) -> None:
        self._file, self._cancelled, self._reached = file, cancelled, reached
        self._cutting: Cutting | None = None
        self._table = b""

    def table(self, cutting: Cutting) -> bytes:
        """Return the pieces as a signature has them. Raises Cancelled, and what the file raises."""
        if self._cutting == cutting:
            return self._table
        table = b"".join(map(pack, cut(self._file, cutting, self._cancelled, self._reached)))
        self._cutting, self._table = cutting, table
        return table

    def pieces(self, cutting: Cutting) -> Iterator[Piece] | None:
        """Yield the pieces if the file was cut in this way; None: it was not."""
        return None if self._cutting != cutting else Signature(cutting, self._file.size, "", self._table).pieces()

    @property
    def is_cheap(self) -> bool:
        """Return whether the file is small enough to be cut before anything is known of the other one."""
        return self._file.size <= _LARGEST_OUTLINED


def fetch_signature(
    http: Http,
    artifact: ArtifactInfo,
    patience: Patience,
    cancelled: threading.Event,
    *,
    scan: Scan | None = None,
    seconds: float = _PATIENCE_SECONDS,
) -> Signature:
    """Return the signature of ``artifact``, waiting while the server makes it. Raises NoSignature, Cancelled.

    ``scan``: of a similar file. If that is small only those parts of the signature are fetched that it cannot give.
    """
    asking = _Asking(http, artifact, patience, cancelled, time.monotonic() + seconds)
    if scan is None or not scan.is_cheap or artifact.size > _LARGEST_OUTLINED:
        return _decoded(asking.fetch(), artifact)
    found = asking.fetch({"outline": "true"})
    if not is_outline(found):  # of a server that has none
        return _decoded(found, artifact)
    return _filled(asking, found, artifact, scan) or _decoded(asking.fetch(), artifact)


def _filled(asking: _Asking, found: bytes, artifact: ArtifactInfo, scan: Scan) -> Signature | None:
    """The signature of which ``found`` is the outline; None: fetch all of it."""
    with suppress(BadSignature, NoSignature):
        outline = Outline.decode(found)
        if (outline.head.size, outline.head.sha256) != (artifact.size, artifact.sha256):
            return None
        filling = Filling(outline, scan.table(outline.cutting))
        if len(filling.missing) > _MOST_RANGES or filling.missing_count > outline.head.count // 2:
            return None
        ranges = ",".join(f"{first}-{last}" for first, last in filling.missing)
        return Signature.decode(filling.signature(asking.fetch({"pieces": ranges}) if ranges else b""))
    return None


@dataclass(frozen=True, slots=True)
class _Asking:
    """Requests for parts of one signature, until ``deadline``."""

    http: Http
    artifact: ArtifactInfo
    patience: Patience
    cancelled: threading.Event
    deadline: float

    def fetch(self, query: Mapping[str, str | int] | None = None) -> bytes:
        """Return a body, waiting while the server makes the signature. Raises NoSignature, Cancelled."""
        while True:
            try:
                answer = persist(lambda: self._get(query), self.patience, self.cancelled, again=_may_be_had_later)
            except AnswerError as error:
                raise NoSignature(f"the server gives no signature of it ({error.status}).") from error
            except _Cut as error:
                raise NoSignature("the connection was closed each time before all of its signature came.") from error
            if isinstance(answer, bytes):
                return answer
            if time.monotonic() > self.deadline:
                raise NoSignature(_TOO_LONG)
            if self.cancelled.wait(answer):
                raise Cancelled("Stopped.")

    def _get(self, query: Mapping[str, str | int] | None) -> bytes | float:
        """The body, or the seconds after which to ask again."""
        # Not decompressed: a signature does not shrink, and few bytes could become many.
        headers = {"Accept": MEDIA_TYPE, "Accept-Encoding": "identity"}
        path = f"{self.artifact.href}signature/"
        response: Any = self.http.request("GET", path, query=query, headers=headers, stream=True)
        most = min(largest_signature(self.artifact.size) + _MORE, _MOST_BYTES)
        try:
            data = self._read(response, _MOST_WAITING if response.status == 202 else most)
        finally:
            response.close()
        if response.status != 202:
            return data
        wait = response.headers.get("Retry-After", "")
        return min(float(wait) if wait.strip().isdecimal() else 1.0, _LONGEST_PAUSE)

    def _read(self, response: Any, most: int) -> bytes:
        """Return the body of a response. Raises NoSignature if it is longer than ``most`` bytes, or does not end."""
        data = bytearray()
        while True:
            try:
                block = response.read1(BLOCK, decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise _Cut("The connection was closed.") from error
            if not block:
                return bytes(data)
            data += block
            if len(data) > most:
                raise NoSignature("its signature is too large.")
            if self.cancelled.is_set():
                raise Cancelled("Stopped.")
            if time.monotonic() > self.deadline:
                raise NoSignature(_TOO_LONG)


class _Cut(CannotReachServer):
    """The connection was closed in the middle of a signature."""


def _may_be_had_later(error: ClientError) -> bool:
    """Return whether to ask again. A server that lost bytes (500) has to be mended first: the file can be sent now."""
    return worth_another_try(error) and not (isinstance(error, AnswerError) and error.status == 500)


def _decoded(data: bytes, artifact: ArtifactInfo) -> Signature:
    try:
        signature = Signature.decode(data)
    except BadSignature as error:
        raise NoSignature(f"its signature cannot be used. {error}") from error
    if (signature.size, signature.sha256) != (artifact.size, artifact.sha256):
        raise NoSignature("its signature is that of another file.")
    return signature
