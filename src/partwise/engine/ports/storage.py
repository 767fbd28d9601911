"""Interface of storage: uploads that are written, and artifacts that are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk
from partwise.engine.ports.bodies import BLOCK, Origin, Piece, Sink


class Purpose(Enum):
    """Purpose of a lock of an upload. At most one process holds each."""

    FOLLOW = "follow"  # hash up to the contiguous offset
    COMMIT = "commit"  # drive a commit to its end
    FLUSH = "flush"  # make recorded chunks durable
    JOIN = "join"  # make it of its parts
    RECEIVE = "receive"  # receive the one request that it exists for
    SIGN = "sign"  # make the signature of the artifact with this digest


class Lock(Protocol):
    """A lock that is held until ``release``, or until the process dies."""

    def release(self) -> None:
        """Give it back. May be called again without effect."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Stored part of a chunk: the number of bytes from its start, and the reference for its row, if any."""

    size: int
    ref: str | None = None
    #: Whether they are on stable storage already.
    durable: bool = False


class ChunkWriter(Protocol):
    """One writer's hold on a byte range of an upload. ``read`` and ``write`` block: call them on worker threads."""

    #: Whether writes replace the stored bytes in place. If so, bytes can be read while they arrive, and a recorded
    #: chunk of the range is compared first and invalidated before it is overwritten. Otherwise a write makes a new
    #: object, which replaces the recorded one together with its row.
    overwrites: bool

    def read(self, offset: int, size: int) -> bytes:
        """The stored bytes ``[offset, offset + size)`` of the file (where it ``overwrites``). BytesLost."""

    def write(self, offset: int, block: memoryview) -> None:
        """Put ``block`` at ``offset`` of the file, whole.

        Raises OutOfSpace, StorageFailed, and Superseded once the writer is closed.
        """

    def copy(self, offset: int, origin: Origin) -> None:
        """Put bytes that ``Storage.open_artifact`` found at ``offset``, whole, most of them below the server.

        Raises what ``write`` does, BytesLost when the source cannot be read, and CopyRefused.
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
        """Continue with ``chunk``, the rest of the range, after a first part was finished and recorded.

        The write lease on the range has no gap. A preemption request to this writer is one to the returned writer. Use
        only the returned writer from then on.
        """

    def close(self) -> None:
        """Give the range back; what was written and not recorded is worth nothing. Does not block, may be repeated."""


class ArtifactFile(Protocol):
    """An artifact's file, open for reading until it is closed, or until nobody refers to it any more."""

    @property
    def fd(self) -> int:
        """Its descriptor."""

    def close(self) -> None:
        """Close it. May be called again without effect."""


class RunningHash(Protocol):
    """The SHA-256 of an upload's first bytes, and others, moved along over what is stored.

    Calls take effect in their order.
    """

    @property
    def pending(self) -> int:
        """At most so many bytes, of those that were fed, are not hashed yet."""

    async def feed(self, pieces: Sequence[Piece]) -> None:
        """Hash ``pieces``, which are contiguous in the file.

        Returns when more pieces can be queued, which may be before these are hashed. Raises StorageFailed, BytesLost or
        NotFound if bytes cannot be read. The hash is unusable then, and after a cancelled call.
        """

    def mark(self) -> None:
        """Remember the state of now, behind those remembered already."""

    def forget(self) -> None:
        """Forget the oldest state remembered."""

    def rewind(self) -> None:
        """Go back to the oldest state remembered, and forget all."""

    async def digests(self) -> dict[str, str]:
        """The digests of all that was fed, in hex, by algorithm: "sha256" and the others. Raises what ``feed`` does."""

    def close(self) -> None:
        """The hash is not needed any more."""


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes of the storage: in all, free on the device, and free for new uploads (reservations and floor taken off)."""

    total: int
    free: int
    available: int


class Storage(Protocol):
    """Storage of bytes. Several processes may call every method at the same time."""

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
        """Return whether the upload's staging file is certainly lost: two checks miss it in the directory of ``bind``.

        Raises StorageFailed if that directory itself is unavailable, because then nothing is known.
        """

    def exclude_writers(self, upload_id: str) -> AbstractAsyncContextManager[None]:
        """Ask every writer of the upload to leave, and keep others out while the context lasts.

        Behind it no writer, and no writable descriptor, of the upload is left. RangeBusy when one does not leave in
        time, Superseded when another asks for the same, NotFound without a staging file.
        """

    async def reserve(self, upload_id: str, size: int, *, durable: bool = True) -> Lock:
        """Make the staging file of a new upload with all its bytes reserved; OutOfSpace before any is taken if not.

        Not ``durable``: a power loss may take the file.

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

    def running_hash(self, upload_id: str, algorithms: Collection[str] = ()) -> RunningHash:
        """A new hash, of no bytes yet: the SHA-256, and ``algorithms`` by the names that ``hashlib`` has.

        On an in-place storage it may be fed chunks that are still being written. StorageFailed when it cannot be
        started now.
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

    async def open_artifact(self, sha256: str, span: ByteRange) -> Sequence[Origin]:
        """Find what to give ``ChunkWriter.copy``, one after another, for a part of an artifact.

        Empty: this storage does not copy it by itself, read it. NotFound when its bytes are gone, BytesLost.
        """

    async def artifact_file(self, sha256: str) -> ArtifactFile | None:
        """Open the file of an artifact, for a server that has the kernel send it. None: this storage has no such file.

        NotFound when its bytes are gone, StorageFailed.
        """

    async def store_signature(self, sha256: str, data: bytes) -> None:
        """Keep the signature of an artifact beside it: whole and durable, or not at all. Replaces an earlier one.

        OutOfSpace, StorageFailed.

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
        """Return whether the artifact's bytes have its digest. False also when they are gone or cannot be read back.

        StorageFailed: the storage does not answer, which says nothing about them.
        """

    def list_staged(self) -> Iterator[str]:
        """The ids of uploads with a staging file that no creation in progress holds. Blocks: use a thread."""

    def list_artifacts(self) -> Iterator[str]:
        """The SHA-256 of every artifact file. Blocks: use a thread."""

    async def space(self) -> Space:
        """Return the total, free and available space."""
