"""The life of an upload, as one table.

::

    (create) ──► open ──commit──► committing ──publish──► completed ──delete──► deleting ──► (gone)
                  │ ▲                 │                                            ▲
                  │ └────reject───────┘                                            │
                  └──────────────────────────delete────────────────────────────────┘

What is not in the table is an error. Chunks are recorded and un-recorded only while an upload is open.
"""

from __future__ import annotations

from enum import StrEnum

from partwise.core.errors import WrongState


class UploadState(StrEnum):
    """State of an upload."""

    OPEN = "open"
    COMMITTING = "committing"
    COMPLETED = "completed"
    DELETING = "deleting"


class Event(StrEnum):
    """Action that changes the state of an upload, or requires one."""

    WRITE = "write"  # a chunk is recorded or un-recorded
    COMMIT = "commit"  # all bytes are there, the digest is awaited
    REJECT = "reject"  # the digest was not the expected one: the upload is open again
    PUBLISH = "publish"  # the artifact is in place and recorded
    DELETE = "delete"  # aborted, expired, or cleared from the list


TRANSITIONS: dict[tuple[UploadState, Event], UploadState] = {
    (UploadState.OPEN, Event.WRITE): UploadState.OPEN,
    (UploadState.OPEN, Event.COMMIT): UploadState.COMMITTING,
    (UploadState.COMMITTING, Event.REJECT): UploadState.OPEN,
    (UploadState.COMMITTING, Event.PUBLISH): UploadState.COMPLETED,
    (UploadState.OPEN, Event.DELETE): UploadState.DELETING,
    (UploadState.COMPLETED, Event.DELETE): UploadState.DELETING,
    (UploadState.DELETING, Event.DELETE): UploadState.DELETING,
}


def next_state(state: UploadState, event: Event) -> UploadState:
    """The state that ``event`` leads to; raises WrongState where the table has no such step."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise WrongState(state, event) from None
