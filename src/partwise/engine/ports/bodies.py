"""Interface of a request body, which a dialect passes to the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk

#: The largest block that moves at once, in bytes: measured best (256 KiB and 4 MiB are slower).
BLOCK = 1 << 20

#: Takes a block of bytes, in order, on a worker thread. The block is valid only during the call.
Sink = Callable[[memoryview], None]


#: Bytes of a chunk: the chunk, and a span that lies within it.
Piece = tuple[Chunk, ByteRange]


class Body(Protocol):
    """The bytes of one request."""

    @property
    def sha256(self) -> str | None:
        """The digest that the client sent for these bytes, in hex. Final after ``drain``: in a form it may come last.

        Known before ``drain``, the bytes are hashed as they come; otherwise they are read back if one comes after all.
        """

    async def drain(self, sink: Sink) -> None:
        """Give all bytes to ``sink``: in order, in blocks of at most BLOCK bytes, one at a time, on worker threads.

        Ends when the body is over. An error of ``sink`` ends it early and comes out. When the task is cancelled, it
        ends only after the running call to ``sink`` has. Raises BodyInterrupted when the connection broke or fell
        below the minimum rate, BadBody when the body is malformed.
        """


@dataclass(frozen=True, slots=True)
class Origin:
    """Bytes ``span`` of an artifact, and where the storage that gave it finds them.

    ``close`` closes what ``source`` holds open. Parts of one artifact may share it: call it after the last copy.
    """

    span: ByteRange
    source: object
    close: Callable[[], None] = lambda: None


class CopyRefused(Exception):
    """The storage copied nothing of what it was given, from the first on: read the bytes, and write all of them."""


@runtime_checkable
class StoredBody(Body, Protocol):
    """A body whose bytes the storage has already."""

    async def move(self, put: Callable[[Origin], None], sink: Sink) -> None:
        """Like ``drain``, but give parts of an artifact to ``put`` where the storage can copy by itself.

        ``put`` takes the parts in order and on worker threads, as ``sink`` takes blocks. When it raises CopyRefused,
        all bytes go to ``sink``.
        """
