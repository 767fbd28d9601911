"""What the engine needs from storage, catalog and request bodies. Read this first: the rest follows from it.

How a chunk becomes part of a file, on a storage that writes in place (local files)
-----------------------------------------------------------------------------------
1. ``Storage.claim`` the range: a kernel lock, so that one writer at a time has it, across processes. The newest wins.
2. *After* the claim, ``Catalog.find_chunks``: state and rows as they were before it are worth nothing.
3. The same range is recorded already: compare the body with the stored bytes as it comes. All equal: done, nothing
   written. At the first difference ``Catalog.unrecord_chunk`` (the upload must be open; the epoch rises), then write.
4. ``ChunkWriter.write`` in large blocks on a worker thread. Short body, wrong digest: nothing is recorded.
5. ``Catalog.record_chunk``: one transaction {lock the upload's row; it is open; nothing overlaps; insert, next seq}.
6. ``ChunkWriter.close``. Whoever is still inside ``write`` then closes the descriptor itself when it comes out:
   closed under a running write, its number could belong to another upload's file by the time the write starts.

On a storage that keeps each chunk as an immutable object there is nothing to protect: step 3 compares digests, and
step 5 replaces the row of the same range; the newest row wins, and the epoch rises. There the catalog has the list of
an artifact's segments (``ObjectRecords``), so that publishing and deleting are part of its transactions.

How an upload becomes an artifact
---------------------------------
1. ``Catalog.begin_commit``: open and covered → committing.
2. Wait for the digest of the whole file under the current epoch. Not the expected one: ``Catalog.reject_commit``.
   Judgements carry the epoch: a process that was frozen meanwhile changes nothing any more.
3. Flush, and ``Catalog.mark_durable``: from here on no power loss opens the upload again, whose file is about to
   have a second name.
4. Under ``Storage.digest_lock`` and with ``Storage.exclude_writers`` (no writer and no writable descriptor is left):
   ``Storage.publish`` (bytes to disk, then link, then the folder to disk), and ``Catalog.complete_commit``; what turns
   out to be stale is withdrawn. Deleting an artifact takes the same lock.
5. ``Storage.discard`` the staging name. Each step may be repeated after a crash, by any process that holds the
   upload's COMMIT lock.

=============================================  ============================  =====================================
crash after                                    left behind                   recovery
=============================================  ============================  =====================================
the file is made, before its row               a file without a row          delete it
un-record, or part of the writes               a missing range               none: that is the truth
all bytes are written, before the row          a missing range               none: it was never acknowledged
``committing``, or bytes to disk               nothing is lost               go on; hash again
link, before or after the folder's fsync       a file without a record, or   link again (the same inode), fsync,
                                               no link after a power loss    record
record, before the staging name goes           one staging name too many     unlink it
the answer is lost                             nothing                       a repeat answers the same
=============================================  ============================  =====================================
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact, Chunk, Page, Segment, Task, Totals, Upload, Usage

#: The largest block that moves at once, in bytes: measured best (256 KiB and 4 MiB are slower).
BLOCK = 1 << 20

#: Takes a block of bytes, in order, on a worker thread. The block is valid only during the call.
Sink = Callable[[memoryview], None]


#: Bytes of a chunk: the chunk, and a span that lies within it.
Piece = tuple[Chunk, ByteRange]


class Body(Protocol):
    """The bytes of one request."""

    @property
    def sha256(self) -> str | None:
        """The digest that the client sent for these bytes, in hex. Final after ``drain``: in a form it may come last.

        Known before ``drain``, the bytes are hashed as they come; otherwise they are read back if one comes after all.
        """

    async def drain(self, sink: Sink) -> None:
        """Give all bytes to ``sink``: in order, in blocks of at most BLOCK bytes, one at a time, on worker threads.

        Ends when the body is over. An error of ``sink`` ends it early and comes out. When the task is cancelled, it
        ends only after the running call to ``sink`` has. Raises BodyInterrupted when the connection broke or fell
        below the minimum rate, BadBody when the body is malformed.
        """


@runtime_checkable
class StoredBody(Body, Protocol):
    """A body whose bytes the storage has already."""

    async def move(self, put: Callable[[object, ByteRange], None], sink: Sink) -> None:
        """Like ``drain``, but give parts of an opened artifact to ``put`` where the storage can copy by itself.

        ``put`` takes the parts in order and on worker threads, as ``sink`` takes blocks.
        """


class Purpose(Enum):
    """What a process may hold an upload's lock for, at most one process at a time."""

    FOLLOW = "follow"  # hash along behind the frontier
    COMMIT = "commit"  # carry a commit through
    FLUSH = "flush"  # bring recorded chunks to disk
    JOIN = "join"  # make it of its parts
    RECEIVE = "receive"  # receive the one request that it exists for
    SIGN = "sign"  # make the signature of the artifact with this digest


class Lock(Protocol):
    """A lock that is held until ``release``, or until the process dies."""

    def release(self) -> None:
        """Give it back. May be called again without effect."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a storage has of a chunk: so many bytes from its start, and the reference for its row, where it has one."""

    size: int
    ref: str | None = None
    #: Whether they are on stable storage already.
    durable: bool = False


class ChunkWriter(Protocol):
    """One writer's hold on a byte range of an upload. ``read`` and ``write`` block: call them on worker threads."""

    #: Whether bytes are written over those that are there. Then they can be read while they come, and a recorded chunk
    #: of the range is compared first, and un-recorded before it is overwritten. Else what is written is an object of
    #: its own, which takes the place of the recorded one together with its row.
    overwrites: bool

    def read(self, offset: int, size: int) -> bytes:
        """The stored bytes ``[offset, offset + size)`` of the file (where it ``overwrites``). BytesLost."""

    def write(self, offset: int, block: memoryview) -> None:
        """Put ``block`` at ``offset`` of the file, whole.

        Raises OutOfSpace, StorageFailed, and Superseded once the writer is closed.
        """

    def copy(self, offset: int, source: object, span: ByteRange) -> None:
        """Put the bytes ``span`` of what ``Storage.open_artifact`` gave at ``offset``, whole, below the server.

        Raises what ``write`` does, and BytesLost when the source cannot be read.
        """

    async def finish(self, size: int, *, durable: bool = False) -> Stored:
        """Call after the last byte and before the row, with the number of bytes written.

        With ``durable`` the bytes are on stable storage when it returns; StorageFailed also when some of what was
        written since the claim was lost before, even if others have been told of that already.
        A storage of objects may keep fewer of a body that ended early, or none. Raises OutOfSpace, StorageFailed.
        """

    async def superseded(self) -> None:
        """Returns when a newer writer asks for an overlapping range. The holder then stops writing and closes."""

    def roll(self, chunk: ByteRange) -> ChunkWriter:
        """Go on with ``chunk``, the rest of the range, behind a part of it that was finished and recorded.

        The hold on the range lasts without a gap; who asked for it has asked the writer that is returned. Use that
        one alone from then on.
        """

    def close(self) -> None:
        """Give the range back; what was written and not recorded is worth nothing. Does not block, may be repeated."""


class RunningHash(Protocol):
    """The SHA-256 of an upload's first bytes, moved along over what is stored. Calls take effect in their order."""

    @property
    def pending(self) -> int:
        """At most so many bytes, of those that were fed, are not hashed yet."""

    async def feed(self, pieces: Sequence[Piece]) -> None:
        """Go on over ``pieces``, which follow each other in the file.

        Returns when there is room for more, which may be before these are hashed. StorageFailed, BytesLost, NotFound:
        some bytes cannot be read; the hash is void then, as after a call that was cancelled.
        """

    def mark(self) -> None:
        """Remember the state of now, behind those remembered already."""

    def forget(self) -> None:
        """Forget the oldest state remembered."""

    def rewind(self) -> None:
        """Go back to the oldest state remembered, and forget all."""

    async def digest(self) -> str:
        """The SHA-256 of all that was fed, in hex. Raises what ``feed`` does."""

    def close(self) -> None:
        """The hash is not needed any more."""


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of the storage: in all, free on the device, and free for new uploads (reservations and floor taken off)."""

    total: int
    free: int
    available: int


class Storage(Protocol):
    """Where bytes live. Every method may be called at once by several processes."""

    #: Whether writing waits for other machines, so that more threads than cores are worth having.
    remote: bool

    async def start(self, *, look_only: bool = False) -> None:
        """Prepare (folders, bucket) and check that the storage can keep its promises; StorageFailed says why not.

        ``look_only``: make and change nothing, not even a file of locks; the caller only lists, reads and verifies.
        """

    async def stop(self) -> None:
        """Give back descriptors, threads and connections."""

    async def bind(self, installation: str, *, recorded: bool) -> None:
        """Make sure that the bytes here belong to the records of ``installation``, and mark the place as theirs.

        ``recorded``: there are records of chunks or artifacts. StorageFailed says what does not go together, and what
        to do; nothing was changed then. Call before ``start``.
        """

    def boot(self) -> str | None:
        """Name the time since the machine that writes to stable storage has started; None where that cannot matter.

        After another boot, what was written and not synced may be lost.
        """

    async def is_lost(self, upload_id: str) -> bool:
        """Whether the upload's staging file is gone for certain: found missing in two ways, in the place of ``bind``.

        StorageFailed: nothing is known, since the place itself is not there.
        """

    def exclude_writers(self, upload_id: str) -> AbstractAsyncContextManager[None]:
        """Ask every writer of the upload to leave, and keep others out while the context lasts.

        Behind it no writer, and no writable descriptor, of the upload is left. RangeBusy when one does not leave in
        time, Superseded when another asks for the same, NotFound without a staging file.
        """

    async def reserve(self, upload_id: str, size: int) -> Lock:
        """Make the staging file of a new upload with all its bytes reserved; OutOfSpace before any is taken if not.

        The lock keeps ``list_staged`` of all processes from seeing the file as abandoned until its row is recorded.
        """

    async def resize(self, upload_id: str, size: int, *, at_least: bool = False, durable: bool = True) -> None:
        """Make the staging file ``size`` bytes long: reserve more (OutOfSpace), or cut off the end.

        With ``at_least`` nothing is cut off, and what is reserved need not survive a power loss; not ``durable``: nor
        need what is cut off stay away.
        """

    async def claim(self, upload_id: str, chunk: ByteRange, *, exact: bool = True) -> ChunkWriter:
        """Take hold of a range. Asks a holder to leave and waits for it, a bounded time; then RangeBusy.

        NotFound when the staging file is gone; Superseded when a still newer one came while it waited.

        Not ``exact``: the bytes may turn out to be fewer, and what came of them is to be kept.
        """

    async def try_claim(self, upload_id: str, chunk: ByteRange) -> ChunkWriter | None:
        """Take hold of a range that nobody has; None when someone does, who is not asked to leave. NotFound,
        WrongState."""

    async def concatenate(self, upload_id: str, parts: Sequence[tuple[str, Sequence[Chunk]]]) -> list[Chunk]:
        """Give the staging file (made with no bytes reserved) those of other uploads, one after another.

        A part is an upload's id and its chunks, which cover it. Returns the chunks to record. Reserves the room it
        needs first (OutOfSpace); shares the bytes where the storage can, else has them copied below the server.
        May be repeated, also after a crash. NotFound when a part is gone.
        """

    def read_staged(self, upload_id: str, chunk: Chunk, span: ByteRange, sink: Sink) -> None:
        """Give the stored bytes of ``span``, which lies within ``chunk``, to ``sink`` in blocks. Blocks: use a thread.

        On an in-place storage ``chunk`` may be one that is still being written. Raises StorageFailed, BytesLost (these
        bytes are not to be had any more), NotFound (the whole upload is gone).
        """

    def running_hash(self, upload_id: str) -> RunningHash:
        """A new hash, of no bytes yet. On an in-place storage it may be fed chunks that are still being written.

        StorageFailed when it cannot be started now.
        """

    async def flush(self, upload_id: str) -> None:
        """Bring all that was written so far to stable storage. StorageFailed: trust nothing since the last one."""

    async def try_lock(self, upload_id: str, purpose: Purpose) -> Lock | None:
        """Take the upload's lock for ``purpose``; None when someone has it. Does not wait for that."""

    def digest_lock(self, sha256: str) -> AbstractAsyncContextManager[None]:
        """Serialise publishing and deleting of one artifact, across processes."""

    async def publish(self, upload_id: str, sha256: str, *, size: int) -> None:
        """Make the staging file the artifact's: bytes to disk, link, folder to disk, mode 0400. Idempotent, no copy.

        ``size`` is the upload's: what the file has more is cut off; BytesLost when it has less.

        Call under the digest's lock, with writers excluded. An artifact file that exists gives way: the bytes of this
        one were hashed just now, and those of another are never taken on trust. After an error the upload is as it was
        before: no artifact has its file. NotFound: the staging file is missing.
        """

    async def withdraw(self, upload_id: str, sha256: str, *, recorded: bool) -> None:
        """Undo ``publish``, where its record was refused: the upload has a file of its own again, to be written.

        The artifact's name goes if it leads to that file; ``recorded``: others have the artifact, so it keeps the file
        and the upload gets a copy. Call under the digest's lock, with writers excluded. Idempotent.
        """

    async def discard(self, upload_id: str) -> None:
        """Remove the staging file. Idempotent. Writers that still hold ranges write into a file without a name."""

    async def delete_artifact(self, sha256: str, *, damaged: bool = False) -> None:
        """Remove the artifact's bytes, and its signature. Idempotent. Call under the digest's lock. Open readers keep
        what they have.

        ``damaged``: the record stays, and the next commit of the same content brings good bytes.
        """

    def read_artifact(self, sha256: str, span: ByteRange, block: int = BLOCK) -> AsyncIterator[bytes]:
        """The bytes of ``span`` of an artifact, in blocks of about ``block`` bytes.

        Raises NotFound when all its bytes are gone, BytesLost.
        """

    async def open_artifact(self, sha256: str) -> object | None:
        """Open an artifact for ``ChunkWriter.copy``; None: this storage copies nothing by itself, read the bytes.

        It is closed when nobody refers to it. NotFound when its bytes are gone, BytesLost.
        """

    async def store_signature(self, sha256: str, data: bytes) -> None:
        """Keep the signature of an artifact beside it: whole and durable, or not at all. Replaces an earlier one.

        Call under the digest's lock, while the artifact is recorded.
        """

    async def signature_size(self, sha256: str) -> int | None:
        """The size of the stored signature of an artifact in bytes; None: there is none."""

    def read_signature(self, sha256: str, size: int, block: int = BLOCK) -> AsyncIterator[bytes]:
        """The stored signature of ``size`` bytes, in blocks of about ``block`` bytes. NotFound when it is gone."""

    async def artifact_url(self, sha256: str, size: int, headers: Mapping[str, str]) -> str | None:
        """A URL, good for a short time, that answers with the whole artifact and, of ``headers``, with what it can.

        None: there is none, read the bytes here.
        """

    async def verify_artifact(self, sha256: str) -> bool:
        """Whether the artifact's bytes have its digest. False also when they are gone or cannot be read back.

        StorageFailed: the storage does not answer, which says nothing about them.
        """

    def list_staged(self) -> Iterator[str]:
        """The ids of uploads with a staging file that no creation in progress holds. Blocks: use a thread."""

    def list_artifacts(self) -> Iterator[str]:
        """The SHA-256 of every artifact file. Blocks: use a thread."""

    async def space(self) -> Space:
        """How much room there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLimits:
    """What one owner may hold; None: no limit. ``quota`` in bytes, open uploads and artifacts together."""

    quota: int | None = None
    open_uploads: int | None = None
    #: Artifacts, and open uploads as those that they may become.
    artifacts: int | None = None


class Catalog(Protocol):
    """Where records live. Every method is one transaction, whole or not at all, durable when it returns.

    Methods that change an upload lock its row first, check its state by ``core.state`` (WrongState), and raise
    NotFound when there is none. ``now`` is the caller's clock, in UTC.
    """

    async def start(self, *, look_only: bool = False) -> None:
        """Open connections. The schema is there already: migrations run once, before any server process.

        ``look_only``: nothing is changed, nor can be.
        """

    async def stop(self) -> None:
        """Finish what waits to be written, and close connections."""

    async def check_writable(self) -> None:
        """Find out, in time that does not grow with what is recorded, whether reads and writes can succeed.

        StorageFailed when they cannot.
        """

    # uploads

    async def create_upload(self, upload: Upload, limits: OwnerLimits) -> None:
        """Record a new upload. QuotaExceeded, TooManyUploads: counted in the same transaction, creates cannot race.

        Its ``parts`` are not counted beside it: they go when it is whole.
        """

    async def set_size(self, upload_id: str, size: int, limits: OwnerLimits, now: datetime) -> Upload:
        """Fix the size of an open upload (deferred until then, or larger than the file turned out to be).

        The epoch rises when it had another size before.

        QuotaExceeded; Conflict when a chunk lies beyond ``size``.
        """

    async def get_upload(self, upload_id: str) -> Upload:
        """The upload, or NotFound."""

    async def list_uploads(
        self,
        owner: str | None,
        *,
        offset: int = 0,
        limit: int = 100,
        states: Sequence[str] = (),
        search: str = "",
        internal: bool = False,
    ) -> Page[Upload]:
        """Uploads of ``owner`` (None: anyone's), newest first, that are in one of ``states`` (empty: any) and whose
        file name contains ``search`` (case is ignored); with ``internal`` also those that exist for one request."""

    async def grow(self, upload_id: str, end: int, limits: OwnerLimits) -> None:
        """Reserve room up to ``end`` for an open upload of undeclared size, in the owner's account.

        QuotaExceeded: counted in the same transaction, so that uploads which grow at once cannot race.
        """

    async def end_growth(self, upload_id: str) -> int | None:
        """Give back what ``grow`` reserved beyond the last chunk; where that ends. None: the size is declared, or the
        upload is not open."""

    async def set_name(self, upload_id: str, filename: str | None, media_type: str | None, now: datetime) -> None:
        """What the file is called, and its type: where that is learnt while it comes."""

    async def begin_delete(self, upload_id: str) -> Upload:
        """Any state that allows it → deleting. Idempotent."""

    async def finish_delete(self, upload_id: str) -> None:
        """Forget an upload in state deleting, and its chunks. Idempotent."""

    async def list_unattended(self) -> list[Upload]:
        """Uploads that the server itself has to go on with: open ones with ``auto_commit`` whose bytes are all
        there, and those with ``parts``, which are still to be taken over or to be deleted."""

    async def forget_parts(self, upload_id: str) -> None:
        """The parts of a completed upload are gone. No error when the upload is, too."""

    async def idle_uploads(self, *, open_before: datetime, completed_before: datetime, limit: int) -> list[Upload]:
        """Uploads to expire: open and last updated before the one time, completed before the other, or deleting."""

    async def expire_upload(self, upload_id: str, *, open_before: datetime, completed_before: datetime) -> bool:
        """Flip to deleting what ``idle_uploads`` would name at this moment; False when it would not, or it is gone."""

    async def surplus_uploads(self, keep: int, limit: int) -> list[str]:
        """The ids of (at most ``limit``) completed uploads that are not among their owner's newest ``keep``."""

    async def touch(self, upload_id: str, now: datetime) -> None:
        """Note activity on an open upload. No error in any other state, or when it is gone."""

    # chunks

    async def find_chunks(self, upload_id: str, span: ByteRange, limit: int = 100) -> tuple[Upload, list[Chunk], int]:
        """In one snapshot: the upload, the (first ``limit``) recorded chunks that overlap ``span``, and their count."""

    async def list_chunks(self, upload_id: str, *, start: int = 0, limit: int | None = None) -> list[Chunk]:
        """Recorded chunks with an offset of at least ``start``, by offset. NotFound when there is no such upload."""

    async def record_chunk(
        self, upload_id: str, chunk: Chunk, *, now: datetime, max_chunks: int, replace: bool = False
    ) -> Chunk:
        """Record a chunk of an open upload; returns it with its ``seq``.

        ChunkOverlap when recorded chunks overlap it, TooManyChunks. With ``replace`` a chunk of exactly the same
        range gives way in the same transaction, and the epoch rises.
        """

    async def unrecord_chunk(self, upload_id: str, offset: int) -> bool:
        """Delete the row of the chunk at ``offset`` of an open upload, and raise the epoch. False: there is none."""

    async def mark_durable(self, upload_id: str, seq: int) -> None:
        """Chunks up to ``seq`` are on stable storage. Never lowers it; no error when the upload is gone."""

    async def unrecord_undurable(self, upload_id: str) -> int:
        """Un-record every chunk of an open or committing upload above its ``durable_seq``. Returns how many.

        A committing upload that loses a chunk is open again; its task has failed.
        """

    async def pending_flush(self, limit: int) -> list[Upload]:
        """Uploads, open or committing, with chunks above their ``durable_seq``."""

    async def new_boot(self, boot_id: str, *, distrust: bool = False) -> int:
        """If the catalog knows another boot than ``boot_id`` (or ``distrust``): un-record what is not durable of every
        upload, and remember this boot, in one transaction. Returns how many chunks were un-recorded."""

    async def note_clock(self, now: datetime) -> None:
        """Note the time, as proof that a server ran then and what its clock was."""

    async def noted_clock(self) -> datetime | None:
        """The time that was noted last."""

    async def installation(self) -> tuple[str, bool]:
        """The id of these records, made when it is first asked for; and whether there is any upload or artifact."""

    # commit

    async def publish_digest(self, upload_id: str, epoch: int, hashed: int, digest: str | None) -> bool:
        """The follower's progress. Changes nothing and returns False when the epoch is another, or the upload is gone.

        ``digest`` is given when ``hashed`` is the whole size.
        """

    async def begin_commit(self, upload_id: str, expected_sha256: str | None, task: Task, now: datetime) -> Task:
        """Open and covered → committing, with ``task`` recorded. Returns the task to wait for.

        Committing already, with the same expectation: the running task. IncompleteUpload (the first 100 gaps);
        UnverifiedUpload when nothing is expected and a chunk is unverified (unless ``auto_commit``); WrongState.
        Of the upload's tasks that failed only the last few are kept.
        """

    async def reject_commit(
        self,
        upload_id: str,
        task_error: str,
        now: datetime,
        *,
        generation: int | None = None,
        found_sha256: str | None = None,
        lost: Sequence[int] = (),
    ) -> None:
        """Committing → open; its running task has failed, with ``task_error``.

        ``generation``: the epoch that the judgement is about. StaleGeneration, and no change, when it is another now.

        ``found_sha256``: what the file amounts to, when that is not what was expected; StaleGeneration when the commit
        of now does expect it. ``lost``: offsets of chunks to
        un-record, since their bytes are not to be had any more.
        """

    async def complete_commit(
        self, upload_id: str, sha256: str, artifact_id: str, now: datetime, *, generation: int
    ) -> Artifact:
        """Committing → completed: artifact, owner's link (``artifact_id`` when it is new), task, upload, all at once.

        ``generation``: the epoch that the digest was made under. StaleGeneration, and no change, when it is another
        now: chunks were replaced, or the upload is another one of the same id.

        Completed already with this digest: the same answer again.
        """

    async def list_internal(self) -> list[Upload]:
        """Uploads that exist for one request."""

    async def closed_uploads(self, upload_ids: Sequence[str]) -> list[str]:
        """Those of ``upload_ids`` that are not open: committing, completed, being deleted, or gone."""

    async def list_committing(self) -> list[str]:
        """The ids of uploads that are committing."""

    async def complete_instantly(self, upload: Upload, sha256: str, task: Task, now: datetime) -> Artifact | None:
        """Record ``upload`` as completed from an artifact that its owner already has a link to; None: has none."""

    # artifacts and tasks

    async def has_artifact(self, sha256: str) -> bool:
        """Whether anyone's artifact of this digest is recorded."""

    async def get_artifact(self, artifact_id: str) -> Artifact:
        """The link, or NotFound."""

    async def list_artifacts(
        self, owner: str | None, *, sha256: str | None = None, offset: int = 0, limit: int = 100, search: str = ""
    ) -> Page[Artifact]:
        """Links of ``owner`` (None: anyone's), newest first; of one digest; searched as in ``list_uploads``."""

    async def unlink_artifact(self, artifact_id: str) -> bool:
        """Delete an owner's link; True when it was the last one and the artifact's record went with it. NotFound."""

    async def all_artifacts(self, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Digest and size of each recorded artifact, by digest, above ``after``."""

    async def get_task(self, task_id: str) -> Task:
        """The task, or NotFound."""

    async def list_tasks(
        self,
        owner: str | None,
        *,
        offset: int = 0,
        limit: int = 100,
        states: Sequence[str] = (),
        upload_ids: Sequence[str] = (),
    ) -> Page[Task]:
        """Tasks of ``owner`` (None: anyone's), in one of ``states``, of ``upload_ids`` (empty: any); newest first."""

    async def find_task(self, upload_id: str) -> Task | None:
        """The task that runs, or that completed the upload: there is one at most. Else the newest that failed."""

    async def prune_tasks(self, before: datetime, limit: int, *, gone_before: datetime) -> int:
        """Forget at most ``limit`` tasks that finished before a time; returns how many.

        Completed tasks of uploads that are still there stay: a repeated commit answers with them. Those of uploads that
        are gone need only have finished before ``gone_before``, which is no earlier.
        """

    async def count_old_tasks(self, before: datetime, *, gone_before: datetime) -> int:
        """How many tasks ``prune_tasks`` would forget."""

    async def usage(self, owner: str) -> Usage:
        """What ``owner`` holds."""

    async def count_states(self) -> dict[str, int]:
        """The number of uploads in each state."""

    async def totals(self) -> Totals:
        """Sums over everything."""


class ObjectRecords(Protocol):
    """What a catalog keeps for a storage of immutable objects, shared by any number of machines.

    An object belongs to a chunk, to an artifact as a segment, or to the garbage. The catalog moves it in the same
    transaction that replaces or deletes a chunk, completes a commit, or deletes an artifact.
    """

    async def try_name(self, name: str) -> Lock | None:
        """Take the lock of this name, one holder among all machines; None when someone has it.

        It is lost with the connection to the catalog: it saves double work, and proves nothing.
        """

    async def list_segments(self, sha256: str, *, start: int = 0, limit: int = 1000) -> list[Segment]:
        """The segments of an artifact by offset, from the one that holds byte ``start`` on."""

    async def replace_segments(self, sha256: str, old: Sequence[str], new: Segment, now: datetime) -> bool:
        """One segment in the place of all, which become garbage. False: they are not the ``old`` ones any more."""

    async def drop_segments(self, sha256: str, now: datetime) -> None:
        """The artifact's segments are worth nothing: they become garbage, and its record is without bytes."""

    async def scattered_artifacts(self, *, average: int, limit: int) -> list[str]:
        """Artifacts of several segments of less than ``average`` bytes on average; the most scattered first."""

    async def list_garbage(self, before: datetime, limit: int) -> list[str]:
        """Objects that became garbage before that time, the oldest first."""

    async def forget_garbage(self, refs: Sequence[str]) -> None:
        """These objects are deleted."""

    async def known_refs(self, upload_ids: Sequence[str], refs: Sequence[str]) -> set[str]:
        """Which of ``refs`` belong to anything. Those of chunks are looked for in ``upload_ids`` alone."""

    async def all_artifacts(self, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """As in ``Catalog``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A secret that a client signs in with; the secret itself is kept nowhere."""

    name: str
    #: Whose uploads and artifacts it opens.
    owner: str
    created: datetime
    admin: bool = False
    last_used: datetime | None = None
    revoked: datetime | None = None


class Tokens(Protocol):
    """Who may sign in. Kept beside the catalog's records, under the same rules."""

    async def create_token(self, token: Token, sha256: str) -> None:
        """Record a token by the SHA-256 of its secret. Conflict when its name is taken, by a revoked one too."""

    async def find_token(self, sha256: str) -> Token | None:
        """The token whose secret has this SHA-256, unless it is revoked."""

    async def list_tokens(self) -> list[Token]:
        """All tokens, revoked ones too, by name."""

    async def use_token(self, name: str, now: datetime) -> None:
        """Remember when it was last used. No error when there is no such token."""

    async def revoke_token(self, name: str, now: datetime) -> None:
        """Let it open nothing from now on. Idempotent. NotFound."""


class Transfers(Protocol):
    """What a catalog gives to another one, and takes from it. Every method may be repeated."""

    async def import_links(self, links: Sequence[Artifact], segment: Segment | None) -> bool:
        """Record an artifact with those of its links (at least one) that are not there; ``segment`` is all its bytes.

        False, and the segment is not taken, when the artifact was recorded before.
        """

    async def export_tokens(self) -> list[dict[str, Any]]:
        """All tokens with the digests of their secrets."""

    async def import_tokens(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Record those whose names are not taken; how many."""
