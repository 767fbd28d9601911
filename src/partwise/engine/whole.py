"""Digests of a whole file by other algorithms than SHA-256, for clients that state one at the end."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection

from partwise.core.errors import BytesLost, NotFound
from partwise.core.ranges import ByteRange, Gaps
from partwise.core.records import Principal, Upload
from partwise.core.state import UploadState
from partwise.engine.context import Context
from partwise.engine.reading import read_back
from partwise.engine.uploads import find_gaps


async def gaps_of(engine: Context, who: Principal, upload: Upload) -> Gaps:
    """The ranges that an upload lacks: none unless it is open. NotFound."""
    if upload.state is UploadState.OPEN and upload.received != upload.size:
        return await find_gaps(engine, who, upload.id)
    return Gaps()


async def digests_of(engine: Context, upload: Upload, algorithms: Collection[str]) -> dict[str, str]:
    """The digests of an upload's bytes as they are stored, by the names that ``hashlib`` knows, in one pass over them.

    They say nothing of what is stored a moment later: commit with the SHA-256 among them, and what the others are of
    is what becomes the artifact. Raises StorageFailed, BytesLost, NotFound.
    """
    try:
        return await _read_through(engine, upload, algorithms)
    except (NotFound, BytesLost):
        # Another request may have completed it meanwhile: its bytes are its artifact's then.
        now = await engine.catalog.get_upload(upload.id)
        if upload.state is UploadState.COMPLETED or now.state is not UploadState.COMPLETED:
            raise
        return await _read_through(engine, now, algorithms)


async def _read_through(engine: Context, upload: Upload, algorithms: Collection[str]) -> dict[str, str]:
    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}

    def update(block: memoryview | bytes) -> None:
        for hasher in hashers.values():
            hasher.update(block)

    if upload.state is UploadState.COMPLETED:
        if upload.sha256 is None or upload.size is None:
            raise NotFound("artifact")
        loop = asyncio.get_running_loop()
        if upload.size:
            async for block in engine.storage.read_artifact(upload.sha256, ByteRange(0, upload.size)):
                await loop.run_in_executor(engine.workers.readers, update, block)
    else:
        for chunk in await engine.catalog.list_chunks(upload.id):
            await read_back(engine, upload.id, chunk, update)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}
