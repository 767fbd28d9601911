"""Artifacts: made from an upload or from one request, listed, read, and deleted with their last owner's link."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from partwise.core.errors import ChunkDigestMismatch, NotFound, StorageFailed, WrongState
from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact, Chunk, Page, Principal, TaskState
from partwise.engine.commit import commit
from partwise.engine.context import Engine
from partwise.engine.expiry import kept_alive
from partwise.engine.ports import Body
from partwise.engine.uploads import create_upload, delete_upload, set_size


class FileBody(Body, Protocol):
    """A body that is a file, and tells what it is called. Final after ``drain``, as its digest is."""

    filename: str | None
    media_type: str | None


async def store_file(engine: Engine, who: Principal, body: FileBody, *, bound: int) -> Artifact:
    """Make an artifact of one request that holds the whole file, of at most ``bound`` bytes.

    The bytes take the way of an upload with one chunk; the upload does not stay. Raises what ``create_upload`` and
    ``put_chunk`` raise, and ChunkDigestMismatch.
    """
    upload = await create_upload(engine, who, size=bound)
    try:
        chunk = await _receive(engine, upload.id, body, bound)
        if body.sha256 is not None and body.sha256 != chunk.sha256:
            raise ChunkDigestMismatch(body.sha256, str(chunk.sha256))
        await set_size(engine, who, upload.id, chunk.size)
        await engine.catalog.set_name(upload.id, body.filename, body.media_type, engine.clock())
        if chunk.size:
            limit = engine.limits.max_chunks
            await engine.catalog.record_chunk(upload.id, chunk, now=engine.clock(), max_chunks=limit)
        task = await commit(engine, who, upload.id, chunk.sha256, wait=3600)
        if task.state is not TaskState.COMPLETED or task.artifact_id is None:
            raise StorageFailed(task.error or "The file could not be stored; try again.")
        return await engine.catalog.get_artifact(task.artifact_id)
    finally:
        await asyncio.shield(_clear(engine, who, upload.id))


async def _receive(engine: Engine, upload_id: str, body: Body, bound: int) -> Chunk:
    """Write the body from the start of the file, hashing it on the way."""
    hasher = hashlib.sha256()
    received = 0
    writer = await engine.storage.claim(upload_id, ByteRange(0, max(bound, 1)), exact=False)

    def take(block: memoryview) -> None:
        nonlocal received
        writer.write(received, block)
        hasher.update(block)
        received += len(block)

    try:
        with kept_alive(engine, upload_id):
            await body.drain(take)
        stored = await writer.finish(received)
    finally:
        writer.close()
    return Chunk(offset=0, size=received, sha256=hasher.hexdigest(), verified=True, ref=stored.ref)


async def _clear(engine: Engine, who: Principal, upload_id: str) -> None:
    try:
        await delete_upload(engine, who, upload_id)
    except (NotFound, WrongState):
        return  # a commit that still runs is ended by the rounds; its upload then expires like any other


async def get_artifact(engine: Engine, who: Principal, artifact_id: str) -> Artifact:
    """The artifact by its owner's link, or NotFound."""
    artifact = await engine.catalog.get_artifact(artifact_id)
    if not who.owns(artifact.owner):
        raise NotFound("artifact")
    return artifact


async def list_artifacts(
    engine: Engine, who: Principal, *, sha256: str | None = None, offset: int = 0, limit: int = 100, search: str = ""
) -> Page[Artifact]:
    """The artifacts that ``who`` may see, newest first."""
    owner = None if who.admin else who.name
    return await engine.catalog.list_artifacts(owner, sha256=sha256, offset=offset, limit=limit, search=search)


def read_artifact(engine: Engine, artifact: Artifact, span: ByteRange) -> AsyncIterator[bytes]:
    """The bytes of ``span``, in blocks. Raises NotFound on the first step when the bytes are gone."""
    return engine.storage.read_artifact(artifact.sha256, span)


async def artifact_url(engine: Engine, artifact: Artifact, headers: Mapping[str, str]) -> str | None:
    """Where else the whole artifact is to be had for a short time, answering with ``headers``; None: only here."""
    return await engine.storage.artifact_url(artifact.sha256, artifact.size, headers)


async def delete_artifact(engine: Engine, who: Principal, artifact_id: str) -> None:
    """Delete the link; with the last link of a digest, its bytes. NotFound."""
    artifact = await get_artifact(engine, who, artifact_id)
    async with engine.storage.digest_lock(artifact.sha256):
        last = await engine.catalog.unlink_artifact(artifact_id)
        engine.failpoint("artifact.unlinked")
        if last:
            await engine.storage.delete_artifact(artifact.sha256)
