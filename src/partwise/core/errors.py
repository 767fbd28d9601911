"""Every error that partwise raises on purpose.

::

    PartwiseError
    ├── BadRequest                what the client sent is wrong; the same again will fail again
    │   ├── BadSize               a size that is no whole number of bytes
    │   ├── BadContentRange       Content-Range missing, malformed, beyond the size, or with another total
    │   ├── BadDigest             a digest that is no SHA-256, or two that disagree
    │   ├── BadBody               a body that cannot be read: malformed form, missing or unknown field
    │   ├── BodySizeMismatch      fewer or more bytes than the range has
    │   ├── ChunkDigestMismatch   the bytes that came are not those of the digest sent with them
    │   └── ArtifactDigestMismatch  the whole file is not the one that the commit expects
    ├── BodyInterrupted           the connection broke, or went silent, before the body was whole
    ├── NotFound                  no such upload, artifact or task, or it is someone else's
    ├── CursorExpired             the events that follow a cursor are not kept any more
    ├── Denied                    the application that partwise is part of does not allow the upload
    ├── HookFailed                that application could not say whether it does
    ├── Conflict                  what is there does not allow it now
    │   ├── ChunkOverlap          the range overlaps recorded chunks in part
    │   ├── IncompleteUpload      commit with missing ranges
    │   ├── UnverifiedUpload      commit without a digest of an upload with unverified chunks
    │   ├── WrongState            the upload is committing, completed or being deleted
    │   ├── RangeBusy             another writer holds the range and did not give way in time
    │   ├── StaleGeneration       the upload's chunks have changed since, or it is another upload of the same id
    │   └── Superseded            a newer request for the same range took over from this one
    ├── LimitExceeded             a limit that the operator set
    │   ├── UploadTooLarge        size above the largest allowed
    │   ├── QuotaExceeded         the user's quota has no room for it
    │   ├── TooManyUploads        the user has too many open uploads
    │   ├── TooManyArtifacts      the user has too many artifacts
    │   └── TooManyChunks         the upload has too many chunks
    ├── OutOfSpace                the storage has no room
    └── StorageFailed             the storage or the database failed; nothing is known of what is stored
        ├── SyncFailed            the system call that brings bytes to disk failed: what was not durable is lost
        └── BytesLost             what was stored cannot be read back, confirmed in two ways

The last three differ by what is *known*. StorageFailed itself (no descriptors, a locked or unreachable database, a
time-out, an answer that is not the store's own, a folder that is missing) never removes a record: the same call may
succeed later. Only SyncFailed and BytesLost may (``docs/failures.md`` has the table of causes).

One place maps them to HTTP (``http/problems.py``), and a test checks that each is mapped.
"""

from __future__ import annotations

from collections.abc import Sequence

from partwise.core.ranges import ByteRange


class PartwiseError(Exception):
    """The root of the tree. ``str(error)`` is one sentence for the client that says what to do.

    ``retry_after`` gives seconds when a later try may pass.
    """

    retry_after: int | None = None

    #: The operator's setting that stood in the way, where a limit did.
    setting: str | None = None


class BadRequest(PartwiseError):
    """What the client sent is wrong. ``field`` names the member, form field or header at fault, where there is one."""

    field: str | None = None

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        if field is not None:
            self.field = field


class BadSize(BadRequest):
    """A size that is no whole number of bytes between 0 and the largest."""

    field = "size"


class BadContentRange(BadRequest):
    """A Content-Range that is missing, malformed, beyond the upload's size, or with another total."""

    field = "Content-Range"


class BadDigest(BadRequest):
    """A digest that is no SHA-256, or two digests of one body that disagree."""

    field = "sha256"


class BadBody(BadRequest):
    """A body that cannot be read as what its Content-Type says, or lacks a field."""


class BodySizeMismatch(BadRequest):
    """The body has fewer or more bytes than its Content-Range says."""

    def __init__(self, expected: int, received: int | None = None) -> None:
        got = "more" if received is None else str(received)
        super().__init__(f"The Content-Range covers {expected} bytes, but {got} came.")
        self.expected, self.received = expected, received


class ChunkDigestMismatch(BadRequest):
    """The bytes are not those of the digest sent with them. Nothing was recorded: send them again."""

    field = "sha256"

    def __init__(self, expected: str, actual: str | None = None, *, algorithm: str = "SHA-256") -> None:
        found = f"is {actual}" if actual else "is another, as the stored chunk that has this digest shows"
        super().__init__(f"The {algorithm} of these bytes {found}, not {expected}; send them again.")
        self.expected, self.actual = expected, actual


class ArtifactDigestMismatch(BadRequest):
    """The whole file is not the one that the commit expects. The upload stays open and intact."""

    field = "sha256"

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(
            f"The file's SHA-256 is {actual}, not {expected}. The upload is open as before: compare the digests of "
            "its chunks (GET the upload with ?digests=true), send the bad ones again, and commit again."
        )
        self.expected, self.actual = expected, actual


class BodyInterrupted(PartwiseError):
    """The connection broke, or stayed silent too long, before the body was whole."""

    def __init__(self, message: str, *, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


class NotFound(PartwiseError):
    """There is no such thing, or it belongs to someone else; the two are not told apart."""

    def __init__(self, what: str) -> None:
        super().__init__(f"There is no such {what}.")
        self.what = what


class CursorExpired(PartwiseError):
    """The events that follow this cursor are not kept any more, or the cursor is from other records."""

    def __init__(self) -> None:
        super().__init__(
            "The events that follow this cursor are not kept any more, or it is not from this server. List what is "
            "there, and read the events again without 'after'."
        )


class Denied(PartwiseError):
    """The application that partwise is part of does not allow this upload. Its own sentence says why."""

    def __init__(self, message: str = "The application does not allow this upload.") -> None:
        super().__init__(message)


class HookFailed(PartwiseError):
    """The application could not say whether it allows this upload. Nothing was created."""

    retry_after = 2

    def __init__(self) -> None:
        super().__init__("The application could not say whether it allows this upload; try again.")


class Conflict(PartwiseError):
    """What is there does not allow it now."""


class ChunkOverlap(Conflict):
    """The range overlaps recorded chunks in part; ``chunks`` are (the first of) those, ``count`` is how many."""

    def __init__(self, chunks: Sequence[ByteRange], count: int) -> None:
        listed = ", ".join(str(chunk) for chunk in chunks[:5])
        super().__init__(
            f"The range overlaps {count} recorded chunk(s) in part (bytes {listed}"
            f"{', …' if count > 5 else ''}). Send a range that is missing, or exactly the range of a chunk."
        )
        self.chunks, self.count = list(chunks), count


class IncompleteUpload(Conflict):
    """The upload has missing ranges; ``missing`` are (the first of) those, ``count`` is how many."""

    def __init__(self, missing: Sequence[ByteRange], count: int) -> None:
        listed = ", ".join(str(gap) for gap in missing[:5])
        super().__init__(f"Not all bytes are here; missing: bytes {listed}{', …' if count > 5 else ''}.")
        self.missing, self.count = list(missing), count


class UnverifiedUpload(Conflict):
    """A commit without a SHA-256 needs every chunk to have come with a digest."""

    def __init__(self) -> None:
        super().__init__("Not every chunk came with a digest: commit with the file's sha256.")


class WrongState(Conflict):
    """The upload's state has no such step."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(f"The upload is {state}, which does not allow: {event}.")
        self.state, self.event = state, event
        if state == "committing":
            self.retry_after = 1


class RangeBusy(Conflict):
    """Another writer holds the range and did not give way in time."""

    retry_after = 1

    def __init__(self, chunk: ByteRange) -> None:
        super().__init__(f"Another request is writing bytes {chunk}; try again.")
        self.chunk = chunk


class StaleGeneration(Conflict):
    """What was found out about the upload is about earlier bytes: its chunks have changed, or it was made again."""

    retry_after = 1

    def __init__(self) -> None:
        super().__init__("The upload was changed meanwhile. Look at it, and try again.")


class Superseded(Conflict):
    """A newer request for the same bytes took over; this one was dropped."""

    def __init__(self) -> None:
        super().__init__("A newer request for the same bytes took over from this one.")


class LimitExceeded(PartwiseError):
    """A limit that the operator set; ``limit`` is its value."""

    def __init__(self, message: str, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class UploadTooLarge(LimitExceeded):
    """The declared size is above the largest allowed."""

    setting = "max_upload_size"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size} bytes are above this server's limit of {limit} for an upload.", limit)


class QuotaExceeded(LimitExceeded):
    """The user's quota (open uploads plus artifacts) has no room for the size."""

    setting = "quota"

    def __init__(self, size: int, used: int, limit: int) -> None:
        super().__init__(f"{size} bytes do not fit: {used} of your quota of {limit} bytes are used.", limit)
        self.used = used


class TooManyUploads(LimitExceeded):
    """The user has as many open uploads as allowed."""

    setting = "max_open_uploads"

    def __init__(self, limit: int) -> None:
        super().__init__(f"You have {limit} open uploads, the most allowed: commit or delete one.", limit)


class TooManyArtifacts(LimitExceeded):
    """The user has as many artifacts as allowed, open uploads counted as those that they may become."""

    setting = "max_artifacts"

    def __init__(self, limit: int) -> None:
        super().__init__(f"You have {limit} artifacts and open uploads, the most allowed: delete some.", limit)


class TooManyChunks(LimitExceeded):
    """The upload has as many chunks as allowed."""

    setting = "max_chunks"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The upload has {limit} chunks, the most allowed: send larger ones.", limit)


class OutOfSpace(PartwiseError):
    """The storage has no room for the bytes, or would fall below its floor of free space."""

    def __init__(
        self,
        message: str = "The server has no room for these bytes; try again later.",
        *,
        setting: str | None = None,
    ) -> None:
        super().__init__(message)
        self.setting = setting


class StorageFailed(PartwiseError):
    """The storage or the database failed, which may pass. Nothing is lost; the operator's log says more."""

    retry_after: int | None = 2


class SyncFailed(StorageFailed):
    """The storage could not bring bytes to its disk: chunks that were not durable yet have to be sent again."""


class BytesLost(StorageFailed):
    """What was stored cannot be read back, now or later: the disk is damaged, or someone else changed its files."""

    retry_after = None
