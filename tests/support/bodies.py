"""Request bodies for tests: the engine's Body port over bytes at hand."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from partwise.core.errors import BodyInterrupted
from partwise.engine.ports import Sink


class BytesBody:
    """A body of ``data`` in blocks. It may be cut after some bytes, and may wait for a gate before a block.

    ``late_sha256`` becomes its digest once all bytes are out, as in a form.
    """

    def __init__(
        self,
        data: bytes,
        *,
        sha256: str | None = None,
        late_sha256: str | None = None,
        block: int = 1 << 16,
        cut_after: int | None = None,
        before_block: Callable[[int], asyncio.Event | None] | None = None,
        filename: str | None = None,
    ) -> None:
        self.sha256 = sha256
        self.filename = filename
        self.media_type: str | None = None
        self._late_sha256 = late_sha256
        self._data = data
        self._block = block
        self._cut_after = cut_after
        self._before_block = before_block
        #: Set once the first block is in the sink's hands.
        self.started = asyncio.Event()

    async def first(self) -> bytes:
        """Take the next block. See ``partwise.http.intake.RequestBody``."""
        piece, self._data = self._data[: self._block], self._data[self._block :]
        return piece

    def put_back(self, piece: bytes) -> None:
        """See ``RequestBody``."""
        self._data = piece + self._data

    async def drain(self, sink: Sink) -> None:
        """As the port says."""
        end = len(self._data) if self._cut_after is None else self._cut_after
        for number, offset in enumerate(range(0, end, self._block)):
            gate = self._before_block(number) if self._before_block else None
            if gate is not None:
                await gate.wait()
            block = memoryview(self._data)[offset : min(offset + self._block, end)]
            job = asyncio.ensure_future(asyncio.to_thread(sink, block))
            try:
                await asyncio.shield(job)
            except asyncio.CancelledError:
                await asyncio.wait({job})
                raise
            self.started.set()
        self.sha256 = self.sha256 or self._late_sha256
        if self._cut_after is not None:
            raise BodyInterrupted("The connection broke.")


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()
