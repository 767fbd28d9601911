"""Read stored chunks back for whoever asks, in turns, on threads of their own.

A chunk may be as large as a file. Read in one go, on the threads that all requests share, a few questions for digests
would hold up everyone's reservations, syncs and commits.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from functools import partial

from partwise.core.errors import BytesLost
from partwise.core.ranges import ByteRange, split
from partwise.core.records import Chunk
from partwise.engine.context import Context

#: Bytes that one turn on a thread reads at most.
TURN = 16 << 20


async def read_back(engine: Context, upload_id: str, chunk: Chunk, sink: Callable[[memoryview], None]) -> None:
    """Give a chunk's bytes, as they are stored now, to ``sink`` on a thread. StorageFailed, BytesLost, NotFound."""
    loop = asyncio.get_running_loop()
    for span in split(chunk.range, TURN):
        turn = partial(engine.storage.read_staged, upload_id, chunk, span, sink)
        await loop.run_in_executor(engine.workers.readers, turn)


async def stored_digest(engine: Context, upload_id: str, chunk: Chunk) -> str:
    """The SHA-256 of a chunk's bytes as they are stored now. StorageFailed, BytesLost, NotFound."""
    hasher = hashlib.sha256()
    await read_back(engine, upload_id, chunk, hasher.update)
    return hasher.hexdigest()


async def artifact_digest(engine: Context, sha256: str, span: ByteRange) -> str:
    """The SHA-256 of a part of an artifact. StorageFailed, BytesLost, NotFound."""
    hasher = hashlib.sha256()
    loop = asyncio.get_running_loop()
    async for block in engine.storage.read_artifact(sha256, span):
        await loop.run_in_executor(engine.workers.readers, hasher.update, block)
    return hasher.hexdigest()


async def is_readable(engine: Context, upload_id: str, chunk: Chunk) -> bool:
    """Return whether a chunk's bytes can be read back."""
    try:
        await read_back(engine, upload_id, chunk, lambda _block: None)
    except BytesLost:
        return False
    return True
