"""What the clients know for certain: their own record of what they asked for and what was acknowledged.

The clients' process is killed together with the server's, so each event is told to the parent process before the
request (what may now happen) and after the answer (what must now be so).
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from partwise.core.ranges import ByteRange, split
from tests.support.bodies import sha256

#: Contents that clients upload; few, so that different owners often have the same.
CONTENTS = 3

#: What a chunk may hold: the right bytes, other bytes, or nothing that counts.
Variant = Literal["right", "other", "missing"]
#: An event, as a name and its arguments.
Event = tuple[Any, ...]


def content(number: int) -> bytes:
    """One of the contents."""
    return random.Random(number).randbytes(700 + 611 * number)


def pieces(number: int) -> list[ByteRange]:
    """The chunks that a content is sent in."""
    return list(split(ByteRange(0, len(content(number))), 233 + 100 * number))


def chunk_bytes(number: int, span: ByteRange, variant: Variant) -> bytes:
    """What a client sends: ``other`` begins as the right bytes do, so that a replacement begins in the middle."""
    data = bytearray(content(number)[span.offset : span.end])
    if variant == "other":
        data[-1] ^= 0xFF
    return bytes(data)


@dataclass
class Sending:
    """A request under way, and what others have sent to the same place since it began."""

    offset: int
    variant: Variant
    met: set[Variant] = field(default_factory=set)


@dataclass
class KnownUpload:
    """An upload that was acknowledged."""

    owner: str
    number: int
    #: By the chunk's offset: what it may hold now.
    chunks: dict[int, set[Variant]] = field(default_factory=dict)
    #: Requests under way.
    sending: list[Sending] = field(default_factory=list)
    #: Whether it may be committed, must be, may be gone.
    committing: bool = False
    committed: bool = False
    deleting: bool = False

    def holds(self, offset: int) -> set[Variant]:
        """What the chunk at ``offset`` may hold."""
        return self.chunks.setdefault(offset, {"missing"})

    def begin(self, offset: int, variant: Variant) -> None:
        """A request for the place is under way, beside those that are."""
        new = Sending(offset, variant)
        for other in self.sending:
            if other.offset == offset:
                other.met.add(variant)
                new.met.add(other.variant)
        self.sending.append(new)

    def end(self, offset: int, variant: Variant) -> set[Variant]:
        """One such request has ended; what others may have left there since it began."""
        alike = [one for one in self.sending if (one.offset, one.variant) == (offset, variant)]
        self.sending.remove(alike[0])
        return set().union(*(one.met for one in alike)) - {variant}


@dataclass
class KnownJoin:
    """An upload that is to be made of others, which hold its content in turn."""

    owner: str
    number: int
    parts: list[str]
    joined: bool = False
    deleting: bool = False
    #: Whether a power loss may have taken bytes of the parts.
    weak: bool = False


@dataclass
class KnownPart:
    """An upload that takes a piece of a content in turn, of which all that came is kept."""

    owner: str
    number: int
    span: ByteRange
    #: So many bytes from its start were told to be kept; None once it is given up.
    kept: int | None = 0


class Known:
    """The knowledge of all clients, as a fold over events."""

    def __init__(self) -> None:
        self.uploads: dict[str, KnownUpload] = {}
        self.joins: dict[str, KnownJoin] = {}
        self.parts: dict[str, KnownPart] = {}
        #: By owner and digest: whether the artifact may be there, and whether it may be gone.
        self.artifacts: dict[tuple[str, str], set[bool]] = {}
        #: Ids of uploads that may have been completed, that were, and that were removed for certain.
        self.completing: set[str] = set()
        self.completed: set[str] = set()
        self.removed: set[str] = set()
        #: By owner and digest: files in one request that were begun, and that were acknowledged.
        self.wholes_begun: Counter[tuple[str, str]] = Counter()
        self.wholes: Counter[tuple[str, str]] = Counter()
        #: Ids of uploads whose completion an endpoint was told of.
        self.delivered: set[str] = set()

    def learn(self, event: Event) -> None:
        """Take in an event: ``(name, *arguments)``, of which each is a method here."""
        getattr(self, f"_{event[0]}")(*event[1:])

    def links(self, owner: str, digest: str) -> set[bool]:
        """Whether the owner may have the artifact, may not have it."""
        return self.artifacts.setdefault((owner, digest), {False})

    def crashed(self) -> None:
        """Requests under way have ended; what they may have done is known."""
        for upload in self.uploads.values():
            upload.sending.clear()

    def lost_power(self) -> None:
        """Chunks that were acknowledged may be missing (reported so)."""
        for upload in self.uploads.values():
            for chunk in upload.chunks.values():
                chunk.add("missing")
        for join in self.joins.values():
            join.weak = not join.joined
        for part in self.parts.values():
            part.kept = None if part.kept is None else 0

    def _created(self, upload_id: str, owner: str, number: int) -> None:
        self.uploads[upload_id] = KnownUpload(owner, number)

    def _sending(self, upload_id: str, offset: int, variant: Variant) -> None:
        upload = self.uploads[upload_id]
        upload.begin(offset, variant)
        if upload.holds(offset) != {variant}:  # the same again never loses it
            upload.chunks[offset] |= {variant, "missing"}

    def _sent(self, upload_id: str, offset: int, variant: Variant) -> None:
        upload = self.uploads[upload_id]
        # Which of several was the last does not show by the order of their answers.
        beside = upload.end(offset, variant)
        upload.chunks[offset] = {variant, *beside, *(("missing",) if beside else ())}

    def _refused(self, upload_id: str, offset: int, variant: Variant) -> None:
        self.uploads[upload_id].end(offset, variant)

    def _cutting(self, upload_id: str, offset: int) -> None:
        """A request that will break off: it may un-record what is there, and records nothing."""
        upload = self.uploads[upload_id]
        upload.begin(offset, "missing")
        upload.holds(offset).add("missing")

    def _committing(self, upload_id: str) -> None:
        upload = self.uploads[upload_id]
        upload.committing = True
        self.completing.add(upload_id)
        self._storing(upload.owner, sha256(content(upload.number)))

    def _committed(self, upload_id: str) -> None:
        upload = self.uploads[upload_id]
        upload.committed = True
        self.completed.add(upload_id)
        self._stored(upload.owner, sha256(content(upload.number)))

    def _begun(self, upload_id: str, owner: str, number: int, offset: int, size: int) -> None:
        self.parts[upload_id] = KnownPart(owner, number, ByteRange(offset, size))

    def _kept(self, upload_id: str, count: int) -> None:
        self.parts[upload_id].kept = count

    def _dropping(self, upload_id: str) -> None:
        self.parts[upload_id].kept = None

    def _dropped(self, upload_id: str) -> None:
        del self.parts[upload_id]

    def _joining(self, upload_id: str, owner: str, number: int, parts: list[str]) -> None:
        self.joins.setdefault(upload_id, KnownJoin(owner, number, parts))
        self.completing.add(upload_id)
        for part in parts:
            self.parts.pop(part, None)
        self._storing(owner, sha256(content(number)))

    def _joined(self, upload_id: str) -> None:
        join = self.joins[upload_id]
        join.joined = True
        self.completed.add(upload_id)
        self._stored(join.owner, sha256(content(join.number)))

    def _parting(self, upload_id: str) -> None:
        self.joins[upload_id].deleting = True

    def _parted(self, upload_id: str) -> None:
        del self.joins[upload_id]
        self.removed.add(upload_id)

    def _deleting(self, upload_id: str) -> None:
        self.uploads[upload_id].deleting = True

    def _deleted(self, upload_id: str) -> None:
        del self.uploads[upload_id]
        self.removed.add(upload_id)

    def _delivered(self, upload_id: str) -> None:
        self.delivered.add(upload_id)

    def _sending_whole(self, owner: str, digest: str) -> None:
        self.wholes_begun[owner, digest] += 1
        self._storing(owner, digest)

    def _sent_whole(self, owner: str, digest: str) -> None:
        self.wholes[owner, digest] += 1
        self._stored(owner, digest)

    def _storing(self, owner: str, digest: str) -> None:
        self.links(owner, digest).add(True)

    def _stored(self, owner: str, digest: str) -> None:
        self.artifacts[owner, digest] = {True}

    def _unlinking(self, owner: str, digest: str) -> None:
        self.links(owner, digest).add(False)

    def _unlinked(self, owner: str, digest: str) -> None:
        self.artifacts[owner, digest] = {False}
