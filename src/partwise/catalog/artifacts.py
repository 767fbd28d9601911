"""Artifacts and their owners' links: one row for each content, one link for each owner of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, false, func, insert, select, update

from partwise.catalog import counts, events, objects
from partwise.catalog.pages import newest_first
from partwise.catalog.prepared import Prepared, PreparedQuery
from partwise.catalog.search import candidates, count_some, holds
from partwise.catalog.tables import ARTIFACT, artifact_links, artifacts, folded, name_prefix
from partwise.core.errors import NotFound
from partwise.core.events import EventType
from partwise.core.records import Artifact, Page, PageKey

_LINKS: Select[Any] = select(*ARTIFACT)
_GET = PreparedQuery(_LINKS.where(artifact_links.c.id == bindparam("id")), Artifact)
_OF_OWNER = PreparedQuery(
    _LINKS.where(artifact_links.c.owner == bindparam("owner"), artifact_links.c.sha256 == bindparam("sha256")), Artifact
)
_INSERT = Prepared.insert(artifact_links, Artifact, "search_name")
_RECORDED = select(artifacts.c.sha256).where(artifacts.c.sha256 == bindparam("sha256"))
_LOCK = _RECORDED.with_for_update()
_SET_DIGESTS = update(artifact_links).where(artifact_links.c.id == bindparam("key")).values(digests=bindparam("known"))
_ANY_LINK = select(artifact_links.c.id).where(artifact_links.c.sha256 == bindparam("sha256")).limit(1)


def has_artifact(connection: Connection, sha256: str) -> bool:
    """Return whether the content is recorded."""
    return connection.execute(_RECORDED, {"sha256": sha256}).one_or_none() is not None


def get_artifact(connection: Connection, artifact_id: str) -> Artifact:
    """The link, or NotFound."""
    return _GET.one(connection, {"id": artifact_id}, "artifact")


def find_link(connection: Connection, owner: str, sha256: str) -> Artifact | None:
    """The owner's link to the content, if there is one."""
    return _OF_OWNER.one_or_none(connection, {"owner": owner, "sha256": sha256})


def link(connection: Connection, new: Artifact) -> Artifact:
    """Link the owner to the content, recorded if it is new.

    A link that exists is returned: it stays as it is, but for the digests that it learns of.
    """
    known = connection.execute(_LOCK, {"sha256": new.sha256}).one_or_none() is not None
    if not known:
        connection.execute(insert(artifacts), {"sha256": new.sha256, "size": new.size, "created": new.created})
    elif existing := find_link(connection, new.owner, new.sha256):
        return _with_digests(connection, existing, new.digests)
    insert_link(connection, new)
    return new


def insert_link(connection: Connection, new: Artifact) -> None:
    """Insert the row of a link to content that is recorded."""
    _INSERT.run(connection, asdict(new) | {"search_name": folded(new.filename)})


def note_digests(connection: Connection, artifact_id: str, digests: Mapping[str, str]) -> Artifact:
    """Add digests of the link's content, of which the SHA-256 is one, to those that it has."""
    found = get_artifact(connection, artifact_id)
    lock_content(connection, found.sha256)
    return _with_digests(connection, get_artifact(connection, artifact_id), others_of(found.sha256, digests))


def others_of(sha256: str, digests: Mapping[str, str]) -> dict[str, str]:
    """Those of ``digests`` that stand beside this SHA-256; none when they are of another content."""
    if digests.get("sha256") != sha256:
        return {}
    return {name: digest for name, digest in digests.items() if name != "sha256"}


def _with_digests(connection: Connection, link: Artifact, digests: Mapping[str, str]) -> Artifact:
    changed = replace(link, digests={**link.digests, **digests})
    if changed != link:
        connection.execute(_SET_DIGESTS, {"key": link.id, "known": changed.digests})
    return changed


def lock_content(connection: Connection, sha256: str) -> None:
    """Keep others from linking the content, and from giving links to it up, until the end of the transaction."""
    connection.execute(_LOCK, {"sha256": sha256})


def delete_link(connection: Connection, link: Artifact, now: datetime, kind: EventType) -> None:
    """Delete a link, whose content is locked, and record that. NotFound: somebody was quicker."""
    if connection.execute(delete(artifact_links).where(artifact_links.c.id == link.id)).rowcount == 0:
        raise NotFound("artifact")  # someone else deleted it while this transaction waited
    events.add_artifact_event(connection, kind, link, now)


def unlink_artifact(connection: Connection, artifact_id: str) -> bool:
    """Delete a link, and the record of the content with the last one."""
    gone, now = get_artifact(connection, artifact_id), datetime.now(UTC)
    sha256 = gone.sha256
    lock_content(connection, sha256)
    delete_link(connection, gone, now, EventType.ARTIFACT_DELETED)
    if connection.execute(_ANY_LINK, {"sha256": sha256}).one_or_none() is not None:
        return False
    objects.drop_segments(connection, sha256, now)
    connection.execute(delete(artifacts).where(artifacts.c.sha256 == sha256))
    return True


def list_artifacts(
    connection: Connection,
    owner: str | None,
    *,
    sha256: str | None = None,
    offset: int = 0,
    limit: int = 100,
    search: str = "",
    filename: str | None = None,
    after: PageKey | None = None,
) -> Page[Artifact]:
    """One page, newest first."""
    conditions: list[ColumnElement[bool]] = []
    if owner is not None:
        conditions.append(artifact_links.c.owner == owner)
    if sha256 is not None:
        conditions.append(artifact_links.c.sha256 == sha256)
    if filename is not None:
        # The first by an index, the second of the few that it finds. There is a function around the name: SQLite would
        # put the value in the place of the column in both otherwise, and find no index of that.
        conditions += [name_prefix == filename[:100], func.coalesce(artifact_links.c.filename, "") == filename]
        if "\0" in filename:  # none has it, and PostgreSQL refuses to look for one
            conditions = [false()]
    if search:
        conditions += [*candidates(connection, search), holds(artifact_links.c.search_name, search)]
    if sha256 is None and filename is None and not search:
        count = counts.count(connection, "link", owner)
    else:
        count = count_some(connection, artifact_links, conditions)
    items, more = newest_first(
        connection,
        _LINKS.where(*conditions),
        artifact_links,
        Artifact,
        offset=offset,
        limit=limit,
        after=after,
    )
    return Page(items, count, more)


def all_artifacts(connection: Connection, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
    """Digest and size of recorded contents, by digest, above ``after``."""
    rows = connection.execute(
        select(artifacts.c.sha256, artifacts.c.size)
        .where(artifacts.c.sha256 > after)
        .order_by(artifacts.c.sha256)
        .limit(limit)
    )
    return [(sha256, size) for sha256, size in rows]
