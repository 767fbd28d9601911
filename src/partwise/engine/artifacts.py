"""Artifacts: made from an upload or from one request, listed, read, and deleted with their last owner's link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from partwise.core.digests import EMPTY_SHA256
from partwise.core.errors import BodySizeMismatch, ChunkDigestMismatch, NotFound, StorageFailed, WrongState
from partwise.core.ranges import MAX_SIZE, ByteRange
from partwise.core.records import Artifact, Page, PageKey, Principal, TaskState
from partwise.engine.audit import record_artifact
from partwise.engine.chunks import Early, put_chunk
from partwise.engine.commit import commit
from partwise.engine.context import Context, check_scope
from partwise.engine.creation import acting
from partwise.engine.ports import ArtifactFile, Body, Purpose
from partwise.engine.uploads import create_upload, delete_upload, set_size

#: Bytes of a block that is read to be sent: what a reader that takes none holds of the server's memory.
READ_BLOCK = 128 << 10
#: How old the upload of a request is at least when it is taken for abandoned.
ABANDONED_AFTER = timedelta(seconds=10)


class FileBody(Body, Protocol):
    """A body that is a file, and tells what it is called. Final after ``drain``, as its digest is."""

    filename: str | None
    media_type: str | None


async def store_file(engine: Context, who: Principal, body: FileBody, *, bound: int | None) -> Artifact:
    """Make an artifact of one request that holds the whole file, of at most ``bound`` bytes; None: nobody knows.

    The bytes take the way of an upload with one chunk, which nobody sees and which does not stay. Raises what
    ``create_upload`` and ``put_chunk`` raise, and ChunkDigestMismatch.
    """
    upload = await create_upload(
        engine, who, size=bound, filename=body.filename, media_type=body.media_type, internal=True
    )
    server = replace(acting(who, upload.owner), internal=True)
    chosen = upload.filename if upload.filename != body.filename else None
    lock = await engine.storage.try_lock(upload.id, Purpose.RECEIVE)
    try:
        sha256 = await _receive(engine, server, upload.id, body, bound)
        named = chosen or body.filename, body.media_type
        if named != (upload.filename, upload.media_type):  # the form told it behind the file's bytes
            await engine.catalog.set_name(upload.id, *named, engine.clock())
        task = await commit(engine, server, upload.id, sha256, wait=3600)
        if task.state is not TaskState.COMPLETED or task.artifact_id is None:
            raise StorageFailed(task.error or "The file could not be stored; try again.")
        return await engine.catalog.get_artifact(task.artifact_id)
    finally:
        await asyncio.shield(_clear(engine, server, upload.id))
        if lock is not None:
            lock.release()


async def clear_abandoned(engine: Context) -> None:
    """Remove the uploads of requests whose process died: nobody can go on with them, and they hold room."""
    for upload in await engine.catalog.list_internal():
        lock = await engine.storage.try_lock(upload.id, Purpose.RECEIVE)
        if lock is None:
            continue
        try:
            # It may just have been made, and its request be about to take the lock.
            if engine.clock() - upload.updated > ABANDONED_AFTER:
                await _clear(engine, Principal(upload.owner, internal=True), upload.id)
        finally:
            lock.release()


async def _receive(engine: Context, server: Principal, upload_id: str, body: Body, bound: int | None) -> str:
    """Receive the file as one chunk, and return its SHA-256."""
    size, sha256 = 0, EMPTY_SHA256
    if bound != 0:
        try:
            span = ByteRange(0, MAX_SIZE if bound is None else bound)
            received = await put_chunk(engine, server, upload_id, span, body, early=Early.ACCEPT, hashed=True)
        except BodySizeMismatch as error:
            if error.received != 0:
                raise
        else:
            assert received.chunk.sha256 is not None, "it was hashed as it came"
            size, sha256 = received.chunk.size, received.chunk.sha256
    else:
        await body.drain(_refuse)
    if body.sha256 not in (None, sha256):
        raise ChunkDigestMismatch(str(body.sha256), sha256)
    if size != bound:
        await set_size(engine, server, upload_id, size)
    return sha256


def _refuse(block: memoryview) -> None:
    """The sink of a body that is to be empty; its end still tells the digest."""
    raise BodySizeMismatch(0, len(block))


async def _clear(engine: Context, who: Principal, upload_id: str) -> None:
    try:
        await delete_upload(engine, who, upload_id)
    except (NotFound, WrongState):
        return  # a commit that still runs is ended by the rounds; its upload then expires like any other


async def get_artifact(engine: Context, who: Principal, artifact_id: str) -> Artifact:
    """The artifact by its owner's link, or NotFound."""
    artifact = await engine.catalog.get_artifact(artifact_id)
    if not who.owns(artifact.owner):
        raise NotFound("artifact")
    return artifact


async def list_artifacts(
    engine: Context,
    who: Principal,
    *,
    sha256: str | None = None,
    offset: int = 0,
    limit: int = 100,
    search: str = "",
    filename: str | None = None,
    after: PageKey | None = None,
) -> Page[Artifact]:
    """The artifacts that ``who`` may see, newest first."""
    owner = None if who.admin else who.name
    return await engine.catalog.list_artifacts(
        owner, sha256=sha256, offset=offset, limit=limit, search=search, filename=filename, after=after
    )


def read_artifact(engine: Context, artifact: Artifact, span: ByteRange) -> AsyncIterator[bytes]:
    """The bytes of ``span``, in blocks. Raises NotFound on the first step when the bytes are gone."""
    return engine.storage.read_artifact(artifact.sha256, span, READ_BLOCK)


async def open_artifact(engine: Context, artifact: Artifact) -> ArtifactFile | None:
    """Its file, for whoever sends it as one; None where the storage has none. Raises NotFound, StorageFailed."""
    return await engine.storage.artifact_file(artifact.sha256)


async def artifact_url(engine: Context, artifact: Artifact, headers: Mapping[str, str]) -> str | None:
    """Return a presigned URL of the artifact that responds with ``headers``, or None if the storage has none."""
    return await engine.storage.artifact_url(artifact.sha256, artifact.size, headers)


async def delete_artifact(engine: Context, who: Principal, artifact_id: str) -> None:
    """Delete the link; with the last link of a digest, its bytes. NotFound."""
    check_scope(who)
    artifact = await get_artifact(engine, who, artifact_id)
    async with engine.storage.digest_lock(artifact.sha256):
        last = await engine.catalog.unlink_artifact(artifact_id)
        record_artifact("artifact.deleted", artifact, user=who.name)
        engine.failpoint("artifact.unlinked")
        if last:
            await engine.storage.delete_artifact(artifact.sha256)
