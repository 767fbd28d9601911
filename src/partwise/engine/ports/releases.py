"""Interfaces for releasing artifacts. Storages without files do not implement them."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable

from partwise.core.records import Release


class ReleaseRecords(Protocol):
    """Records of released files."""

    async def count_links(self, sha256: str) -> int:
        """Count the owners that have a link to the content."""

    async def release_artifact(self, artifact_id: str, path: str, now: datetime) -> Release:
        """Forget the artifact and note where its file is, at once. NotFound; Conflict: someone else has a link too."""

    async def find_release(self, artifact_id: str) -> Release | None:
        """Return the release of this artifact, if its record is still kept."""

    async def prune_releases(self, before: datetime) -> int:
        """Forget releases before that time; how many."""


@runtime_checkable
class ReleasingStorage(Protocol):
    """A storage that keeps each artifact as one file. The caller holds the lock of the digest."""

    async def link_out(self, sha256: str, path: str) -> None:
        """Give the artifact's file the name ``path`` too, and bring that to disk. May be repeated.

        Conflict: there is another file, no such folder, another file system, or an upload that still has the file.
        """

    async def take_back(self, sha256: str, path: str) -> None:
        """Undo ``link_out``."""

    async def let_go(self, sha256: str, path: str) -> None:
        """Take the artifact's own name away, so that ``path`` is the only one, and make the file writable.

        May be repeated. A file at either place that is not this one stays as it is.
        """
