"""Commit: from a covered upload to an artifact. The steps, and what a crash after each leaves, are in ``ports/``."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from functools import partial

from partwise.core.errors import (
    ArtifactDigestMismatch,
    BytesLost,
    Conflict,
    IncompleteUpload,
    NotFound,
    OutOfSpace,
    RangeBusy,
    StaleGeneration,
    StorageFailed,
    Superseded,
    SyncFailed,
    WrongState,
)
from partwise.core.records import Principal, Task, TaskState, Upload
from partwise.core.state import UploadState
from partwise.engine.audit import record_artifact, record_upload
from partwise.engine.context import Context
from partwise.engine.ports import Purpose
from partwise.engine.reading import is_readable
from partwise.engine.uploads import remove_lost

log = logging.getLogger(__name__)

#: Seconds between looks at a commit that another process carries through.
POLL = 0.02
#: Seconds before a commit that failed for an unexpected reason is taken up again.
RETRY = 1.0


async def commit(engine: Context, who: Principal, upload_id: str, sha256: str | None, *, wait: float = 0.0) -> Task:
    """Start to commit, or join a commit that runs or is done; wait at most ``wait`` seconds for its end.

    ``sha256`` None: the one declared at create, or, if every chunk was verified, whatever the file amounts to. The
    task tells the outcome, also that the digest was wrong (the upload is open again). Raises, without a task:
    IncompleteUpload, UnverifiedUpload, WrongState, and ArtifactDigestMismatch when two expectations disagree.
    """
    upload = await engine.owned_upload(who, upload_id)
    expected = sha256 or upload.declared_sha256
    if upload.declared_sha256 and expected and expected != upload.declared_sha256:
        raise ArtifactDigestMismatch(expected, upload.declared_sha256)
    if upload.state is UploadState.COMPLETED:
        return await _repeated(engine, upload, expected)
    deadline = time.monotonic() + wait
    if upload.state is UploadState.COMMITTING and upload.auto_commit and expected is not None:
        # The server was quicker, and asked for no digest: wait for the one that it finds, and compare then.
        await asyncio.wait({drive(engine, upload_id)}, timeout=wait)
        upload = await engine.catalog.get_upload(upload_id)
        if upload.state is UploadState.COMPLETED:
            return await _repeated(engine, upload, expected)
    task = Task(id=str(uuid.uuid4()), owner=upload.owner, upload_id=upload_id, created=engine.clock())
    try:
        task = await engine.catalog.begin_commit(upload_id, expected, task, engine.clock())
    except WrongState:
        # Another process may have ended the same commit since: that is a repeat, not a conflict.
        upload = await engine.owned_upload(who, upload_id)
        if upload.state is not UploadState.COMPLETED:
            raise
        return await _repeated(engine, upload, expected)
    engine.failpoint("commit.begun")
    while task.state is TaskState.RUNNING:
        job = drive(engine, upload_id)
        await asyncio.wait({job}, timeout=max(0.0, deadline - time.monotonic()))
        task = await engine.catalog.get_task(task.id)
        if time.monotonic() >= deadline:
            break
    return task


async def _repeated(engine: Context, upload: Upload, expected: str | None) -> Task:
    """The same commit again gets the same answer."""
    assert upload.sha256 is not None
    if expected is not None and expected != upload.sha256:
        raise ArtifactDigestMismatch(expected, upload.sha256)
    task = await engine.catalog.find_task(upload.id)
    if task is None:
        raise NotFound("task")
    return task


def drive(engine: Context, upload_id: str) -> asyncio.Task[None]:
    """A job that ends when the upload is committing no more. Cancelling a waiter does not cancel the job."""
    return engine.workers.commits.run(upload_id, partial(_drive, engine, upload_id))


async def _drive(engine: Context, upload_id: str) -> None:
    try:
        while (await engine.catalog.get_upload(upload_id)).state is UploadState.COMMITTING:
            lock = await engine.storage.try_lock(upload_id, Purpose.COMMIT)
            if lock is None:
                await asyncio.sleep(POLL)
                continue
            try:
                await _carry_through(engine, upload_id)
            except BytesLost as error:
                await _open_again_without(engine, upload_id, error)
            except NotFound:
                await _open_again_without_file(engine, upload_id)
            except (StaleGeneration, IncompleteUpload):
                log.warning("the upload %s changed during its commit", upload_id)
            finally:
                lock.release()
    except NotFound:
        return  # deleted, or published and gone between two looks
    # The upload stays committing; the rounds of any process take it up again.
    except (StorageFailed, RangeBusy, Superseded) as error:
        log.warning("commit of %s failed and will be repeated: %s", upload_id, error)
        await asyncio.sleep(RETRY)
    except Exception:
        log.exception("commit of %s failed and will be repeated", upload_id)
        await asyncio.sleep(RETRY)


async def _carry_through(engine: Context, upload_id: str) -> None:
    """Take all steps after ``begin_commit``. The caller holds the COMMIT lock. Safe to repeat from any step."""
    upload = await engine.catalog.get_upload(upload_id)
    if upload.state is not UploadState.COMMITTING:
        return
    digest = await _digest(engine, upload)
    if upload.expected_sha256 not in (None, digest):
        error = ArtifactDigestMismatch(str(upload.expected_sha256), digest)
        await _reject(engine, upload, str(error), found_sha256=digest)
        return
    engine.failpoint("commit.digested")
    try:
        # Before the link: an upload that a power loss opens again must not share its file with an artifact.
        await engine.workers.flusher.flushed(upload_id)
        engine.failpoint("commit.flushed")
        async with engine.storage.exclude_writers(upload_id), engine.storage.digest_lock(digest):
            await _publish(engine, upload, digest)
    except BytesLost:
        raise
    except (StorageFailed, OutOfSpace) as failure:
        await _give_up(engine, upload, failure)
        return
    await engine.storage.discard(upload_id)
    engine.workers.follower.notify(upload_id)


async def _publish(engine: Context, upload: Upload, digest: str) -> None:
    """Make the upload's file the artifact's, and record that. The caller keeps writers out, and holds the digest."""
    if (await engine.catalog.get_upload(upload.id)).epoch != upload.epoch:
        raise StaleGeneration
    await engine.storage.publish(upload.id, digest, size=upload.size or 0)
    engine.failpoint("commit.published")
    try:
        new, now = str(uuid.uuid4()), engine.clock()
        artifact = await engine.catalog.complete_commit(upload.id, digest, new, now, generation=upload.epoch)
    except Conflict:  # stale, or not committing any more: the file is still the upload's
        recorded = await engine.catalog.has_artifact(digest)
        await engine.storage.withdraw(upload.id, digest, recorded=recorded)
        raise
    record_upload("upload.committed", upload, artifact=artifact.id, sha256=digest)
    if artifact.id == new:  # or its owner had this content already
        record_artifact("artifact.created", artifact, upload=upload.id)
    engine.failpoint("commit.recorded")
    engine.observe("commit", (engine.clock() - upload.updated).total_seconds())


async def _digest(engine: Context, upload: Upload) -> str:
    if upload.chunk_count == 1 and not upload.checksums:
        # The whole file came as one chunk that was hashed as it came: nothing to follow.
        (chunk,) = await engine.catalog.list_chunks(upload.id)
        if chunk.sha256 is not None and chunk.size == upload.size:
            return chunk.sha256
    return await engine.workers.follower.digest(upload.id)


async def _open_again_without(engine: Context, upload_id: str, error: BytesLost) -> None:
    """Bytes of the upload cannot be read back: those chunks are missing again, and the upload is open."""
    log.error("commit of %s: %s", upload_id, error)
    chunks = await engine.catalog.list_chunks(upload_id)
    lost = [chunk.offset for chunk in chunks if not await is_readable(engine, upload_id, chunk)]
    if not lost:
        await asyncio.sleep(RETRY)  # it has healed: whoever drives the commit goes on with it
        return
    message = "The server's disk lost bytes of the file. Look at what is missing, send it, and commit again."
    await _reject(engine, await engine.catalog.get_upload(upload_id), message, lost=lost)


async def _open_again_without_file(engine: Context, upload_id: str) -> None:
    """The upload was deleted meanwhile; or its staging file is gone: then all its chunks have to be sent again."""
    upload = await engine.catalog.get_upload(upload_id)
    if upload.state is not UploadState.COMMITTING:
        return
    if not await engine.storage.is_lost(upload_id):
        raise StorageFailed("The upload's file is unavailable. It is not known to be lost. Try again later.")
    await _reject(engine, upload, "The server lost the file's bytes. Upload the file again.")
    await remove_lost(engine, upload)


async def _reject(
    engine: Context, upload: Upload, message: str, *, found_sha256: str | None = None, lost: Sequence[int] = ()
) -> None:
    await engine.catalog.reject_commit(
        upload.id, message, engine.clock(), generation=upload.epoch, found_sha256=found_sha256, lost=lost
    )


async def _give_up(engine: Context, upload: Upload, error: StorageFailed | OutOfSpace) -> None:
    """The file could not be published. The upload is open again; after a failed sync what is not certain is missing."""
    log.error("publishing %s failed: %s", upload.id, error)
    message = "The server could not store the file now. All chunks are kept: commit again later."
    if isinstance(error, SyncFailed):
        await engine.workers.flusher.distrust(upload.id)
        message = "The server could not bring the file to its disk. Look at what is missing, send it, and commit again."
    elif isinstance(error, OutOfSpace):
        message = "The server has no room to publish the file. All chunks are kept: commit again later."
    now = await engine.catalog.get_upload(upload.id)
    if now.state is UploadState.COMMITTING:
        await _reject(engine, now, message)
