"""Commit: from a covered upload to an artifact. The steps, and what a crash after each leaves, are in ``ports.py``."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from partwise.core.errors import (
    ArtifactDigestMismatch,
    BytesLost,
    Conflict,
    NotFound,
    OutOfSpace,
    RangeBusy,
    StorageFailed,
    WrongState,
)
from partwise.core.ranges import MAX_SIZE, ByteRange
from partwise.core.records import Principal, Task, TaskState, Upload
from partwise.core.state import UploadState
from partwise.engine.context import Engine
from partwise.engine.ports import Purpose
from partwise.engine.reading import is_readable
from partwise.engine.uploads import remove

log = logging.getLogger(__name__)

#: Seconds between looks at a commit that another process carries through.
POLL = 0.02
#: Seconds before a commit that failed for an unexpected reason is taken up again.
RETRY = 1.0


async def commit(engine: Engine, who: Principal, upload_id: str, sha256: str | None, *, wait: float = 0.0) -> Task:
    """Start to commit, or join a commit that runs or is done; wait at most ``wait`` seconds for its end.

    ``sha256`` None: the one declared at create, or, if every chunk was verified, whatever the file amounts to. The
    task tells the outcome, also that the digest was wrong (the upload is open again). Raises, without a task:
    IncompleteUpload, UnverifiedUpload, WrongState, and ArtifactDigestMismatch when two expectations disagree.
    """
    return await commit_upload(engine, await engine.owned_upload(who, upload_id), sha256, wait=wait)


async def commit_upload(engine: Engine, upload: Upload, sha256: str | None, *, wait: float = 0.0) -> Task:
    """``commit``, whoever asks for it."""
    upload_id = upload.id
    expected = sha256 or upload.declared_sha256
    if upload.declared_sha256 and expected and expected != upload.declared_sha256:
        raise ArtifactDigestMismatch(expected, upload.declared_sha256)
    if upload.state is UploadState.COMPLETED:
        return await _repeated(engine, upload, expected)
    deadline = time.monotonic() + wait
    if upload.state is UploadState.COMMITTING and upload.auto_commit and expected is not None:
        # The server was quicker, and asked for no digest: wait for the one that it finds, and compare then.
        await asyncio.wait({engine.workers.commits.drive(upload_id)}, timeout=wait)
        upload = await engine.catalog.get_upload(upload_id)
        if upload.state is UploadState.COMPLETED:
            return await _repeated(engine, upload, expected)
    task = Task(id=str(uuid.uuid4()), owner=upload.owner, upload_id=upload_id, created=engine.clock())
    try:
        task = await engine.catalog.begin_commit(upload_id, expected, task, engine.clock())
    except WrongState:
        # Another process may have ended the same commit since: that is a repeat, not a conflict.
        upload = await engine.catalog.get_upload(upload_id)
        if upload.state is not UploadState.COMPLETED:
            raise
        return await _repeated(engine, upload, expected)
    engine.failpoint("commit.begun")
    while task.state is TaskState.RUNNING:
        job = engine.workers.commits.drive(upload_id)
        await asyncio.wait({job}, timeout=max(0.0, deadline - time.monotonic()))
        task = await engine.catalog.get_task(task.id)
        if time.monotonic() >= deadline:
            break
    return task


async def _repeated(engine: Engine, upload: Upload, expected: str | None) -> Task:
    """The same commit again gets the same answer."""
    assert upload.sha256 is not None
    if expected is not None and expected != upload.sha256:
        raise ArtifactDigestMismatch(expected, upload.sha256)
    task = await engine.catalog.find_task(upload.id)
    if task is None:
        raise NotFound("task")
    return task


class Commits:
    """The commits that this process carries through, or waits for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs: dict[str, asyncio.Task[None]] = {}

    def drive(self, upload_id: str) -> asyncio.Task[None]:
        """A job that ends when the upload is committing no more. Cancelling a waiter does not cancel the job."""
        job = self._jobs.get(upload_id)
        if job is None:
            job = asyncio.create_task(self._drive(upload_id), name=f"commit {upload_id}")
            self._jobs[upload_id] = job
            job.add_done_callback(lambda _job: self._jobs.pop(upload_id, None))
        return job

    async def stop(self) -> None:
        """Cancel the jobs; whoever starts next goes on with them."""
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    async def _drive(self, upload_id: str) -> None:
        engine = self._engine
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
                except (Conflict, RangeBusy) as error:  # someone else was at it, or writes that do not end
                    log.info("commit of %s starts over: %s", upload_id, error)
                    await asyncio.sleep(POLL)
                except NotFound:
                    await _remove_what_lost_its_file(engine, upload_id)
                finally:
                    lock.release()
        except NotFound:
            return  # deleted, or published and gone between two looks
        # The upload stays committing; the rounds of any process take it up again.
        except StorageFailed as error:
            log.warning("commit of %s failed for now: %s", upload_id, error)
            await asyncio.sleep(RETRY)
        except Exception:
            log.exception("commit of %s failed for now", upload_id)
            await asyncio.sleep(RETRY)


async def _carry_through(engine: Engine, upload_id: str) -> None:
    """All steps after ``begin_commit``; the caller holds the COMMIT lock. Safe to repeat from any of them."""
    upload = await engine.catalog.get_upload(upload_id)
    if upload.state is not UploadState.COMMITTING:
        return
    digest = await _digest(engine, upload)
    if upload.expected_sha256 not in (None, digest):
        error = ArtifactDigestMismatch(str(upload.expected_sha256), digest)
        await engine.catalog.reject_commit(upload_id, upload.version, str(error), engine.clock(), found_sha256=digest)
        return
    engine.failpoint("commit.digested")
    try:
        # Before the link: an upload that a power loss opens again must not share its file with an artifact.
        await engine.workers.flusher.flushed(upload_id)
    except (StorageFailed, OutOfSpace) as error:
        await _give_up(engine, upload, error)
        return
    engine.failpoint("commit.flushed")
    async with _without_writers(engine, upload):
        failure = await _publish(engine, upload, digest)
    if failure is not None:
        await _give_up(engine, upload, failure)
        return
    await engine.storage.discard(upload_id)
    engine.workers.follower.notify(upload_id)


@asynccontextmanager
async def _without_writers(engine: Engine, upload: Upload) -> AsyncIterator[None]:
    """Hold the whole file, after everyone who has it open for writing has left. Raises Conflict, RangeBusy, NotFound.

    An artifact never changes: who could still write into its file would change it. What was true before all had left
    proves nothing, so the upload is looked at again.
    """
    try:
        holder = await engine.storage.claim(upload.id, ByteRange(0, MAX_SIZE))
    except WrongState:
        holder = None  # the file is an artifact's already, and nobody can write into it any more
    try:
        if (await engine.catalog.get_upload(upload.id)).version != upload.version:
            raise Conflict("The upload has changed.")
        yield
    finally:
        if holder is not None:
            holder.close()


async def _publish(engine: Engine, upload: Upload, digest: str) -> StorageFailed | OutOfSpace | None:
    """Make the file an artifact and record it, or return why the storage could not. BytesLost."""
    async with engine.storage.digest_lock(digest):
        recorded = await engine.catalog.has_artifact(digest)
        try:
            await engine.storage.publish(upload.id, digest, size=upload.size or 0, recorded=recorded)
        except BytesLost:
            raise
        except (StorageFailed, OutOfSpace) as error:
            return error
        engine.failpoint("commit.published")
        await engine.catalog.complete_commit(upload.id, upload.version, digest, str(uuid.uuid4()), engine.clock())
        engine.failpoint("commit.recorded")
        engine.observe("commit", (engine.clock() - upload.updated).total_seconds())
    return None


async def _digest(engine: Engine, upload: Upload) -> str:
    if upload.chunk_count == 1:
        # The whole file came as one chunk that was hashed as it came: nothing to follow.
        (chunk,) = await engine.catalog.list_chunks(upload.id)
        if chunk.sha256 is not None and chunk.size == upload.size:
            return chunk.sha256
    return await engine.workers.follower.digest(upload.id)


async def _open_again_without(engine: Engine, upload_id: str, error: BytesLost) -> None:
    """Bytes of the upload cannot be read back: those chunks are missing again, and the upload is open."""
    log.error("commit of %s: %s", upload_id, error)
    upload = await engine.catalog.get_upload(upload_id)
    chunks = await engine.catalog.list_chunks(upload_id)
    lost = [chunk.offset for chunk in chunks if not await is_readable(engine, upload_id, chunk)]
    if not lost:
        await asyncio.sleep(RETRY)  # it has healed: whoever drives the commit goes on with it
        return
    message = "The server's disk lost bytes of the file. Look at what is missing, send it, and commit again."
    await engine.catalog.reject_commit(upload_id, upload.version, message, engine.clock(), lost=lost)


async def _remove_what_lost_its_file(engine: Engine, upload_id: str) -> None:
    """The upload was deleted meanwhile; or it is there, and its file is not: then nobody can go on with it."""
    upload = await engine.catalog.get_upload(upload_id)
    if upload.state is not UploadState.COMMITTING:
        return
    log.error("removing the upload %s: its staging file is gone", upload_id)
    message = "The server's disk lost the file. Upload it again."
    await engine.catalog.reject_commit(upload_id, upload.version, message, engine.clock())
    await remove(engine, upload_id)


async def _give_up(engine: Engine, upload: Upload, error: StorageFailed | OutOfSpace) -> None:
    """The bytes could not be made durable. The upload is open again; what is not certain is missing again."""
    log.error("publishing %s failed: %s", upload.id, error)
    if isinstance(error, StorageFailed):
        await engine.workers.flusher.distrust(upload.id)
    upload = await engine.catalog.get_upload(upload.id)
    if upload.state is UploadState.COMMITTING:
        message = "The server could not bring the file to its disk. Look at what is missing, send it, and commit again."
        await engine.catalog.reject_commit(upload.id, upload.version, message, engine.clock())
