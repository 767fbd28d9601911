"""Releases: an artifact's only link and its record go, and the note of where its file is comes, in one transaction."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select

from partwise.catalog import artifacts
from partwise.catalog.tables import artifact_links, releases
from partwise.catalog.tables import artifacts as contents
from partwise.core.errors import Conflict
from partwise.core.events import EventType
from partwise.core.records import Release


def count_links(connection: Connection, sha256: str) -> int:
    """Return how many owners have a link to the content."""
    count: int = connection.execute(
        select(func.count()).select_from(artifact_links).where(artifact_links.c.sha256 == sha256)
    ).scalar_one()
    return count


def release_artifact(connection: Connection, artifact_id: str, path: str, now: datetime) -> Release:
    """Forget the artifact, and note where its file is from now on."""
    link = artifacts.get_artifact(connection, artifact_id)
    artifacts.lock_content(connection, link.sha256)
    if count_links(connection, link.sha256) > 1:
        raise Conflict("The artifact cannot be released: another user has the same content. Download it instead.")
    artifacts.delete_link(connection, link, now, EventType.ARTIFACT_RELEASED)
    connection.execute(delete(contents).where(contents.c.sha256 == link.sha256))
    release = Release(artifact_id=link.id, owner=link.owner, sha256=link.sha256, size=link.size, path=path, created=now)
    connection.execute(insert(releases), asdict(release))
    return release


def find_release(connection: Connection, artifact_id: str) -> Release | None:
    """Return where the artifact's file is, if it was released."""
    row = connection.execute(select(releases).where(releases.c.artifact_id == artifact_id)).one_or_none()
    return None if row is None else Release(**row._mapping)


def prune_releases(connection: Connection, before: datetime) -> int:
    """Delete old notes."""
    return connection.execute(delete(releases).where(releases.c.created < before)).rowcount
