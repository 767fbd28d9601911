"""Uploads and artifacts of all users for the operator, by user, name, age and size, in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from partwise.core.digests import is_sha256
from partwise.core.errors import NotFound
from partwise.core.records import Artifact, PageKey, Upload, Usage
from partwise.engine.context import Context

#: Rows that are read at once.
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Filter of a listing. None matches any value. ``limit`` is the maximum number, newest first. Sizes in bytes."""

    user: str | None = None
    search: str = ""
    older_than: timedelta | None = None
    larger_than: int | None = None
    limit: int = _PAGE


async def find_uploads(engine: Context, wanted: Wanted, states: tuple[str, ...] = ()) -> AsyncIterator[Upload]:
    """Uploads of anyone, in one of ``states`` (empty: any), newest first."""
    left, after = wanted.limit, _first_key(engine, wanted)
    while left:
        page = await engine.catalog.list_uploads(
            wanted.user, states=states, search=wanted.search, limit=_PAGE, after=after
        )
        for upload in page.items:
            after = upload.created, upload.id
            size = upload.received if upload.size is None else upload.size
            if left and (wanted.larger_than is None or size > wanted.larger_than):
                left -= 1
                yield upload
        if not page.more:
            return


async def find_artifacts(engine: Context, wanted: Wanted) -> AsyncIterator[Artifact]:
    """Artifacts of anyone, newest first; content that two users have is found with each."""
    left, after = wanted.limit, _first_key(engine, wanted)
    while left:
        page = await engine.catalog.list_artifacts(wanted.user, search=wanted.search, limit=_PAGE, after=after)
        for artifact in page.items:
            after = artifact.created, artifact.id
            if left and (wanted.larger_than is None or artifact.size > wanted.larger_than):
                left -= 1
                yield artifact
        if not page.more:
            return


def _first_key(engine: Context, wanted: Wanted) -> PageKey | None:
    """Return the key at which a list starts, newest first."""
    return None if wanted.older_than is None else (engine.clock() - wanted.older_than, "")


async def find(engine: Context, reference: str) -> list[Upload] | list[Artifact]:
    """The upload or artifact of this id, or each user's artifact of this SHA-256. NotFound."""
    if is_sha256(reference.lower()):
        if links := (await engine.catalog.list_artifacts(None, sha256=reference.lower(), limit=_PAGE)).items:
            return links
        raise NotFound("artifact")
    try:
        return [await engine.catalog.get_upload(reference)]
    except NotFound:
        return [await engine.catalog.get_artifact(reference)]


async def usage_of_users(engine: Context, user: str | None = None) -> list[tuple[str, Usage, int | None]]:
    """Return the usage and the quota in bytes (None: no limit) of each user, or of ``user`` only, by name."""
    users = await engine.catalog.list_owners() if user is None else [user]
    catalog, default = engine.catalog, engine.limits.quota
    return [(name, await catalog.usage(name), await catalog.owner_quota(name, default)) for name in users]
