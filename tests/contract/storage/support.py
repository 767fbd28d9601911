"""Steps that most tests of storages begin or end with."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk
from partwise.engine.ports import Storage, Stored

ID = "0f-a1"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@asynccontextmanager
async def staged(storage: Storage, content: bytes = b"", *, size: int | None = None) -> AsyncIterator[str]:
    """An upload with ``content`` at its start (or ``size`` bytes of nothing); discarded in the end."""
    upload_id = f"{id(content):x}-{len(list(storage.list_staged()))}"
    (await storage.reserve(upload_id, len(content) if size is None else size)).release()
    try:
        if content:
            await put(storage, upload_id, 0, content)
        yield upload_id
    finally:
        await storage.discard(upload_id)


async def put(storage: Storage, upload_id: str, offset: int, content: bytes) -> None:
    """Write a chunk."""
    writer = await storage.claim(upload_id, ByteRange(offset, len(content)))
    try:
        await asyncio.to_thread(writer.write, offset, memoryview(content))
        assert await writer.finish(len(content)) == Stored(len(content))
    finally:
        writer.close()


async def stored(storage: Storage, upload_id: str, offset: int, size: int) -> bytes:
    """The stored bytes of a chunk."""
    blocks: list[bytes] = []
    chunk = Chunk(offset=offset, size=size)
    await asyncio.to_thread(
        storage.read_staged, upload_id, chunk, chunk.range, lambda block: blocks.append(bytes(block))
    )
    return b"".join(blocks)


async def artifact(storage: Storage, digest: str, span: ByteRange) -> bytes:
    """The bytes of an artifact."""
    return b"".join([block async for block in storage.read_artifact(digest, span)])
