"""What an upload is, told as simply as possible: the rules that the engine is held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from partwise.core.errors import (
    ArtifactDigestMismatch,
    BadContentRange,
    BodyInterrupted,
    BodySizeMismatch,
    ChunkDigestMismatch,
    ChunkOverlap,
    Conflict,
    IncompleteUpload,
    PartwiseError,
    QuotaExceeded,
    UnverifiedUpload,
    WrongState,
)
from partwise.core.ranges import ByteRange
from partwise.engine.copying import CopyRange, CopyState
from tests.support.bodies import sha256

Refusal = type[PartwiseError] | None


@dataclass(frozen=True)
class Sent:
    """One request for a chunk: what it says, and what its body does."""

    offset: int
    size: int
    data: bytes
    block: int = 7
    #: The body breaks off after so many bytes.
    cut: int | None = None
    #: The digest that came with it.
    digest: str | None = None
    #: Keep what came of a body that ends early, and replace nothing.
    partial: bool = False

    @property
    def span(self) -> ByteRange:
        """The range that it claims to have."""
        return ByteRange(self.offset, self.size)

    @property
    def arriving(self) -> bytes:
        """The bytes that reach the server."""
        return self.data if self.cut is None else self.data[: self.cut]

    @property
    def taken(self) -> bytes:
        """The bytes that are looked at before one too many is seen: whole blocks only."""
        if len(self.arriving) <= self.size:
            return self.arriving
        return self.arriving[: self.size // self.block * self.block]


@dataclass(frozen=True)
class ModelChunk:
    """A recorded range."""

    data: bytes
    verified: bool


@dataclass
class ModelUpload:
    """An upload, and what each call makes of it. Times are those of the test's clock."""

    id: str
    owner: str
    size: int
    content: bytes
    declared: str | None
    updated: datetime
    chunks: dict[int, ModelChunk] = field(default_factory=dict)
    sha256: str | None = None
    completed: datetime | None = None
    #: Bytes are overwritten where they are; else they stay until others have come whole.
    in_place: bool = True

    def spans(self) -> list[ByteRange]:
        """The recorded ranges, by offset."""
        return [ByteRange(offset, len(self.chunks[offset].data)) for offset in sorted(self.chunks)]

    def put(self, sent: Sent, now: datetime) -> Refusal:
        """Receive a chunk; returns the error that the caller sees."""
        if self.sha256 is not None:
            return WrongState
        if sent.span.end > self.size:
            return BadContentRange
        in_the_way = [span for span in self.spans() if span.overlaps(sent.span)]
        if in_the_way == [sent.span] and not sent.partial:
            return self._replace(sent, now)
        if in_the_way:
            return ChunkOverlap
        refusal = self._refusal(sent)
        if refusal is None or (refusal is BodyInterrupted and sent.partial and sent.taken):
            verified = sent.digest is not None and refusal is None
            self._record(sent.offset, ModelChunk(sent.taken, verified), now)
        return refusal

    def copy(self, wanted: CopyRange, source: bytes | None, now: datetime, *, mine: bool) -> CopyState | None:
        """Fill a range from an artifact with the bytes ``source``; what became of it. None: WrongState for all."""
        if not mine or source is None:
            return CopyState.MISSING
        data = source[wanted.source : wanted.source + wanted.span.size]
        if len(data) < wanted.span.size:
            return CopyState.REFUSED
        span = wanted.span
        refusal = self.put(Sent(offset=span.offset, size=span.size, data=data), now)
        if refusal is WrongState:
            return None
        return CopyState.COPIED if refusal is None else CopyState.REFUSED

    def _replace(self, sent: Sent, now: datetime) -> Refusal:
        old = self.chunks[sent.offset]
        refusal = self._refusal(sent)
        if sent.taken == old.data[: len(sent.taken)]:
            return refusal  # compared, and the same as far as it came: nothing changes
        if refusal is not None and not self.in_place:
            return refusal
        if self.in_place and old.verified and sent.digest == sha256(old.data):
            return ChunkDigestMismatch  # the same bytes were meant: these were damaged on their way
        del self.chunks[sent.offset]
        if refusal is None:
            self._record(sent.offset, ModelChunk(sent.data, sent.digest is not None), now)
        return refusal

    def _refusal(self, sent: Sent) -> Refusal:
        if len(sent.arriving) > sent.size:
            return BodySizeMismatch
        if sent.cut is not None:
            return BodyInterrupted
        if len(sent.arriving) < sent.size and not (sent.partial and sent.arriving):
            return BodySizeMismatch
        if sent.digest is not None and sent.digest != sha256(sent.arriving):
            return ChunkDigestMismatch
        return None

    def _record(self, offset: int, chunk: ModelChunk, now: datetime) -> None:
        self.chunks[offset] = chunk
        self.updated = now

    def resize(self, size: int, now: datetime, room: int) -> Refusal:
        """Fix another size; ``room`` is what the quota leaves for it."""
        if self.sha256 is not None:
            return WrongState
        if any(span.end > size for span in self.spans()):
            return Conflict
        if size > room:
            return QuotaExceeded
        self.size, self.updated = size, now
        return None

    def whole(self) -> bytes | None:
        """The file, if all of it is there."""
        data = b"".join(self.chunks[offset].data for offset in sorted(self.chunks))
        return data if len(data) == self.size else None

    def commit(self, digest: str | None, now: datetime) -> Refusal | str:
        """The digest of the artifact, the error that the caller sees, or None when the task tells of a mismatch."""
        expected = digest or self.declared
        if self.declared and expected != self.declared:
            return ArtifactDigestMismatch
        if self.sha256 is not None:
            return ArtifactDigestMismatch if expected not in (None, self.sha256) else self.sha256
        whole = self.whole()
        if whole is None:
            return IncompleteUpload
        if expected is None and not all(chunk.verified for chunk in self.chunks.values()):
            return UnverifiedUpload
        self.updated = now
        if expected not in (None, sha256(whole)):
            return None
        self.sha256, self.completed = sha256(whole), now
        return self.sha256
