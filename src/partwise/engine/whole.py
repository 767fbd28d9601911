"""Digests of a whole file by other algorithms than SHA-256, for clients that state one at the end."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress

from partwise.core.errors import BytesLost, NotFound
from partwise.core.ranges import ByteRange, Gaps
from partwise.core.records import Artifact, Principal, Upload
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
    """The SHA-256 of an upload's bytes as they are stored, and their digests by ``algorithms`` (names of ``hashlib``).

    All are of the same pass over the bytes: of the background hasher's, where the upload was created with these
    ``checksums``, else of one that reads all bytes again. They say nothing of what is stored a moment later: commit
    with the SHA-256, and what the others are of is what becomes the artifact. Raises IncompleteUpload, StorageFailed,
    BytesLost, NotFound.
    """
    wanted = {"sha256", *algorithms}
    try:
        if (known := await _known(engine, upload, wanted)) is not None:
            return known
        return await _read_through(engine, upload, wanted)
    except (NotFound, BytesLost):
        # Another request may have completed it meanwhile: its bytes are its artifact's then.
        now = await engine.catalog.get_upload(upload.id)
        if upload.state is UploadState.COMPLETED or now.state is not UploadState.COMPLETED:
            raise
        return await _known(engine, now, wanted) or await _read_through(engine, now, wanted)


async def _known(engine: Context, upload: Upload, wanted: set[str]) -> dict[str, str] | None:
    """The digests, where they have been made already or are being made; else None."""
    if upload.state is UploadState.COMPLETED:
        with suppress(NotFound):
            artifact = await engine.catalog.get_artifact(str(upload.artifact_id))
            digests = {"sha256": artifact.sha256, **artifact.digests}
            if digests.keys() >= wanted:
                return {name: digests[name] for name in wanted}
        return None
    if not {"sha256", *upload.checksums} >= wanted:
        return None
    now = await engine.workers.follower.hashed(upload.id)
    digests = {**now.digests} if now.digests.get("sha256") == now.digest else {"sha256": str(now.digest)}
    # An older server that shares the records may have hashed it, which makes the SHA-256 alone.
    return {name: digests[name] for name in wanted} if digests.keys() >= wanted else None


async def keep_digests(engine: Context, artifact_id: str, digests: Mapping[str, str]) -> Artifact:
    """Note with an artifact what ``digests_of`` has found of its content; the artifact. NotFound when it is gone."""
    artifact = await engine.catalog.get_artifact(artifact_id)
    if {"sha256", *artifact.digests} >= digests.keys():
        return artifact
    return await engine.catalog.note_digests(artifact_id, digests)


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
