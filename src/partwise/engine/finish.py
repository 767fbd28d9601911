"""Uploads that the server itself ends: it commits them once their last byte is there, and makes some of others.

``auto_commit`` says that nobody will ask for the commit, as in tus: the digest is then what the bytes amount to.
``parts`` names the uploads that an upload is made of. All steps can be repeated, and the rounds of any process take
up what a process that died has left; nothing is lost between two of them:

1. ``concatenate`` records the upload, without bytes, with its ``parts``.
2. Its bytes come from the parts (``Storage.concatenate``), then a chunk is recorded for each.
3. It is committed like any other.
4. The parts are deleted, and forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from partwise.core.backoff import Backoff
from partwise.core.errors import (
    ArtifactDigestMismatch,
    Conflict,
    HookFailed,
    IncompleteUpload,
    NotFound,
    PartwiseError,
    StorageFailed,
    WrongState,
)
from partwise.core.records import Principal, Task, TaskState, Upload
from partwise.core.state import Event, UploadState, next_state
from partwise.engine.commit import commit
from partwise.engine.commit import drive as drive_commit
from partwise.engine.context import Context
from partwise.engine.creation import Allowed, Creation, ask
from partwise.engine.ports import Lock, Purpose
from partwise.engine.uploads import check_size, get_upload, record_new, remove

log = logging.getLogger(__name__)

#: The longest pause, in seconds, between looks at work that another process does.
POLL = 0.05

#: What the ids of joined uploads are made in, so that the same parts of the same owner always give the same id.
_JOINED = uuid.UUID("5b6f2c1e-8f55-4a3c-9d0b-6f0f8c1b7a42")


def joined_id(owner: str, parts: Sequence[str]) -> str:
    """The id of the upload that ``owner`` makes of ``parts``."""
    return str(uuid.uuid5(_JOINED, "\n".join((owner, *parts))))


async def concatenate(
    engine: Context,
    who: Principal,
    parts: Sequence[str],
    *,
    filename: str | None = None,
    media_type: str | None = None,
    notes: dict[str, str] | None = None,
) -> Upload:
    """The upload whose bytes are those of ``parts``, one after another: a new one, or the one made of them before.

    Its bytes come with ``finish``. Raises NotFound, IncompleteUpload (a part is not whole), WrongState (a part is
    not open), UploadTooLarge, QuotaExceeded, OutOfSpace.
    """
    upload_id = joined_id(who.name, parts)

    async def make() -> Upload:
        wholes = [await _whole(engine, who, part) for part in parts]
        size = sum(whole.size or 0 for whole in wholes)
        allowed = await _ask(engine, who, size, filename, media_type)
        now = engine.clock()
        upload = Upload(
            id=upload_id,
            owner=who.name,
            size=size,
            created=now,
            updated=now,
            filename=allowed.filename or filename,
            media_type=media_type,
            metadata=allowed.metadata or {},
            auto_commit=True,
            parts=tuple(parts),
            notes=notes or {},
        )
        return await record_new(engine, upload, 0)

    return await _made_once(engine, who, upload_id, make)


async def open_named(
    engine: Context,
    who: Principal,
    upload_id: str,
    *,
    size: int,
    filename: str | None = None,
    notes: dict[str, str] | None = None,
) -> Upload:
    """The upload of an id that the caller chose, made where it is not there: it is committed with its last byte.

    Of several requests that all come first one makes it. Its size is that of the one that did. Raises what
    ``create_upload`` does.
    """
    with suppress(NotFound):
        return await get_upload(engine, who, upload_id)

    async def make() -> Upload:
        allowed = await _ask(engine, who, size, filename, None)
        now = engine.clock()
        upload = Upload(
            id=upload_id,
            owner=who.name,
            size=size,
            created=now,
            updated=now,
            filename=allowed.filename or filename,
            metadata=allowed.metadata or {},
            largest=allowed.largest,
            auto_commit=True,
            notes=notes or {},
        )
        return await record_new(engine, upload, size)

    return await _made_once(engine, who, upload_id, make)


async def commit_when_whole(engine: Context, who: Principal, upload_id: str) -> Upload:
    """From now on the server commits the upload by itself once its last byte is there. NotFound, WrongState."""
    upload = await get_upload(engine, who, upload_id)
    return upload if upload.auto_commit else await engine.catalog.commit_when_whole(upload_id, engine.clock())


async def _made_once(engine: Context, who: Principal, upload_id: str, make: Callable[[], Awaitable[Upload]]) -> Upload:
    """The upload of that id, or the one that ``make`` makes: of several who come at once, one does."""
    lock = await _wait_for_lock(engine, upload_id)
    try:
        try:
            return await get_upload(engine, who, upload_id)
        except NotFound:
            return await make()
    finally:
        lock.release()


async def _ask(engine: Context, who: Principal, size: int, filename: str | None, media_type: str | None) -> Allowed:
    """Ask the application about an upload whose id contains its owner. HookFailed if it names another owner."""
    check_size(engine, size)
    wanted = Creation(user=who.name, admin=who.admin, size=size, filename=filename, media_type=media_type)
    allowed = await ask(engine, who, wanted)
    if allowed.owner not in (None, who.name):
        log.error(
            "the hook named %s as the owner of an upload of %s, whose id has its user's name", allowed.owner, who.name
        )
        raise HookFailed
    check_size(engine, size, allowed.largest)
    return allowed


async def _whole(engine: Context, who: Principal, upload_id: str) -> Upload:
    upload = await get_upload(engine, who, upload_id)
    next_state(upload.state, Event.WRITE)
    if upload.size is None:
        raise Conflict(f"The upload {upload_id} has no declared size, so it is not complete. Declare its size first.")
    if upload.received != upload.size:
        gaps = await engine.catalog.find_gaps(upload_id)
        raise IncompleteUpload(gaps.first, gaps.count)
    return upload


async def _wait_for_lock(engine: Context, upload_id: str) -> Lock:
    backoff = Backoff(0.001, POLL)
    while (lock := await engine.storage.try_lock(upload_id, Purpose.JOIN)) is None:  # noqa: ASYNC110 (has no event)
        await asyncio.sleep(backoff.take())
    return lock


async def finish(engine: Context, who: Principal, upload_id: str, *, wait: float) -> Upload:
    """Drive an auto-commit upload to completion if all its bytes are available. Wait at most ``wait`` seconds.

    Returns the resulting upload. Raises the error that prevented completion: OutOfSpace, StorageFailed, Conflict (a
    part no longer exists), ArtifactDigestMismatch (the digest differs from the one declared with the upload).
    """
    upload = await get_upload(engine, who, upload_id)
    if _is_due(upload):
        job = drive(engine, upload_id)
        await asyncio.wait({job}, timeout=wait)
        if job.done():
            job.result()
        upload = await get_upload(engine, who, upload_id)
    return upload


def _is_due(upload: Upload) -> bool:
    if upload.parts:
        return True
    unfinished = upload.state in (UploadState.OPEN, UploadState.COMMITTING)
    return upload.auto_commit and unfinished and upload.received == upload.size


def drive(engine: Context, upload_id: str) -> asyncio.Task[None]:
    """A job that takes all steps. Cancelling a waiter does not cancel it."""
    return engine.workers.finishes.run(upload_id, partial(_carry_on, engine, upload_id))


async def take_up(engine: Context) -> None:
    """Resume unattended uploads."""
    for upload in await engine.catalog.list_unattended():
        drive(engine, upload.id)


async def _carry_on(engine: Context, upload_id: str) -> None:
    lock = await _wait_for_lock(engine, upload_id)
    try:
        upload = await engine.catalog.get_upload(upload_id)
        if upload.parts and upload.state is UploadState.OPEN:
            await _join(engine, upload)
        if upload.state in (UploadState.OPEN, UploadState.COMMITTING):
            await _commit(engine, upload)
        if upload.parts:
            await _clear_parts(engine, upload)
    except NotFound:
        return  # deleted meanwhile
    finally:
        lock.release()


async def _join(engine: Context, upload: Upload) -> None:
    """Copy all bytes from the parts, and record a chunk for each part.

    A power loss may have taken bytes of a part. The upload then waits for a client to send them again.
    """
    if upload.received == upload.size:
        return
    owner = Principal(upload.owner, admin=True)  # who asked for it may see parts of others
    try:
        for part in upload.parts:
            await _whole(engine, owner, part)
        parts = [(part, await engine.catalog.list_chunks(part)) for part in upload.parts]
        await _begin_again(engine, upload)
        chunks = await engine.storage.concatenate(upload.id, parts)
    except NotFound:
        await engine.catalog.get_upload(upload.id)
        await remove(engine, upload.id, reason="lost")
        raise Conflict(
            "The final upload cannot be completed: one of its parts was deleted. Upload the file again."
        ) from None
    engine.failpoint("join.copied")
    for chunk in chunks:
        limit = engine.limits.max_chunks
        await engine.catalog.record_chunk(upload.id, chunk, now=engine.clock(), max_chunks=limit)
    engine.failpoint("join.recorded")
    engine.workers.flusher.notify(upload.id)


async def _begin_again(engine: Context, upload: Upload) -> None:
    """Invalidate the chunks that an interrupted join recorded.

    The parts may have changed since. A hasher has seen the bytes of then, so the generation has to rise.
    """
    for chunk in await engine.catalog.list_chunks(upload.id):
        await engine.catalog.unrecord_chunk(upload.id, chunk.offset)


async def _commit(engine: Context, upload: Upload) -> None:
    owner = Principal(upload.owner)
    task = await commit(engine, owner, upload.id, None, wait=0)
    while task.state is TaskState.RUNNING:
        await asyncio.wait({drive_commit(engine, upload.id)})
        task = await engine.catalog.get_task(task.id)
    if task.state is not TaskState.COMPLETED:
        raise _failure(upload, task)


def _failure(upload: Upload, task: Task) -> PartwiseError:
    if task.found_sha256 is not None and upload.declared_sha256 is not None:
        return ArtifactDigestMismatch(upload.declared_sha256, task.found_sha256)
    return StorageFailed(task.error or "The server could not store the file; it tries again.")


async def _clear_parts(engine: Context, upload: Upload) -> None:
    for part in upload.parts:
        try:
            await remove(engine, part, reason=None)
        except (NotFound, WrongState):
            continue
    engine.failpoint("join.cleared")
    await engine.catalog.forget_parts(upload.id)
