"""Results of the client: descriptions of uploads and artifacts, results of transfers, and their observer."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from partwise.client.errors import ClientError
from partwise.core.ranges import ByteRange

#: Called with the bytes that are through, and their total; None: not known.
Progress = Callable[[int, int | None], object]

P = ParamSpec("P")
T = TypeVar("T")


def understood(read: Callable[P, T]) -> Callable[P, T]:
    """Let a function that reads the server's JSON raise ClientError for values of another kind than they must be."""

    @wraps(read)
    def reading(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(*args, **kwargs)
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise ClientError(
                f"The server's answer cannot be understood ({error}). Check that it is a partwise server."
            ) from error

    return reading


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no path")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadInfo:
    """An upload as the server describes it. ``chunks`` are sorted by offset; listings leave them empty."""

    href: str
    size: int | None
    state: str
    received: int
    filename: str | None
    created: str
    updated: str
    expires: str | None
    artifact: str | None
    sha256: str | None
    #: Of a completed upload, the name of its artifact, if the server tells it.
    artifact_filename: str | None = None
    chunks: tuple[ByteRange, ...] = ()
    #: The server's advice, where it gives any.
    chunk_size: int | None = None
    parallel: int | None = None
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def id(self) -> str:
        """The last part of the href."""
        return self.href.rstrip("/").rpartition("/")[2]

    @property
    def other_name(self) -> str | None:
        """The name of the artifact if it is another than that of the upload: its owner had the content already."""
        return self.artifact_filename if self.artifact_filename != self.filename else None

    @classmethod
    @understood
    def parse(cls, body: Mapping[str, Any]) -> UploadInfo:
        """Read the server's JSON. Fields that only some servers send may be absent."""
        chunks = sorted(ByteRange(int(chunk["offset"]), int(chunk["size"])) for chunk in body.get("chunks") or ())
        completed = body.get("completed")
        return cls(
            href=_path(body["pulp_href"]),
            size=None if body.get("size") is None else int(body["size"]),
            state=body.get("state") or ("completed" if completed else "open"),
            received=int(body.get("received", sum(chunk.size for chunk in chunks))),
            filename=body.get("filename"),
            created=body.get("pulp_created", ""),
            updated=body.get("pulp_last_updated", ""),
            expires=body.get("expires"),
            artifact=body.get("artifact"),
            sha256=body.get("sha256"),
            artifact_filename=body.get("artifact_filename"),
            chunks=tuple(chunks),
            chunk_size=body.get("chunk_size"),
            parallel=body.get("parallel"),
            raw=dict(body),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactInfo:
    """An artifact as the server describes it."""

    href: str
    sha256: str
    size: int
    filename: str | None
    created: str
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def id(self) -> str:
        """The last part of the href."""
        return self.href.rstrip("/").rpartition("/")[2]

    @classmethod
    @understood
    def parse(cls, body: Mapping[str, Any]) -> ArtifactInfo:
        """Read the server's JSON."""
        return cls(
            href=_path(body["pulp_href"]),
            sha256=body["sha256"],
            size=int(body["size"]),
            filename=body.get("filename"),
            created=body.get("pulp_created", ""),
            raw=dict(body),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInfo:
    """Something that happened to an upload or artifact, as the server tells it.

    It may be told again: whoever acts on it stores ``id`` with what it does, in one transaction.
    """

    id: str
    type: str
    timestamp: str
    data: Mapping[str, Any]
    #: Where the feed goes on behind it.
    cursor: str
    raw: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @classmethod
    @understood
    def parse(cls, body: Mapping[str, Any]) -> EventInfo:
        """Read the server's JSON."""
        members = {name: body[name] for name in ("id", "type", "timestamp", "data", "cursor")}
        return cls(**members, raw=dict(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """Events in their order. ``cursor`` is what to ask with next; ``more``: there may be more now."""

    events: tuple[EventInfo, ...]
    cursor: str
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """Result of an upload, with its duration and traffic."""

    name: str
    size: int
    sha256: str
    #: The href of the upload on the server; None: a small file was sent in one request, without one.
    upload: str | None
    #: The href of the artifact.
    artifact: str
    #: Whether an earlier, unfinished upload of the same file was taken up.
    resumed: bool
    #: Chunks (and bytes) sent by this call; chunks that the server had already.
    chunks_sent: int
    chunks_skipped: int
    bytes_sent: int
    #: Bytes that the server copied from another artifact, so that they need not be sent.
    bytes_copied: int = 0
    #: Requests that had to be made again, and chunks sent again because their stored bytes were wrong.
    retries: int
    chunks_repaired: int
    seconds: float
    #: The name that the artifact keeps, if it is another one: you had this content already.
    kept_as: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """Result of a download. ``bytes_received`` is less than ``size`` if an earlier download was resumed."""

    path: str
    size: int
    sha256: str
    bytes_received: int
    #: Bytes that were taken from a local file.
    bytes_local: int = 0
    retries: int
    seconds: float


def spellings_of(name: str) -> list[str]:
    """Return the forms of Unicode in which a name may be stored: as given first, then composed and decomposed."""
    return list(dict.fromkeys((name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))))


class Phase(StrEnum):
    """Phase of a transfer."""

    SENDING = "sending"
    RECEIVING = "receiving"
    #: The client compares a local file with the artifact.
    COMPARING = "comparing"
    #: The client finishes the digest of its own file.
    HASHING = "hashing"
    #: The server checks the digest of what it has, or the client that of what it received.
    VERIFYING = "verifying"


class Observer:
    """Follows a transfer; override what you want to know. Called from several threads, one call at a time."""

    def progress(self, phase: Phase, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes of this phase are through. May go back when a chunk has to be sent again.

        ``total`` None: not known, as of a stream.
        """

    def note(self, message: str) -> None:
        """Something worth a line: a resume, a lost connection, a repaired chunk."""


class Calling(Observer):
    """An observer that also calls a function with the bytes that are sent or received."""

    def __init__(self, observer: Observer, call: Progress) -> None:
        self._observer, self._call = observer, call

    def progress(self, phase: Phase, done: int, total: int | None) -> None:
        """Tell both."""
        self._observer.progress(phase, done, total)
        if phase in (Phase.SENDING, Phase.RECEIVING):
            self._call(done, total)

    def note(self, message: str) -> None:
        """Tell the observer."""
        self._observer.note(message)


def observing(observer: Observer | None, progress: Progress | None) -> Observer:
    """Return one observer for both."""
    observer = observer or Observer()
    return observer if progress is None else Calling(observer, progress)
