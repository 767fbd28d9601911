"""Interfaces of the metadata database, by role. ``Catalog`` combines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from partwise.core.ranges import ByteRange, Gaps
from partwise.core.records import Artifact, Chunk, Page, PageKey, Task, Totals, Upload, Usage
from partwise.engine.ports.deliveries import DeliveryRecords
from partwise.engine.ports.events import EventRecords
from partwise.engine.ports.releases import ReleaseRecords
from partwise.engine.ports.tokens import Tickets


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLimits:
    """Limits of one owner; None: no limit. ``quota`` in bytes, open uploads and artifacts together."""

    quota: int | None = None
    open_uploads: int | None = None
    #: Artifacts, and open uploads as those that they may become.
    artifacts: int | None = None


class CatalogLife(Protocol):
    """Opening and closing, and what is remembered of machine, clock and place."""

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

    async def new_boot(self, boot_id: str, *, distrust: bool = False) -> int:
        """If the recorded boot is not ``boot_id`` (or ``distrust``): invalidate chunks that are not durable of every
        upload, and remember this boot, in one transaction. Returns how many chunks were un-recorded."""

    async def note_clock(self, now: datetime, name: str = "clock") -> None:
        """Note the time, as proof that a server ran then and what its clock was; or the time of something else."""

    async def noted_clock(self, name: str = "clock") -> datetime | None:
        """The time that was noted last."""

    async def installation(self) -> tuple[str, bool]:
        """The id of these records, made when it is first asked for; and whether there is any upload or artifact."""


class UploadRecords(Protocol):
    """Uploads: their sizes, states, owners' accounts, and ends."""

    async def create_upload(self, upload: Upload, limits: OwnerLimits) -> None:
        """Record a new upload. QuotaExceeded, TooManyUploads: counted in the same transaction, creates cannot race.

        Its ``parts`` are not counted beside it: they go when it is whole.
        """

    async def set_size(self, upload_id: str, size: int, limits: OwnerLimits, now: datetime) -> Upload:
        """Fix the size of an open upload (deferred until then, or larger than the file turned out to be).

        The epoch rises when it had another size before.

        QuotaExceeded; Conflict when a chunk lies beyond ``size``.
        """

    async def commit_when_whole(self, upload_id: str, now: datetime) -> Upload:
        """Set ``auto_commit`` of an open upload. Idempotent."""

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
        after: PageKey | None = None,
    ) -> Page[Upload]:
        """Uploads of ``owner`` (None: anyone's), newest first, that are in one of ``states`` (empty: any) and whose
        file name contains ``search`` (case is ignored); with ``internal`` also those that exist for one request.

        ``after``: behind the item with this key, from which ``offset`` counts then; so in all lists. A page that
        begins behind a key costs the same wherever it is.
        """

    async def grow(self, upload_id: str, end: int, limits: OwnerLimits) -> None:
        """Reserve room up to ``end`` for an open upload of undeclared size, in the owner's account.

        QuotaExceeded: counted in the same transaction, so that uploads which grow at once cannot race.
        """

    async def end_growth(self, upload_id: str) -> int | None:
        """Give back what ``grow`` reserved beyond the last chunk; where that ends. None: the size is declared, or the
        upload is not open."""

    async def set_name(self, upload_id: str, filename: str | None, media_type: str | None, now: datetime) -> None:
        """Set the file name and the media type of an upload, if they become known while it arrives."""

    async def begin_delete(self, upload_id: str, *, reason: str | None = "deleted") -> Upload:
        """Any state that allows it → deleting. Idempotent. An event gives the ``reason``; None: there is no event."""

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

    async def list_internal(self) -> list[Upload]:
        """Uploads that exist for one request."""


class ChunkRecords(Protocol):
    """The chunks of uploads, and how far they are on stable storage."""

    async def find_chunks(self, upload_id: str, span: ByteRange, limit: int = 100) -> tuple[Upload, list[Chunk], int]:
        """In one snapshot: the upload, the (first ``limit``) recorded chunks that overlap ``span``, and their count."""

    async def list_chunks(self, upload_id: str, *, start: int = 0, limit: int | None = None) -> list[Chunk]:
        """Recorded chunks with an offset of at least ``start``, by offset. NotFound when there is no such upload."""

    async def find_gaps(self, upload_id: str, limit: int = 100) -> Gaps:
        """Return the missing ranges of an open upload, at most ``limit`` of them by range. None in other states.
        NotFound."""

    async def record_chunk(
        self, upload_id: str, chunk: Chunk, *, now: datetime, max_chunks: int, replace: bool = False
    ) -> Chunk:
        """Record a chunk of an open upload; returns it with its ``seq``.

        ChunkOverlap when recorded chunks overlap it, TooManyChunks. With ``replace`` a chunk of exactly the same
        range gives way in the same transaction, and the epoch rises.
        """

    async def unrecord_chunk(self, upload_id: str, offset: int) -> bool:
        """Invalidate the chunk at ``offset`` of an open upload, and increase the generation. False: there is none."""

    async def mark_durable(self, upload_id: str, seq: int) -> None:
        """Chunks up to ``seq`` are on stable storage. Never lowers it; no error when the upload is gone."""

    async def unrecord_undurable(self, upload_id: str) -> int:
        """Un-record every chunk of an open or committing upload above its ``durable_seq``. Returns how many.

        A committing upload that loses a chunk is open again; its task has failed.
        """

    async def pending_flush(self, limit: int) -> list[Upload]:
        """Uploads, open or committing, with chunks above their ``durable_seq``."""


class CommitRecords(Protocol):
    """Records of commits."""

    async def publish_digest(
        self, upload_id: str, epoch: int, hashed: int, digest: str | None, digests: Mapping[str, str] | None = None
    ) -> bool:
        """Store the hasher's progress. Return False without changes if the generation differs or no upload exists.

        ``digest`` is given when ``hashed`` is the whole size; with it ``digests``, which it is among, where others were
        made in the same pass. They are recorded together.
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
        of now does expect it. ``auto_commit`` ends where that was the digest declared with the upload: the same commit
        again would fail again. ``lost``: offsets of chunks to un-record, since their bytes are not to be had any more.
        """

    async def complete_commit(
        self, upload_id: str, sha256: str, artifact_id: str, now: datetime, *, generation: int
    ) -> Artifact:
        """Committing → completed: artifact, owner's link (``artifact_id`` when it is new), task, upload, all at once.

        ``generation``: the epoch that the digest was made under. StaleGeneration, and no change, when it is another
        now: chunks were replaced, or the upload is another one of the same id.

        Completed already with this digest: the same answer again.
        """

    async def closed_uploads(self, upload_ids: Sequence[str]) -> list[str]:
        """Return the ids of ``upload_ids`` that are not open: committing, completed, being deleted, or unknown."""

    async def list_committing(self) -> list[str]:
        """The ids of uploads that are committing."""

    async def complete_instantly(self, upload: Upload, sha256: str, task: Task, now: datetime) -> Artifact | None:
        """Record ``upload`` as completed from an artifact that its owner already has a link to; None: has none."""


class ArtifactRecords(Protocol):
    """Artifacts with their owners' links, tasks, and sums over everything."""

    async def has_artifact(self, sha256: str) -> bool:
        """Return whether anyone's artifact of this digest is recorded."""

    async def get_artifact(self, artifact_id: str) -> Artifact:
        """The link, or NotFound."""

    async def note_digests(self, artifact_id: str, digests: Mapping[str, str]) -> Artifact:
        """Add digests of the link's content to those that it has. NotFound.

        They are by algorithm, and were made in one pass with the SHA-256, which is among them.
        """

    async def list_artifacts(
        self,
        owner: str | None,
        *,
        sha256: str | None = None,
        offset: int = 0,
        limit: int = 100,
        search: str = "",
        filename: str | None = None,
        after: PageKey | None = None,
    ) -> Page[Artifact]:
        """Links of ``owner`` (None: anyone's), newest first; of one digest; searched as in ``list_uploads``; those with
        exactly this ``filename``. With any of these the page's ``count`` may stop at a bound."""

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
        after: PageKey | None = None,
    ) -> Page[Task]:
        """Tasks of ``owner`` (None: anyone's), in one of ``states``, of ``upload_ids`` (empty: any); newest first."""

    async def find_task(self, upload_id: str) -> Task | None:
        """The task that runs, or that completed the upload: there is one at most. Else the newest that failed."""

    async def prune_tasks(self, before: datetime, limit: int, *, gone_before: datetime) -> int:
        """Forget at most ``limit`` tasks that finished before a time; returns how many.

        Completed tasks of uploads that are still there stay: a repeated commit answers with them. Those of uploads that
        are gone need only have finished before ``gone_before``, which is no earlier.
        """

    async def sweep_tasks(
        self, before: datetime, limit: int, *, gone_before: datetime, after: PageKey | None
    ) -> tuple[int, PageKey | None]:
        """Forget of the next ``limit`` tasks behind ``after``, oldest first, those that ``prune_tasks`` would forget.

        Returns how many, and where to go on; None: these were the last. Looks at no others.
        """

    async def count_old_tasks(self, before: datetime, *, gone_before: datetime) -> int:
        """Count the tasks that ``prune_tasks`` would delete."""

    async def usage(self, owner: str) -> Usage:
        """Return the usage of ``owner``."""

    async def owner_quota(self, owner: str, default: int | None) -> int | None:
        """The quota of ``owner`` in bytes; None: no limit. ``default``: of those who have none of their own."""

    async def set_quota(self, owner: str, quota: int | None) -> None:
        """Give ``owner`` a quota of their own, which counts in place of ``OwnerLimits.quota``. None: no limit."""

    async def forget_quota(self, owner: str) -> None:
        """Let the default count for ``owner`` again."""

    async def list_owners(self) -> list[str]:
        """Return the users that have data or an own quota, by name."""

    async def count_states(self) -> dict[str, int]:
        """The number of uploads in each state, looked up."""

    async def totals(self) -> Totals:
        """Sums over everything. Takes time with the unfinished uploads alone."""

    async def fold_counts(self) -> int:
        """Tidy up what the counts are made of; to be called every few seconds. Safe in several processes."""


class Catalog(
    CatalogLife,
    UploadRecords,
    ChunkRecords,
    CommitRecords,
    ArtifactRecords,
    EventRecords,
    DeliveryRecords,
    Tickets,
    ReleaseRecords,
    Protocol,
):
    """Metadata database. Every method is one atomic transaction, durable when it returns.

    Methods that change an upload lock its row first, check its state by ``core.state`` (WrongState), and raise
    NotFound when there is none. ``now`` is the caller's clock, in UTC.
    """
