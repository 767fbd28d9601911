"""The records that the catalog keeps. Plain immutable values: who may see or change them is the engine's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from partwise.core.ranges import ByteRange
from partwise.core.state import UploadState

T = TypeVar("T")


class Scope(StrEnum):
    """Permissions of a token."""

    ALL = "all"
    #: All but reading the bytes of artifacts, and deleting or releasing them.
    UPLOAD = "upload"
    #: Looking and downloading.
    READ = "read"


@dataclass(frozen=True, slots=True)
class Principal:
    """Authenticated user of a request. An admin may read and change the data of all users."""

    name: str
    admin: bool = False
    #: The server itself, for what it does in ``name``: it alone sees uploads that exist for one request.
    internal: bool = False
    #: The id of the one upload that this principal may see: who asks has a ticket. None: no such limit.
    ticket: str | None = None
    #: The name of the token that they showed, if any: for the record.
    token: str | None = field(default=None, compare=False)
    #: What the token allows.
    scope: Scope = Scope.ALL

    def owns(self, owner: str) -> bool:
        """Return whether this principal may access resources of ``owner``."""
        return self.ticket is None and (self.admin or self.name == owner)

    def sees(self, upload: Upload) -> bool:
        """Return whether this principal may access the upload."""
        if self.ticket is not None:
            return upload.id == self.ticket and upload.owner == self.name and not upload.internal
        return self.owns(upload.owner) and (self.internal or not upload.internal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A session for one file of a declared size. Times are aware datetimes in UTC."""

    id: str
    owner: str
    #: Bytes; None while the client has not said it yet (tus's creation-defer-length).
    size: int | None
    created: datetime
    #: The last time that a client did something with it: what expiry counts from.
    updated: datetime
    state: UploadState = UploadState.OPEN
    #: Begins at a random number and rises when a chunk is invalidated. A digest made under another epoch is void, also
    #: one of an earlier upload of the same id.
    epoch: int = 0
    #: The number of the last recorded chunk, counted over the upload's life.
    seq: int = 0
    #: Chunks up to this ``seq`` survive a power loss.
    durable_seq: int = 0
    #: The sum of the sizes of the recorded chunks, and how many they are.
    received: int = 0
    chunk_count: int = 0
    #: How far the digest follower has come under ``epoch``, and the SHA-256 once that is the whole file.
    hashed: int = 0
    digest: str | None = None
    #: The SHA-256 that the client declared when it created the upload, if it did.
    declared_sha256: str | None = None
    #: The SHA-256 that the running commit expects; None: whatever the verified chunks amount to.
    expected_sha256: str | None = None
    #: The digests of the file that are made beside its SHA-256: by algorithm, as ``hashlib`` names it, the one that the
    #: client declared at creation, or "". Fixed at creation.
    checksums: Mapping[str, str] = field(default_factory=dict)
    #: Those digests, once ``digest`` is known. They are those of the file whose SHA-256 is among them, and of no other.
    digests: Mapping[str, str] = field(default_factory=dict)
    filename: str | None = None
    media_type: str | None = None
    completed: datetime | None = None
    #: Of a completed upload: its owner's link to the artifact (may be deleted later), and the artifact's SHA-256.
    artifact_id: str | None = None
    sha256: str | None = None
    #: The name of that link. It is another one than ``filename`` if its owner had the content already.
    artifact_filename: str | None = None
    #: The server commits it as soon as its last byte is there, and takes the digest that the bytes amount to (tus).
    auto_commit: bool = False
    #: The uploads whose bytes, one after another, become this one's; empty again once those have been deleted.
    parts: Sequence[str] = ()
    #: Bytes reserved of an upload whose size is not declared yet: what it counts for its owner.
    reserved: int = 0
    #: Made by the server for one request that holds a whole file: nobody else sees it.
    internal: bool = False
    #: Made to become a part of another upload (tus: Upload-Concat: partial). No event tells of it.
    part: bool = False
    #: What the application that created it noted, for its users and itself. Events tell it.
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: The largest size that may be declared for it, in bytes; None: the server's limit.
    largest: int | None = None
    #: What a protocol must give back as it came (tus: Upload-Metadata, Upload-Concat). The engine does not read it.
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A byte range that has been received whole and recorded."""

    offset: int
    size: int
    #: The SHA-256 of its bytes, where it was computed as they came.
    sha256: str | None = None
    #: Whether the client sent a digest that matched.
    verified: bool = False
    #: Where its bytes are, for a storage that keeps each chunk as an object of its own.
    ref: str | None = None
    #: Its number in the order of recording; 0 until the catalog gives it one.
    seq: int = 0

    @property
    def range(self) -> ByteRange:
        """The bytes that it covers."""
        return ByteRange(self.offset, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of an artifact that a storage keeps as one immutable object."""

    offset: int
    size: int
    #: Where its bytes are.
    ref: str

    @property
    def range(self) -> ByteRange:
        """The bytes of the artifact that it holds."""
        return ByteRange(self.offset, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An owner's link to an immutable file known by its SHA-256."""

    id: str
    owner: str
    sha256: str
    size: int
    created: datetime
    filename: str | None = None
    media_type: str | None = None
    #: Other digests of the file that its owner's uploads made known, by algorithm. Those of other owners' do not count:
    #: they would tell that somebody else has the content.
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The note that an artifact's file was moved to a path of the application, and is its file from then on."""

    artifact_id: str
    owner: str
    sha256: str
    size: int
    path: str
    created: datetime


class TaskState(StrEnum):
    """The states that Pulp's clients poll for."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The record of one commit."""

    id: str
    owner: str
    upload_id: str
    created: datetime
    state: TaskState = TaskState.RUNNING
    finished: datetime | None = None
    artifact_id: str | None = None
    error: str | None = None
    #: Of a commit that failed because the file is another than the expected one: the SHA-256 that it has.
    found_sha256: str | None = None


#: Where a page of a listing ends: when its last item was created, and its id.
PageKey = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing, and how many items there are in all. Of a search not all may have been counted."""

    items: list[T]
    count: int
    #: Whether there are items behind this page.
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over all owners: what background work has before it, and what there is."""

    #: Bytes received of unfinished uploads that no digest covers yet.
    unhashed: int
    #: Their chunks that are not certain to be on stable storage yet.
    undurable_chunks: int
    artifacts: int
    artifact_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Usage of an owner: bytes and number of open uploads and of artifacts."""

    reserved: int
    stored: int
    open_uploads: int
    artifacts: int
