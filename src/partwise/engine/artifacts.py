"""Artifacts: made from an upload or from one request, listed, read, and deleted with their last owner's link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from partwise.core.digests import EMPTY_SHA256
from partwise.core.errors import BodySizeMismatch, ChunkDigestMismatch, NotFound, StorageFailed, WrongState
from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact, Page, Principal, TaskState, Upload
from partwise.engine.chunks import Early, receive
from partwise.engine.commit import commit_upload
from partwise.engine.context import Engine
from partwise.engine.ports import Body, Lock, Purpose
from partwise.engine.uploads import create_internal, fix_size, remove


class FileBody(Body, Protocol):
    """A body that is a file, and tells what it is called. Final after ``drain``, as its digest is."""

    filename: str | None
    media_type: str | None


async def store_file(engine: Engine, who: Principal, body: FileBody, *, bound: int) -> Artifact:
    """Make an artifact of one request that holds the whole file, of at most ``bound`` bytes.

    The bytes take the way of any chunk, into an upload that nobody else can see or write to, and that does not stay.
    Raises what ``create_upload`` and ``put_chunk`` raise, and ChunkDigestMismatch.
    """
    upload = await create_internal(engine, who, max(bound, 1))
    lock = await engine.storage.try_lock(upload.id, Purpose.STORE)  # while someone has it, the upload is in use
    try:
        digest, size = await _receive(engine, upload, body)
        upload = await fix_size(engine, await engine.catalog.get_upload(upload.id), size)
        await engine.catalog.set_name(upload.id, body.filename, body.media_type, engine.clock())
        task = await commit_upload(engine, upload, digest, wait=3600)
        if task.state is not TaskState.COMPLETED or task.artifact_id is None:
            raise StorageFailed(task.error or "The file could not be stored; try again.")
        return await engine.catalog.get_artifact(task.artifact_id)
    finally:
        await asyncio.shield(_clear(engine, upload.id, lock))


async def _receive(engine: Engine, upload: Upload, body: Body) -> tuple[str, int]:
    """The digest of the body, and its size."""
    span = ByteRange(0, upload.size or 0)
    try:
        received = await receive(engine, upload.id, span, body, early=Early.ACCEPT, hashed=True)
    except BodySizeMismatch as error:
        if error.received != 0:
            raise
        if body.sha256 not in (None, EMPTY_SHA256):
            raise ChunkDigestMismatch(str(body.sha256), EMPTY_SHA256) from None
        return EMPTY_SHA256, 0
    assert received.chunk.sha256 is not None
    return received.chunk.sha256, received.chunk.size


async def _clear(engine: Engine, upload_id: str, lock: Lock | None) -> None:
    try:
        await remove(engine, upload_id)
    except (NotFound, WrongState):
        return  # a commit that still runs is ended by the rounds, which then remove the upload
    finally:
        if lock is not None:
            lock.release()


async def clear_abandoned(engine: Engine, upload_id: str) -> None:
    """Remove the upload of a request for a whole file, unless its process still is at it."""
    lock = await engine.storage.try_lock(upload_id, Purpose.STORE)
    if lock is not None:
        await _clear(engine, upload_id, lock)


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
