"""The port for moving records to another metadata database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from partwise.core.records import Artifact, Segment


class Transfers(Protocol):
    """Export and import of records between two metadata databases. Every method may be repeated."""

    async def import_links(self, links: Sequence[Artifact], segment: Segment | None) -> bool:
        """Record an artifact with those of its links (at least one) that are not there; ``segment`` is all its bytes.

        False, and the segment is not taken, when the artifact was recorded before.
        """

    async def export_tokens(self) -> list[dict[str, Any]]:
        """Return all tokens with the digests of their secrets."""

    async def import_tokens(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """Record those whose names are not taken; how many."""
