"""Look whether records and bytes agree, and whether every artifact still has its digest. Safe beside running servers.

Nothing is deleted by looking. ``repair`` removes what is worth nothing to anyone: files without a record, and uploads
without a file. ``drop_damaged`` takes the bytes of a damaged artifact away, so that sending the file again heals it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum

from partwise.core.errors import NotFound
from partwise.core.state import UploadState
from partwise.engine.context import Context
from partwise.engine.uploads import all_uploads, remove

_PAGE = 1000


class Kind(StrEnum):
    """Kinds of damage."""

    LEFTOVER = "staging-file-without-upload"
    UNRECORDED = "artifact-file-without-record"
    UNBACKED = "upload-without-staging-file"
    DAMAGED = "damaged-artifact"
    LOST = "artifact-without-file"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; ``name`` is the upload's id or the artifact's SHA-256."""

    kind: Kind
    name: str


async def find_orphans(engine: Context) -> AsyncIterator[Finding]:
    """Files without a record, and uploads without a file. Cheap: looks at names alone."""
    for upload_id in await _staged(engine):
        if not await _has_upload(engine, upload_id):
            yield Finding(Kind.LEFTOVER, upload_id)
    for sha256 in await asyncio.to_thread(lambda: list(engine.storage.list_artifacts())):
        if not await engine.catalog.has_artifact(sha256) and not await _is_recorded(engine, sha256):
            yield Finding(Kind.UNRECORDED, sha256)
    async for upload_id in _unbacked(engine):
        yield Finding(Kind.UNBACKED, upload_id)


async def find_damage(engine: Context) -> AsyncIterator[tuple[str, Finding | None]]:
    """Read every recorded artifact and hash it: its SHA-256, and what is wrong with it."""
    files = set(await asyncio.to_thread(lambda: list(engine.storage.list_artifacts())))
    after = ""
    while page := await engine.catalog.all_artifacts(after, _PAGE):
        for sha256, _size in page:
            good = await engine.storage.verify_artifact(sha256)
            # A user may have deleted it meanwhile.
            if good or not await _is_recorded(engine, sha256):
                yield sha256, None
            else:
                yield sha256, Finding(Kind.DAMAGED if sha256 in files else Kind.LOST, sha256)
        after = page[-1][0]


async def repair(engine: Context, finding: Finding) -> bool:
    """Remove an orphan, if it still is one; True when it was removed."""
    match finding.kind:
        case Kind.LEFTOVER:
            if finding.name not in await _staged(engine) or await _has_upload(engine, finding.name):
                return False
            await engine.storage.discard(finding.name)
        case Kind.UNRECORDED:
            async with engine.storage.digest_lock(finding.name):
                if await engine.catalog.has_artifact(finding.name):
                    return False
                await engine.storage.delete_artifact(finding.name)
        case Kind.UNBACKED:
            if finding.name not in [upload_id async for upload_id in _unbacked(engine)]:
                return False
            await remove(engine, finding.name, reason="lost")
        case _:
            raise ValueError(f"not an orphan: {finding}")
    return True


async def drop_damaged(engine: Context, sha256: str) -> bool:
    """Delete an artifact's bytes if they do not have its digest; the record stays. True when they were deleted."""
    async with engine.storage.digest_lock(sha256):
        if await engine.storage.verify_artifact(sha256):
            return False
        await engine.storage.delete_artifact(sha256, damaged=True)
    return True


async def _staged(engine: Context) -> list[str]:
    return await asyncio.to_thread(lambda: list(engine.storage.list_staged()))


async def _has_upload(engine: Context, upload_id: str) -> bool:
    try:
        await engine.catalog.get_upload(upload_id)
    except NotFound:
        return False
    return True


async def _is_recorded(engine: Context, sha256: str) -> bool:
    """Under the lock, which a commit holds from its link to its record."""
    async with engine.storage.digest_lock(sha256):
        return await engine.catalog.has_artifact(sha256)


async def _unbacked(engine: Context) -> AsyncIterator[str]:
    # Uploads first, files after: one that is made in between has a file.
    known = {upload.id async for upload in all_uploads(engine, UploadState.OPEN)}
    doubtful = sorted(known - set(await _staged(engine)))
    if not doubtful:
        return
    staged = set(await _staged(engine))
    for upload_id in doubtful:
        if upload_id in staged or not await _has_upload(engine, upload_id):
            continue
        upload = await engine.catalog.get_upload(upload_id)
        if upload.state is UploadState.OPEN and await engine.storage.is_lost(upload_id):
            yield upload_id
