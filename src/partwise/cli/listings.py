"""``partwise ls``, ``show`` and ``rm``."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import TypeVar

from partwise.cli.output import emit, exit_with_message, out, plain, show_table, tell
from partwise.cli.sizes import format_size
from partwise.client import ArtifactInfo, Client, NotFound, UploadInfo
from partwise.client.models import spellings_of
from partwise.core.digests import is_sha256
from partwise.core.ranges import missing_ranges

T = TypeVar("T", UploadInfo, ArtifactInfo)

#: Gaps that `show` lists; a program takes them from --json.
_MOST_GAPS = 10


class Sort(Enum):
    """Sort order of a list: the newest, the largest, or the first name is on top."""

    TIME = "time"
    SIZE = "size"
    NAME = "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Selection of the items to list: ``search`` in their name, then the first ``limit`` in sort order (None: all)."""

    search: str | None = None
    sort: Sort = Sort.TIME
    reverse: bool = False
    limit: int | None = None

    def of(self, items: Iterator[T]) -> list[T]:
        """The chosen ones. ``items`` come newest first, and are asked for as far as is needed."""
        if self.sort is Sort.TIME and not self.reverse:
            return list(islice(items, self.limit))
        found = list(items)
        if self.sort is Sort.SIZE:
            found.sort(key=lambda item: item.size or 0, reverse=True)
        elif self.sort is Sort.NAME:
            found.sort(key=lambda item: item.filename or "")
        if self.reverse:
            found.reverse()
        return found[: self.limit]


def list_all(client: Client, choice: Choice, *, uploads: bool, artifacts: bool, as_json: bool) -> None:
    """List what there is, as tables or as one JSON object on each line, with its ``kind``."""
    with exit_with_message():
        kept_uploads = choice.of(_in_all_spellings(client.uploads, choice.search)) if uploads else []
        kept_artifacts = choice.of(_in_all_spellings(client.artifacts, choice.search)) if artifacts else []
        if as_json:
            for upload in kept_uploads:
                emit({"kind": "upload", **upload.raw})
            for artifact in kept_artifacts:
                emit({"kind": "artifact", **artifact.raw})
            return
        if uploads:
            _upload_table(kept_uploads)
        if uploads and artifacts:
            out.print()
        if artifacts:
            _artifact_table(kept_artifacts)


def _in_all_spellings(find: Callable[..., Iterator[T]], search: str | None) -> Iterator[T]:
    """Return items with ``search`` in their name, newest first, in both Unicode spellings of its accents.

    macOS gives names in the second form (NFD), keyboards type the first (NFC), and both look the same.
    """
    spellings = spellings_of(search) if search else [search]
    found = heapq.merge(*(find(search=each) for each in spellings), key=lambda item: item.created, reverse=True)
    yield from {item.href: item for item in found}.values() if len(spellings) > 1 else found


def _upload_table(uploads: Sequence[UploadInfo]) -> None:
    if not uploads:
        out.print("No uploads.")
        return
    rows = [
        (
            upload.id,
            upload.state,
            "?" if upload.size is None else format_size(upload.size),
            f"{_percent(upload)} %",
            _time(upload.updated),
            upload.filename or "",
        )
        for upload in uploads
    ]
    show_table(("UPLOAD", "STATE", "SIZE", "RECEIVED", "UPDATED", "NAME"), rows, right=("SIZE", "RECEIVED"))


def _artifact_table(artifacts: Sequence[ArtifactInfo]) -> None:
    if not artifacts:
        out.print("No artifacts.")
        return
    rows = [
        (artifact.sha256, format_size(artifact.size), _time(artifact.created), artifact.filename or "")
        for artifact in artifacts
    ]
    show_table(("ARTIFACT (SHA-256)", "SIZE", "CREATED", "NAME"), rows, right=("SIZE",))


def show(client: Client, reference: str, *, as_json: bool) -> None:
    """Show the upload or artifact that ``reference`` (id, href or SHA-256) names."""
    with exit_with_message():
        found = _find(client, reference)
    if as_json:
        emit({"kind": "upload" if isinstance(found, UploadInfo) else "artifact", **found.raw})
        return
    lines = _upload_lines(found) if isinstance(found, UploadInfo) else _artifact_lines(found)
    for name, value in lines:
        if value is not None:
            out.print(plain(f"{name:<10} {value}"))


def _upload_lines(upload: UploadInfo) -> list[tuple[str, str | None]]:
    gaps = list(missing_ranges(upload.size or 0, upload.chunks)) if upload.state == "open" else []
    listed = ", ".join(str(gap) for gap in gaps[:_MOST_GAPS])
    more = f" and {len(gaps) - _MOST_GAPS} more" if len(gaps) > _MOST_GAPS else ""
    return [
        ("upload", upload.href),
        ("name", upload.filename),
        ("state", upload.state),
        ("size", None if upload.size is None else _bytes(upload.size)),
        ("received", f"{_bytes(upload.received)} in {len(upload.chunks)} chunks, {_percent(upload)} %"),
        ("missing", f"bytes {listed}{more}" if gaps else None),
        ("sha256", upload.sha256),
        ("artifact", upload.artifact),
        ("created", _time(upload.created)),
        ("updated", _time(upload.updated)),
        ("expires", None if upload.expires is None else _time(upload.expires)),
    ]


def _artifact_lines(artifact: ArtifactInfo) -> list[tuple[str, str | None]]:
    return [
        ("artifact", artifact.href),
        ("name", artifact.filename),
        ("size", _bytes(artifact.size)),
        ("sha256", artifact.sha256),
        ("created", _time(artifact.created)),
    ]


def remove(client: Client, references: Sequence[str]) -> None:
    """Delete each upload or artifact named; stops at the first that cannot be."""
    with exit_with_message():
        for reference in references:
            found = _find(client, reference)
            if isinstance(found, UploadInfo):
                client.delete_upload(found.href)
            else:
                client.delete_artifact(found.href)
            tell(f"Deleted {found.href}")


def _find(client: Client, reference: str) -> UploadInfo | ArtifactInfo:
    """Return what an id, href or SHA-256 names. Uploads and artifacts have the same kind of id; uploads come first."""
    if is_sha256(reference.lower()) or "/artifacts/" in reference:
        return client.artifact(reference)
    try:
        return client.upload_info(reference)
    except NotFound:
        if "/uploads/" in reference:
            raise
    try:
        return client.artifact(reference)
    except NotFound as error:
        raise NotFound(
            404, f"No such upload or artifact: {reference}. List them with partwise ls.", error.body
        ) from None


def _percent(upload: UploadInfo) -> int:
    return 100 * upload.received // upload.size if upload.size else 100


def _bytes(size: int) -> str:
    return f"{size} bytes ({format_size(size)})" if size >= 1000 else f"{size} bytes"


def _time(stamp: str) -> str:
    """The server's time (ISO 8601, UTC) to the second."""
    return stamp[:19].replace("T", " ") + (" UTC" if stamp else "")
