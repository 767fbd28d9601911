"""Every error that partwise raises on purpose.

::

    PartwiseError
    ├── BadRequest                the request is invalid; it fails again if repeated
    │   ├── BadSize               size is not a whole number of bytes
    │   ├── BadContentRange       Content-Range missing, malformed, beyond the size, or with another total
    │   ├── BadDigest             digest is not a SHA-256, or two digests differ
    │   ├── BadBody               body cannot be read: malformed form, missing or unknown field
    │   ├── BodySizeMismatch      body is shorter or longer than its range
    │   ├── ChunkDigestMismatch   received bytes do not match the digest sent with them
    │   └── ArtifactDigestMismatch  file does not match the digest of the commit
    ├── BodyInterrupted           connection closed, or body too slow
    ├── OutOfScope                the token's scope does not allow the request
    ├── NotFound                  upload, artifact or task does not exist, or belongs to another user
    ├── CursorExpired             events after the cursor were deleted
    ├── Denied                    the application does not allow the upload
    ├── HookFailed                the application did not decide
    ├── Conflict                  the current state does not allow the request
    │   ├── ChunkOverlap          range partly overlaps recorded chunks
    │   ├── IncompleteUpload      commit with missing ranges
    │   ├── UnverifiedUpload      commit without a digest of an upload with unverified chunks
    │   ├── WrongState            upload is open, committing, completed or being deleted
    │   ├── RangeBusy             another writer holds the range and did not give way in time
    │   ├── StaleGeneration       upload's chunks changed, or another upload has the same id now
    │   └── Superseded            request was preempted by a newer request for the same range
    ├── LimitExceeded             a limit set by the operator
    │   ├── UploadTooLarge        size exceeds the limit for an upload
    │   ├── QuotaExceeded         user's quota is exhausted
    │   ├── TooManyUploads        user has too many open uploads
    │   ├── TooManyArtifacts      user has too many artifacts
    │   ├── TooManyChunks         upload has too many chunks
    │   └── TooManyStreams        user reads too many event streams at once
    ├── OutOfSpace                storage has no free space
    └── StorageFailed             storage or database is unavailable; nothing is known about stored bytes
        ├── SyncFailed            sync to disk failed: chunks that were not durable are lost
        └── BytesLost             stored bytes cannot be read back, confirmed in two ways

The last three differ by what is *known*. StorageFailed itself (no file descriptors, a locked or unreachable database, a
timeout, a response that is not the store's own, a missing folder) never removes a record, because the same call may
succeed later. Only SyncFailed and BytesLost may remove records (``docs/failures.md`` has the table of causes).

``http/problems.py`` maps these errors to HTTP. A test checks that each class is mapped.
"""

from __future__ import annotations

from collections.abc import Sequence

from partwise.core.ranges import ByteRange


class PartwiseError(Exception):
    """Base class of all errors. ``str(error)`` says what was refused, why, and what to do.

    ``retry_after``: seconds after which the same request may succeed, or None.
    """

    retry_after: int | None = None

    #: Name of the setting whose limit caused the error, if any.
    setting: str | None = None


class BadRequest(PartwiseError):
    """The request is invalid. ``field`` names the member, form field or header at fault, if there is one."""

    field: str | None = None

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        if field is not None:
            self.field = field


class BadSize(BadRequest):
    """The size is not a whole number of bytes between 0 and the largest size."""

    field = "size"


class BadContentRange(BadRequest):
    """Content-Range is missing or malformed, exceeds the upload's size, or has another total."""

    field = "Content-Range"


class BadDigest(BadRequest):
    """A digest is not a SHA-256, or two digests of one body differ."""

    field = "sha256"


class BadBody(BadRequest):
    """The body does not match its Content-Type, or lacks a field."""


class BodySizeMismatch(BadRequest):
    """The body is shorter or longer than its Content-Range."""

    def __init__(self, expected: int, received: int | None = None) -> None:
        got = "more" if received is None else str(received)
        super().__init__(
            f"The Content-Range covers {expected} bytes, but {got} arrived. Nothing was recorded. Send the chunk again."
        )
        self.expected, self.received = expected, received


class ChunkDigestMismatch(BadRequest):
    """The received bytes do not match the digest sent with them. Nothing was recorded."""

    field = "sha256"

    def __init__(self, expected: str, actual: str | None = None, *, algorithm: str = "SHA-256") -> None:
        found = f"is {actual}" if actual else "differs"
        super().__init__(
            "Checksum mismatch. "
            f"The {algorithm} of the received bytes {found}{', not ' if actual else ' from '}{expected}. "
            "Nothing was recorded. Send the chunk again."
        )
        self.expected, self.actual = expected, actual


class ArtifactDigestMismatch(BadRequest):
    """The file does not match the digest of the commit. The upload stays open and unchanged."""

    field = "sha256"

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(
            f"Cannot commit: the file's SHA-256 is {actual}, not {expected}. "
            "The upload is still open. To locate the bad "
            "chunk, compare the digests of the chunks (GET the upload with ?digests=true). Send it again, then commit."
        )
        self.expected, self.actual = expected, actual


class BodyInterrupted(PartwiseError):
    """The connection was closed, or the body arrived too slowly."""

    def __init__(self, message: str, *, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


class OutOfScope(PartwiseError):
    """The token does not allow this."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"The scope of this token is {scope}, which does not allow this request. Use another token.")


class NotFound(PartwiseError):
    """The resource does not exist, or belongs to another user. Clients cannot distinguish the two."""

    def __init__(self, what: str, advice: str = "It may have expired or been deleted.") -> None:
        super().__init__(f"No such {what}. {advice}")
        self.what = what


class CursorExpired(PartwiseError):
    """The events after this cursor were deleted, or the cursor is from another database."""

    def __init__(self) -> None:
        super().__init__(
            "The cursor has expired: the events after it were deleted, or it is from another database. "
            "List the current "
            "uploads and artifacts, then read the feed again without 'after'."
        )


class Denied(PartwiseError):
    """The application does not allow this upload. The message is the application's own."""

    def __init__(self, message: str = "The application does not allow this upload.") -> None:
        super().__init__(message)


class HookFailed(PartwiseError):
    """The application did not decide about this upload. Nothing was created."""

    retry_after = 2

    def __init__(self) -> None:
        super().__init__(
            "The application did not decide whether it allows this upload. Nothing was created. Try again."
        )


class Conflict(PartwiseError):
    """The current state does not allow the request."""


class ChunkOverlap(Conflict):
    """The range partly overlaps recorded chunks. ``chunks`` has the first of them, ``count`` their number."""

    def __init__(self, chunks: Sequence[ByteRange], count: int) -> None:
        listed = ", ".join(str(chunk) for chunk in chunks[:5])
        super().__init__(
            f"The range partly overlaps {count} recorded chunk(s): bytes {listed}{', …' if count > 5 else ''}. "
            "Send a missing range, or exactly the range of a recorded chunk."
        )
        self.chunks, self.count = list(chunks), count


class IncompleteUpload(Conflict):
    """The upload has missing ranges. ``missing`` has the first of them, ``count`` their number."""

    def __init__(self, missing: Sequence[ByteRange], count: int) -> None:
        listed = ", ".join(str(gap) for gap in missing[:5])
        more = ", …" if count > 5 else ""
        super().__init__(f"The upload is incomplete. Missing bytes: {listed}{more}. Send them, then commit again.")
        self.missing, self.count = list(missing), count


class UnverifiedUpload(Conflict):
    """The commit has no SHA-256, and not every chunk came with a digest."""

    def __init__(self) -> None:
        super().__init__(
            "Cannot commit without a digest, because not every chunk came with one. Commit with the file's sha256."
        )


#: How sentences name the steps of ``state.py``, its states, and what a client can do in each.
_STEPS = {"write": "store the chunk", "reject": "reopen"}
_STATES = {"open": "still open", "committing": "being committed", "completed": "complete", "deleting": "being deleted"}
_ADVICE = {"open": " Commit it first.", "committing": " Wait for the commit, then try again."}


class WrongState(Conflict):
    """The upload is in a state that does not allow this step. ``event`` names the step."""

    def __init__(self, state: str, event: str) -> None:
        step, advice = _STEPS.get(event, event), _ADVICE.get(state, "")
        super().__init__(f"Cannot {step}: the upload is {_STATES.get(state, state)}.{advice}")
        self.state, self.event = state, event
        if state == "committing":
            self.retry_after = 1


class RangeBusy(Conflict):
    """Another writer holds the range and did not give way in time."""

    retry_after = 1

    def __init__(self, chunk: ByteRange) -> None:
        super().__init__(f"Another request is writing bytes {chunk}. Try again.")
        self.chunk = chunk


class StaleGeneration(Conflict):
    """The upload's chunks changed during the request, or another upload has the same id now."""

    retry_after = 1

    def __init__(self) -> None:
        super().__init__("The upload changed during the request. Get its status, then try again.")


class Superseded(Conflict):
    """A newer request for the same bytes preempted this request."""

    def __init__(self) -> None:
        super().__init__("This request was preempted by a newer request for the same bytes. Follow the newer request.")


class LimitExceeded(PartwiseError):
    """A limit set by the operator is reached. ``limit`` is its value."""

    def __init__(self, message: str, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class UploadTooLarge(LimitExceeded):
    """The declared size exceeds the limit for an upload, in bytes."""

    setting = "max_upload_size"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"The upload of {size} bytes exceeds the limit of {limit} bytes. Split the file, or ask the operator.",
            limit,
        )


class QuotaExceeded(LimitExceeded):
    """The user's open uploads and artifacts exceed the quota, in bytes."""

    setting = "quota"

    def __init__(self, size: int, used: int, limit: int) -> None:
        super().__init__(
            f"Quota exceeded: {size} more bytes do not fit, {used} of {limit} bytes are used. "
            "Delete artifacts or uploads.",
            limit,
        )
        self.used = used


class TooManyUploads(LimitExceeded):
    """The user has too many open uploads."""

    setting = "max_open_uploads"

    def __init__(self, limit: int) -> None:
        super().__init__(f"You have {limit} open uploads, which is the limit. Commit or delete one.", limit)


class TooManyArtifacts(LimitExceeded):
    """The user has too many artifacts. An open upload counts as the artifact that it may become."""

    setting = "max_artifacts"

    def __init__(self, limit: int) -> None:
        super().__init__(f"You have {limit} artifacts and open uploads, which is the limit. Delete some.", limit)


class TooManyChunks(LimitExceeded):
    """The upload has too many chunks."""

    setting = "max_chunks"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The upload has {limit} chunks, which is the limit. Send larger chunks.", limit)


class TooManyStreams(LimitExceeded):
    """The user reads too many event streams at once."""

    setting = "max_event_streams"
    retry_after = 30

    def __init__(self, limit: int) -> None:
        super().__init__(f"You read {limit} event streams, which is the limit. Close one, or use one for all.", limit)


class OutOfSpace(PartwiseError):
    """The storage has no free space for the bytes, or would fall below the free-space floor."""

    def __init__(
        self,
        message: str = (
            "The server has no free space for these bytes. Try again later, or ask the operator to free space."
        ),
        *,
        setting: str | None = None,
    ) -> None:
        super().__init__(message)
        self.setting = setting


class StorageFailed(PartwiseError):
    """The storage or the metadata database is unavailable. Nothing is lost. The server's log has the details."""

    retry_after: int | None = 2


class SyncFailed(StorageFailed):
    """Data could not be synced to disk. Chunks that were not durable yet have to be sent again."""


class BytesLost(StorageFailed):
    """Stored bytes cannot be read back. The disk is damaged, or another program changed the files."""

    retry_after = None
