"""Create uploads, look at them, and give them up."""

from __future__ import annotations

import logging
import secrets
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from partwise.core.errors import (
    BytesLost,
    NotFound,
    PartwiseError,
    RangeBusy,
    Superseded,
    SyncFailed,
    UploadTooLarge,
)
from partwise.core.ranges import MAX_SIZE, ByteRange, Gaps
from partwise.core.records import Chunk, Page, PageKey, Principal, Task, TaskState, Upload
from partwise.core.state import Event, UploadState, next_state
from partwise.engine.audit import record_upload
from partwise.engine.context import Context
from partwise.engine.creation import Creation, ask
from partwise.engine.reading import artifact_digest, stored_digest

log = logging.getLogger(__name__)

#: Chunks that any upload may have, however small they are.
FREE_CHUNKS = 1000
#: Rows of chunks that are read at once.
PAGE = 1000


async def create_upload(
    engine: Context,
    who: Principal,
    *,
    size: int | None,
    owner: str | None = None,
    filename: str | None = None,
    media_type: str | None = None,
    sha256: str | None = None,
    checksums: Collection[str] = (),
    metadata: Mapping[str, str] | None = None,
    notes: dict[str, str] | None = None,
    auto_commit: bool = False,
    internal: bool = False,
    part: bool = False,
    instant: bool = True,
) -> Upload:
    """Reserve the space for a file of ``size`` bytes and record the upload.

    It belongs to ``who``, or to ``owner``, whom an admin may name.
    With ``sha256``, content of that digest and size that its owner has already completes it at once; content of
    others counts for nothing. ``instant`` False: not so, its bytes are on their way.
    ``checksums``: the algorithms of other digests that are made of the file while it comes.
    ``size`` None: to be said later (``set_size``). ``auto_commit``: see ``finish.py``.
    ``part``: it is to become a part of another upload, so no event tells of it.
    Raises Denied, HookFailed, UploadTooLarge, QuotaExceeded, TooManyUploads, OutOfSpace.
    """
    assert owner in (None, who.name) or who.admin, "nobody else acts for others"
    check_size(engine, size or 0)
    wanted = Creation(
        user=owner or who.name,
        admin=who.admin,
        size=size,
        filename=filename,
        media_type=media_type,
        sha256=sha256,
        metadata=metadata or {},
        part=part,
    )
    allowed = await ask(engine, who, wanted)
    check_size(engine, size or 0, allowed.largest)
    now = engine.clock()
    upload = Upload(
        id=str(uuid.uuid4()),
        owner=allowed.owner or wanted.user,
        size=size,
        created=now,
        updated=now,
        declared_sha256=sha256,
        checksums=dict.fromkeys(checksums, ""),
        filename=allowed.filename or filename,
        media_type=media_type,
        auto_commit=auto_commit,
        internal=internal,
        part=part,
        metadata=wanted.metadata if allowed.metadata is None else allowed.metadata,
        largest=allowed.largest,
        notes=notes or {},
    )
    if instant and sha256 is not None and size is not None and await _complete_instantly(engine, upload, sha256):
        return await engine.catalog.get_upload(upload.id)
    recorded = await record_new(engine, upload, size or 0)
    record_upload("upload.created", recorded)
    return recorded


def check_size(engine: Context, size: int, allowed: int | None = None) -> None:
    """Raise UploadTooLarge when an upload cannot have ``size`` bytes here, or not this one, by what is ``allowed``."""
    for largest in (engine.limits.max_upload_size, allowed):
        if largest is not None and size > largest:
            raise UploadTooLarge(size, largest)


def chunk_limit(engine: Context, upload: Upload) -> int:
    """The most chunks that an upload may have: beyond some, no more than one for each KiB.

    Else an owner could fill the records with chunks of a byte, which no quota counts.
    """
    size = upload.received if upload.size is None else upload.size
    return min(engine.limits.max_chunks, max(FREE_CHUNKS, size >> 10))


async def record_new(engine: Context, upload: Upload, reserved: int) -> Upload:
    """Make the staging file with ``reserved`` bytes, then the row."""
    # The upload of a request is of no use after a power loss, which ends the request.
    lock = await engine.storage.reserve(upload.id, reserved, durable=not upload.internal)
    # Where the generation begins at random, no digest of an earlier upload of the same id is taken for one of this.
    upload = replace(upload, epoch=secrets.randbits(48))
    try:
        engine.failpoint("create.reserved")
        await engine.catalog.create_upload(upload, engine.limits.owner)
    except BaseException:
        await _discard_unrecorded(engine, upload.id)
        raise
    finally:
        lock.release()
    return upload


async def _complete_instantly(engine: Context, upload: Upload, sha256: str) -> bool:
    now = upload.created
    task = Task(
        id=str(uuid.uuid4()),
        owner=upload.owner,
        upload_id=upload.id,
        created=now,
        state=TaskState.COMPLETED,
        finished=now,
    )
    artifact = await engine.catalog.complete_instantly(upload, sha256, task, now)
    if artifact is None:
        return False
    record_upload("upload.created", upload)
    record_upload("upload.committed", upload, artifact=artifact.id, sha256=sha256)
    return True


async def _discard_unrecorded(engine: Context, upload_id: str) -> None:
    """Give the space back, unless the row was recorded after all (a caller cancelled while the transaction ended)."""
    try:
        await engine.catalog.get_upload(upload_id)
    except NotFound:
        await engine.storage.discard(upload_id)


async def get_upload(engine: Context, who: Principal, upload_id: str) -> Upload:
    """The upload, or NotFound."""
    return await engine.owned_upload(who, upload_id)


async def list_uploads(
    engine: Context,
    who: Principal,
    *,
    offset: int = 0,
    limit: int = 100,
    states: tuple[str, ...] = (),
    search: str = "",
    after: PageKey | None = None,
) -> Page[Upload]:
    """The uploads that ``who`` may see, newest first; without those that are being deleted unless asked for."""
    states = states or (UploadState.OPEN, UploadState.COMMITTING, UploadState.COMPLETED)
    owner = None if who.admin else who.name
    return await engine.catalog.list_uploads(
        owner, offset=offset, limit=limit, states=states, search=search, after=after
    )


async def get_frontier(engine: Context, who: Principal, upload_id: str) -> tuple[Upload, int]:
    """The upload, and the end of the recorded bytes that have no gap from the start. NotFound."""
    upload = await engine.owned_upload(who, upload_id)
    while upload.state is UploadState.OPEN:
        # As rows do not overlap, nothing beyond the sum of their sizes means that there is no gap before it.
        beyond = ByteRange(upload.received, MAX_SIZE - upload.received)
        received = upload.received
        upload, found, _ = await engine.catalog.find_chunks(upload_id, beyond, 1)
        if upload.received != received:
            continue
        return upload, await _first_gap(engine, upload_id) if found else received
    return upload, upload.size or 0


async def _first_gap(engine: Context, upload_id: str) -> int:
    end = 0
    async for chunk in _chunks(engine, upload_id):
        if chunk.offset != end:
            break
        end = chunk.range.end
    return end


async def each_chunk(engine: Context, who: Principal, upload_id: str, gaps: Gaps | None = None) -> AsyncIterator[Chunk]:
    """The recorded chunks of an upload by offset; ``gaps`` is told of what they leave missing. NotFound.

    There may be a hundred thousand: they are read a page at a time, and each is as it was when its page was read.
    """
    upload = await engine.owned_upload(who, upload_id)
    async for chunk in _chunks(engine, upload_id):
        if gaps is not None:
            gaps.pass_by(chunk.range)
        yield chunk
    if gaps is not None and upload.state is UploadState.OPEN:
        gaps.end_at(upload.size or 0)


async def find_gaps(engine: Context, who: Principal, upload_id: str) -> Gaps:
    """The ranges that an open upload lacks, without its chunks. NotFound."""
    await engine.owned_upload(who, upload_id)
    return await engine.catalog.find_gaps(upload_id)


async def _chunks(engine: Context, upload_id: str) -> AsyncIterator[Chunk]:
    start = 0
    while page := await engine.catalog.list_chunks(upload_id, start=start, limit=PAGE):
        for chunk in page:
            yield chunk
        start = page[-1].range.end


async def with_stored_digests(
    engine: Context, upload_id: str, chunks: AsyncIterator[Chunk], offsets: frozenset[int] | None = None
) -> AsyncIterator[Chunk]:
    """The ``chunks``, each with the SHA-256 of its bytes as they are stored now (they are read again).

    The way to find the bad chunk after a commit whose digest did not match. With ``offsets`` only the chunks that begin
    there: a quick look whether a file is the one that an upload was begun with. Those of a completed upload are read
    from its artifact; NotFound when that was deleted.
    """
    async for chunk in chunks:
        if offsets is None or chunk.offset in offsets:
            yield replace(chunk, sha256=await _digest_of(engine, upload_id, chunk))


async def _digest_of(engine: Context, upload_id: str, chunk: Chunk) -> str:
    try:
        return await stored_digest(engine, upload_id, chunk)
    except (NotFound, BytesLost):  # a completed upload's bytes are its artifact's, wherever those are now
        upload = await engine.catalog.get_upload(upload_id)
        if upload.sha256 is None:
            raise
        return await artifact_digest(engine, upload.sha256, chunk.range)


async def set_size(engine: Context, who: Principal, upload_id: str, size: int) -> Upload:
    """Fix the size of an open upload: one that was deferred, or that turned out smaller than was reserved.

    UploadTooLarge, QuotaExceeded, OutOfSpace; Conflict when bytes beyond ``size`` are recorded.
    """
    upload = await engine.owned_upload(who, upload_id)
    next_state(upload.state, Event.WRITE)
    check_size(engine, size, upload.largest)
    # Whoever writes beyond the size leaves first, and comes back only to find that there is a size now.
    beyond = ByteRange(size, max(1, MAX_SIZE - size))
    writer = await engine.storage.claim(upload_id, beyond) if upload.size is None else None
    try:
        # Room first, then the record, then the cut: a file that a crash leaves too long harms nobody.
        await _resize(engine, upload_id, size, at_least=True)
        changed = await engine.catalog.set_size(upload_id, size, engine.limits.owner, engine.clock())
        await _resize(engine, upload_id, size)
    finally:
        if writer is not None:
            writer.close()
    return changed


async def _resize(engine: Context, upload_id: str, size: int, *, at_least: bool = False) -> None:
    try:
        await engine.storage.resize(upload_id, size, at_least=at_least)
    except SyncFailed:
        # It syncs: the failure may be that of chunks, and the next sync would not tell.
        await engine.workers.flusher.distrust(upload_id)
        raise


async def grow(engine: Context, upload: Upload, end: int) -> None:
    """Make room for the bytes up to ``end`` of an upload whose size is not declared yet.

    UploadTooLarge, QuotaExceeded, OutOfSpace.
    """
    check_size(engine, end, upload.largest)
    await engine.catalog.grow(upload.id, end, engine.limits.owner)
    await engine.storage.resize(upload.id, end, at_least=True)


async def shrink(engine: Context, upload_id: str) -> None:
    """Give back the room that an upload of undeclared size has beyond its last chunk, on the disk and in the quota.

    Not while someone writes there: who comes last gives it back. What fails here is given back with the next request,
    when the size is declared, or with the upload.
    """
    try:
        upload = await engine.catalog.get_upload(upload_id)
        beyond = ByteRange(upload.received, MAX_SIZE - upload.received)
        if upload.size is not None or upload.state is not UploadState.OPEN:
            return
        hold = await engine.storage.try_claim(upload_id, beyond)
        if hold is None:
            return
        try:
            end = await engine.catalog.end_growth(upload_id)
            if end is not None:
                await engine.storage.resize(upload_id, end, durable=False)
        finally:
            hold.close()
    except PartwiseError as error:
        log.info("cannot release the space beyond the last byte of upload %s yet: %s", upload_id, error)


async def all_uploads(engine: Context, *states: UploadState) -> AsyncIterator[Upload]:
    """Every upload in one of ``states``, of anyone, internal ones too, a page at a time.

    One that is created meanwhile may be left out.
    """
    after: PageKey | None = None
    while True:
        page = await engine.catalog.list_uploads(None, states=states, limit=PAGE, internal=True, after=after)
        for upload in page.items:
            yield upload
            after = upload.created, upload.id
        if not page.more:
            return


async def delete_upload(engine: Context, who: Principal, upload_id: str) -> None:
    """Abort an open upload, or clear a completed one from the list (its artifact stays).

    The state flips first, so that chunks in flight can no longer be recorded; then the bytes go. WrongState while
    the upload is committing.
    """
    upload = await engine.owned_upload(who, upload_id)
    await remove(engine, upload_id)
    record_upload("upload.deleted", upload, state=str(upload.state), user=who.name)


async def remove(engine: Context, upload_id: str, *, reason: str | None = "deleted") -> None:
    """Carry a deletion through; what a crash left of one may be carried through again.

    An event gives the ``reason``; None: there is no event.
    """
    await engine.catalog.begin_delete(upload_id, reason=reason)
    await finish_removal(engine, upload_id)


async def remove_lost(engine: Context, upload: Upload) -> None:
    """Remove an upload whose staging file is gone."""
    if not upload.internal:  # whose file a power loss may take, and whose request it ended
        log.error("removing the upload %s: its staging file is lost", upload.id)
    await remove(engine, upload.id, reason="lost")


async def finish_removal(engine: Context, upload_id: str) -> None:
    """Carry the deletion of an upload in state deleting through. Idempotent.

    Whoever still writes is sent away first: bytes in a file without a name would count for nobody.
    """
    engine.failpoint("delete.begun")
    engine.workers.receptions.preempt(upload_id)
    with suppress(NotFound, RangeBusy, Superseded):  # no file, or one who cannot leave now
        async with engine.storage.exclude_writers(upload_id):
            pass
    await engine.storage.discard(upload_id)
    engine.failpoint("delete.discarded")
    await engine.catalog.finish_delete(upload_id)
    engine.workers.follower.notify(upload_id)


def expires(engine: Context, upload: Upload) -> datetime:
    """Return when the upload expires without further activity."""
    if upload.completed is not None:
        return upload.completed + engine.limits.completed_expiry
    return upload.updated + engine.limits.idle_expiry
