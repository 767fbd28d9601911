"""Upload-Checksum: the body of one request is recorded only if it has the digest that was sent with it.

SHA-256 is left to the engine, which then knows the chunk's digest too; the others are hashed here, on the same worker
thread that writes. The trailer form of the extension is not offered: ASGI has no trailers of requests.
"""

from __future__ import annotations

import hashlib
from functools import partial

from starlette.exceptions import HTTPException

from partwise.engine.ports import Body, Sink
from partwise.protocols.tus.fields import Checksum

#: The algorithms, and how many bytes a digest of each has. The protocol asks for sha1, and md5 is what some have.
#: Neither guards against malice here, only against damage on the way.
ALGORITHMS = {"sha1": 20, "sha256": 32, "sha512": 64, "md5": 16}


def mismatch() -> HTTPException:
    """The answer to a body without the digest that it was to have."""
    return HTTPException(460, "The bytes do not have the checksum sent with them; nothing was kept. Send them again.")


class CheckedBody:
    """A body that fails at its end when it has another digest. See ``partwise.engine.ports.Body``."""

    sha256: str | None = None

    def __init__(self, body: Body, checksum: Checksum) -> None:
        self._body = body
        self._expected = checksum.digest
        self._hasher = hashlib.new(checksum.algorithm, usedforsecurity=False)

    async def drain(self, sink: Sink) -> None:
        """See ``Body``. Raises what ``mismatch`` makes."""
        await self._body.drain(partial(self._take, sink))
        if self._hasher.digest() != self._expected:
            raise mismatch()

    def _take(self, sink: Sink, block: memoryview) -> None:
        self._hasher.update(block)
        sink(block)
