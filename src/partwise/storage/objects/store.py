"""Interface of an object store. A store is one module; see ``partwise.storage.s3``.

Every method blocks, and may run on several threads at once. Keys are relative to the place that the store's URL names.
``partwise.testing.object_store`` has the contract as a test suite.

Errors say what is known. ``StorageFailed``: nothing is; the call may be repeated. ``OutOfSpace``: the store is full.
``ObjectMissing``: the store said that there is no such object, which proves nothing yet (``place.py``).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from partwise.core.errors import NotFound
from partwise.core.ranges import ByteRange
from partwise.core.records import Segment

#: Parts of one object, at most.
MAX_PARTS = 10_000
#: S3 copies ranges only of objects of more bytes than this.
LEAST_SOURCE = 5 << 20


class ObjectMissing(NotFound):
    """The store, or something on the way to it, says that there is no such object. That proves nothing yet."""

    def __init__(self, key: str) -> None:
        super().__init__("object")
        self.key = key


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, or an object in parts that was begun and not completed, as a listing shows it."""

    key: str
    size: int
    modified: datetime
    #: The id that ``begin`` gave, of an unfinished one.
    upload: str | None = None


class Put(Protocol):
    """An object, or a part of one, on its way. One thread at a time. ``abort`` or ``finish`` ends it."""

    def write(self, block: memoryview) -> None:
        """Send the next bytes. StorageFailed, OutOfSpace; the object is lost then."""

    def finish(self) -> str:
        """Wait until the store confirms that all sent bytes are durable. Return the part's tag."""

    def abort(self) -> None:
        """Give it up; the store keeps nothing of it."""


class ObjectStore(Protocol):
    """A place for objects by key."""

    @property
    def where(self) -> str:
        """The place in words, such as "s3 bucket files, prefix team/"."""

    def check(self) -> None:
        """Find out whether the place is there and may be used. StorageFailed."""

    def close(self) -> None:
        """Close idle connections."""

    def put(self, key: str, size: int, *, upload: str | None = None, part: int = 0) -> Put:
        """Begin to send an object of ``size`` bytes; or part ``part`` (from 1) of the object in parts ``upload``."""

    def read(self, pieces: Iterable[tuple[str, ByteRange]]) -> Generator[bytes]:
        """The bytes of spans (not empty) of objects one behind the other, in blocks of at most BLOCK bytes.

        Raises ObjectMissing, StorageFailed. A generator that is closed early gives its connections back.
        """

    def read_small(self, key: str) -> bytes:
        """The first 100 bytes of an object. ObjectMissing, StorageFailed."""

    def size(self, key: str) -> int:
        """An object's size. ObjectMissing, StorageFailed."""

    def begin(self, key: str) -> str:
        """Begin an object in parts; its id. Nobody sees the object before ``complete``."""

    def copy(self, key: str, upload: str, part: int, source: str, span: ByteRange) -> str:
        """Make a part of bytes that another object has, inside the store; the part's tag. ObjectMissing."""

    def complete(self, key: str, upload: str, tags: Sequence[str]) -> None:
        """Make one object of all parts, of which ``tags`` has each one's in order."""

    def abort(self, key: str, upload: str) -> None:
        """Give up an object in parts. Idempotent."""

    def delete(self, key: str) -> None:
        """Delete an object. Idempotent."""

    def list(self, below: str = "") -> Iterator[Listed]:
        """Objects whose key begins with ``below``."""

    def list_unfinished(self, below: str = "") -> Iterator[Listed]:
        """Objects in parts that were begun and not completed."""

    def presign(self, key: str, seconds: int, headers: Mapping[str, str]) -> str | None:
        """A URL that anyone may GET the object with for so long, answering with ``headers``; None: there are none."""


def within(segments: Iterable[Segment], span: ByteRange) -> Iterator[tuple[str, ByteRange]]:
    """Yield the objects that hold the bytes of ``span``, each with the range within the object."""
    for segment in segments:
        start, end = max(segment.offset, span.offset), min(segment.range.end, span.end)
        if end > start:
            yield segment.ref, ByteRange(start - segment.offset, end - start)
