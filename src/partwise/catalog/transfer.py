"""Records that move from one catalog to another: artifacts with their owners' links, and tokens. Safe to repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, insert, select

from partwise.catalog.artifacts import insert_link
from partwise.catalog.tables import artifact_links, artifacts, segments, tokens
from partwise.core.records import Artifact, Segment


def import_links(connection: Connection, links: Sequence[Artifact], segment: Segment | None) -> bool:
    """Record an artifact with the links to it that are not there yet; False when it was recorded before.

    ``segment`` is all of it, where it is new and has bytes; of one that was recorded before it is not needed.
    """
    first = links[0]
    known = connection.execute(
        select(artifacts.c.sha256).where(artifacts.c.sha256 == first.sha256).with_for_update()
    ).one_or_none()
    if known is None:
        connection.execute(
            insert(artifacts),
            {"sha256": first.sha256, "size": first.size, "created": min(link.created for link in links)},
        )
        if segment is not None:
            connection.execute(insert(segments), {"sha256": first.sha256} | asdict(segment))
    present = set(
        connection.execute(select(artifact_links.c.owner).where(artifact_links.c.sha256 == first.sha256)).scalars()
    )
    for link in links:
        if link.owner not in present:
            insert_link(connection, link)
    return known is None


def export_tokens(connection: Connection) -> list[dict[str, Any]]:
    """Return all tokens as rows, without their secrets."""
    return [dict(row._mapping) for row in connection.execute(select(tokens).order_by(tokens.c.name))]


def import_tokens(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
    """Record the tokens whose names are not taken; how many."""
    taken = set(connection.execute(select(tokens.c.name)).scalars())
    new = [dict(row) for row in rows if row["name"] not in taken]
    if new:
        connection.execute(insert(tokens), new)
    return len(new)
