"""Move an installation up: artifacts, their owners' links and tokens, from local files to an object store.

Each artifact is read once, hashed on the way, and recorded only when its digest is right. What is recorded there
already is left out, so that the same call goes on where it was cut, and takes what is new when it is repeated.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

from partwise.core.errors import NotFound
from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact, Segment
from partwise.core.state import UploadState
from partwise.engine.context import Context
from partwise.engine.ports import Catalog, Storage, Transfers

_PAGE = 1000


class Outcome(StrEnum):
    """Outcome of migrating an artifact."""

    COPIED = "copied"
    PRESENT = "present"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Moved:
    """One artifact, and what became of it."""

    sha256: str
    size: int
    outcome: Outcome


async def unfinished(source: Context) -> int:
    """Count the uploads that are not completed. They are not moved, and their clients start again."""
    states = (UploadState.OPEN, UploadState.COMMITTING)
    return (await source.catalog.list_uploads(None, states=states, limit=1)).count


async def copy_artifacts(source: Context, target: Context, transfers: Transfers) -> AsyncIterator[Moved]:
    """Copy all artifacts, by digest."""
    after = ""
    while page := await source.catalog.all_artifacts(after, _PAGE):
        for sha256, size in page:
            links = await _links(source.catalog, sha256)
            if links:  # or it was deleted meanwhile
                yield Moved(sha256, size, await _move(source.storage, target, transfers, links))
        after = page[-1][0]


async def _links(catalog: Catalog, sha256: str) -> list[Artifact]:
    links: dict[str, Artifact] = {}
    while page := (await catalog.list_artifacts(None, sha256=sha256, offset=len(links), limit=_PAGE)).items:
        links |= {link.id: link for link in page}
        if len(page) < _PAGE:
            break
    return list(links.values())


async def _move(source: Storage, target: Context, transfers: Transfers, links: list[Artifact]) -> Outcome:
    first = links[0]
    if await target.catalog.has_artifact(first.sha256):
        await transfers.import_links(links, None)
        return Outcome.PRESENT
    segment = await _copy(source, target.storage, first) if first.size else None
    if first.size and segment is None:
        return Outcome.DAMAGED
    return Outcome.COPIED if await transfers.import_links(links, segment) else Outcome.PRESENT


async def _copy(source: Storage, target: Storage, artifact: Artifact) -> Segment | None:
    """The copy as one object, or None when the bytes do not have their digest. Unrecorded, it is reaped some day."""
    hasher, position = hashlib.sha256(), 0
    whole = ByteRange(0, artifact.size)
    writer = await target.claim(artifact.sha256, whole)

    def take(block: bytes) -> None:
        hasher.update(block)
        writer.write(position, memoryview(block))

    try:
        async for block in source.read_artifact(artifact.sha256, whole):
            await asyncio.to_thread(take, block)
            position += len(block)
        if hasher.hexdigest() != artifact.sha256:
            return None
        stored = await writer.finish(position)
    except NotFound:
        return None
    finally:
        writer.close()
    assert stored.ref is not None, "objects have references"
    return Segment(offset=0, size=stored.size, ref=stored.ref)
