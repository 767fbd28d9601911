"""Create uploads, look at them, and give them up."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

from partwise.core.errors import NotFound, StorageFailed, UploadTooLarge
from partwise.core.ranges import ByteRange, missing_ranges
from partwise.core.records import Chunk, Page, Principal, Task, TaskState, Upload
from partwise.core.state import Event, UploadState, next_state
from partwise.engine.context import Engine


async def create_upload(
    engine: Engine,
    who: Principal,
    *,
    size: int | None,
    filename: str | None = None,
    media_type: str | None = None,
    sha256: str | None = None,
    notes: dict[str, str] | None = None,
) -> Upload:
    """Reserve the space for a file of ``size`` bytes and record the upload.

    With ``sha256``, content of that digest and size that ``who`` has already completes it at once; content of
    others counts for nothing. ``size`` None: to be said later (``set_size``). Raises UploadTooLarge, QuotaExceeded,
    TooManyUploads, OutOfSpace.
    """
    largest = engine.limits.max_upload_size
    if size is not None and largest is not None and size > largest:
        raise UploadTooLarge(size, largest)
    now = engine.clock()
    upload = Upload(
        id=str(uuid.uuid4()),
        owner=who.name,
        size=size,
        created=now,
        updated=now,
        declared_sha256=sha256,
        filename=filename,
        media_type=media_type,
        notes=notes or {},
    )
    if sha256 is not None and size is not None and await _complete_instantly(engine, upload, sha256):
        return await engine.catalog.get_upload(upload.id)
    lock = await engine.storage.reserve(upload.id, size or 0)
    try:
        engine.failpoint("create.reserved")
        await engine.catalog.create_upload(upload, engine.limits.owner)
    except BaseException:
        await _discard_unrecorded(engine, upload.id)
        raise
    finally:
        lock.release()
    return upload


async def _complete_instantly(engine: Engine, upload: Upload, sha256: str) -> bool:
    now = upload.created
    task = Task(
        id=str(uuid.uuid4()),
        owner=upload.owner,
        upload_id=upload.id,
        created=now,
        state=TaskState.COMPLETED,
        finished=now,
    )
    return await engine.catalog.complete_instantly(upload, sha256, task, now) is not None


async def _discard_unrecorded(engine: Engine, upload_id: str) -> None:
    """Give the space back, unless the row was recorded after all (a caller cancelled while the transaction ended)."""
    try:
        await engine.catalog.get_upload(upload_id)
    except NotFound:
        await engine.storage.discard(upload_id)


async def get_upload(engine: Engine, who: Principal, upload_id: str) -> Upload:
    """The upload, or NotFound."""
    return await engine.owned_upload(who, upload_id)


async def list_uploads(
    engine: Engine,
    who: Principal,
    *,
    offset: int = 0,
    limit: int = 100,
    states: tuple[str, ...] = (),
    search: str = "",
) -> Page[Upload]:
    """The uploads that ``who`` may see, newest first; without those that are being deleted unless asked for."""
    states = states or (UploadState.OPEN, UploadState.COMMITTING, UploadState.COMPLETED)
    owner = None if who.admin else who.name
    return await engine.catalog.list_uploads(owner, offset=offset, limit=limit, states=states, search=search)


async def list_chunks(engine: Engine, who: Principal, upload_id: str) -> list[Chunk]:
    """The recorded chunks of an upload, by offset."""
    await engine.authorize(who, upload_id)
    return await engine.catalog.list_chunks(upload_id)


async def list_missing(engine: Engine, who: Principal, upload_id: str, limit: int = 100) -> tuple[list[ByteRange], int]:
    """The first ``limit`` ranges that no chunk covers, and how many there are in all."""
    upload = await engine.owned_upload(who, upload_id)
    if upload.state is not UploadState.OPEN or upload.size is None or upload.received == upload.size:
        return [], 0
    chunks = await engine.catalog.list_chunks(upload_id)
    gaps = list(missing_ranges(upload.size, (chunk.range for chunk in chunks)))
    return gaps[:limit], len(gaps)


async def chunk_digests(
    engine: Engine, who: Principal, upload_id: str, *, offsets: frozenset[int] | None = None
) -> AsyncIterator[Chunk]:
    """The recorded chunks, each with the SHA-256 of its bytes as they are stored now (they are read again).

    The way to find the bad chunk after a commit whose digest did not match. With ``offsets`` only the chunks that begin
    there: a quick look whether a file is the one that an upload was begun with.
    """
    for chunk in await list_chunks(engine, who, upload_id):
        if offsets is not None and chunk.offset not in offsets:
            continue
        yield await asyncio.to_thread(_stored_digest, engine, upload_id, chunk)


def _stored_digest(engine: Engine, upload_id: str, chunk: Chunk) -> Chunk:
    hasher = hashlib.sha256()
    engine.storage.read_staged(upload_id, chunk, chunk.range, hasher.update)
    return replace(chunk, sha256=hasher.hexdigest())


async def set_size(engine: Engine, who: Principal, upload_id: str, size: int) -> Upload:
    """Fix the size of an open upload: one that was deferred, or that turned out smaller than was reserved."""
    upload = await engine.owned_upload(who, upload_id)
    next_state(upload.state, Event.WRITE)
    largest = engine.limits.max_upload_size
    if largest is not None and size > largest:
        raise UploadTooLarge(size, largest)
    # Room first, then the record: a crash in between leaves a file that is too long, which harms nobody.
    if size > (upload.size or 0):
        await _resize(engine, upload_id, size)
        return await engine.catalog.set_size(upload_id, size, engine.limits.owner, engine.clock())
    changed = await engine.catalog.set_size(upload_id, size, engine.limits.owner, engine.clock())
    await _resize(engine, upload_id, size)
    return changed


async def _resize(engine: Engine, upload_id: str, size: int) -> None:
    try:
        await engine.storage.resize(upload_id, size)
    except StorageFailed:
        # It syncs: the failure may be that of chunks, and the next sync would not tell.
        await engine.workers.flusher.distrust(upload_id)
        raise


async def delete_upload(engine: Engine, who: Principal, upload_id: str) -> None:
    """Abort an open upload, or clear a completed one from the list (its artifact stays).

    The state flips first, so that chunks in flight can no longer be recorded; then the bytes go. WrongState while
    the upload is committing.
    """
    await engine.owned_upload(who, upload_id)
    await remove(engine, upload_id)


async def remove(engine: Engine, upload_id: str) -> None:
    """Carry a deletion through; what a crash left of one may be carried through again."""
    await engine.catalog.begin_delete(upload_id)
    await finish_removal(engine, upload_id)


async def finish_removal(engine: Engine, upload_id: str) -> None:
    """Carry the deletion of an upload in state deleting through. Idempotent."""
    engine.failpoint("delete.begun")
    await engine.storage.discard(upload_id)
    engine.failpoint("delete.discarded")
    await engine.catalog.finish_delete(upload_id)
    engine.workers.follower.notify(upload_id)


def expires(engine: Engine, upload: Upload) -> datetime:
    """When the upload goes if nothing more happens to it."""
    if upload.completed is not None:
        return upload.completed + engine.limits.completed_expiry
    return upload.updated + engine.limits.idle_expiry
