"""Bodies that are checked by another digest than SHA-256.

SHA-256 is left to the engine, which then knows the chunk's digest too. The others are made here, on the worker thread
that writes, and tell only whether bytes were damaged on their way.
"""

from __future__ import annotations

import hashlib
from functools import partial

from partwise.core.errors import ChunkDigestMismatch
from partwise.engine.ports import Body, Sink


class CheckedBody:
    """A body that fails at its end when it has another digest. See ``partwise.engine.ports.Body``.

    ``algorithm`` is a name that ``hashlib`` knows, ``digest`` what the bytes must have; None: whatever they have.
    """

    def __init__(self, body: Body, algorithm: str, digest: bytes | None) -> None:
        self._body = body
        self._algorithm = algorithm
        self._expected = digest
        self._hasher = hashlib.new(algorithm, usedforsecurity=False)

    @property
    def sha256(self) -> str | None:
        """See ``Body``."""
        return self._body.sha256

    @property
    def found(self) -> str:
        """The digest of the bytes so far, in hex."""
        return self._hasher.hexdigest()

    async def drain(self, sink: Sink) -> None:
        """See ``Body``. Raises ChunkDigestMismatch."""
        await self._body.drain(partial(self._take, sink))
        found = self._hasher.digest()
        if self._expected not in (None, found):
            assert self._expected is not None
            raise ChunkDigestMismatch(self._expected.hex(), found.hex(), algorithm=self._algorithm)

    def _take(self, sink: Sink, block: memoryview) -> None:
        self._hasher.update(block)
        sink(block)
