"""Interface of a catalog for a storage of immutable objects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from partwise.core.records import Segment
from partwise.engine.ports.storage import Lock


class ObjectRecords(Protocol):
    """Records of a storage of immutable objects, shared by any number of machines.

    An object belongs to a chunk, to an artifact as a segment, or to the garbage. The catalog moves it in the same
    transaction that replaces or deletes a chunk, completes a commit, or deletes an artifact.
    """

    async def try_name(self, name: str) -> Lock | None:
        """Take the lock of this name, one holder among all machines; None when someone has it.

        It is lost with the connection to the catalog: it saves double work, and proves nothing.
        """

    async def list_segments(self, sha256: str, *, start: int = 0, limit: int = 1000) -> list[Segment]:
        """The segments of an artifact by offset, from the one that holds byte ``start`` on."""

    async def replace_segments(self, sha256: str, old: Sequence[str], new: Segment, now: datetime) -> bool:
        """One segment in the place of all, which become garbage. False: they are not the ``old`` ones any more."""

    async def drop_segments(self, sha256: str, now: datetime) -> None:
        """The artifact's segments are worth nothing: they become garbage, and its record is without bytes."""

    async def scattered_artifacts(self, *, average: int, limit: int, since: datetime | None = None) -> list[str]:
        """Artifacts of several segments of less than ``average`` bytes on average; the most scattered first.

        ``since``: among those that were linked from then on, which takes time with these alone.
        """

    async def note_clock(self, now: datetime, name: str = "clock") -> None:
        """As in ``Catalog``."""

    async def noted_clock(self, name: str = "clock") -> datetime | None:
        """As in ``Catalog``."""

    async def list_garbage(self, before: datetime, limit: int) -> list[str]:
        """Objects that became garbage before that time, the oldest first."""

    async def forget_garbage(self, refs: Sequence[str]) -> None:
        """These objects are deleted."""

    async def known_refs(self, upload_ids: Sequence[str], refs: Sequence[str]) -> set[str]:
        """Return those of ``refs`` that are in use. Chunks are searched in ``upload_ids`` only."""

    async def all_artifacts(self, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """As in ``Catalog``."""
