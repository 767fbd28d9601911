"""Recovery at start: what a crash left behind, by the table in ``ports.py``. Safe beside processes that serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from partwise.core.errors import BytesLost, NotFound
from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk, Upload
from partwise.core.state import UploadState
from partwise.engine.context import Engine
from partwise.engine.finish import take_up
from partwise.engine.ports import Catalog
from partwise.engine.uploads import remove

log = logging.getLogger(__name__)


async def begin_boot(catalog: Catalog, boot_id: str, *, distrust: bool = False) -> int:
    """Call once, before any process serves: after a restart of the machine, chunks that were not on disk are missing.

    ``boot_id`` names the time since the machine started. ``distrust``: un-record them within one boot too, after the
    volume was lost or set back while the machine ran. Returns how many chunks were un-recorded.
    """
    count = await catalog.new_boot(boot_id, distrust=distrust)
    if count:
        log.warning("%d chunks were not on disk when the machine stopped: they are missing again", count)
    return count


async def recover(engine: Engine) -> None:
    """Bring storage and catalog together again, and go on with commits that were under way."""
    staged = set(await asyncio.to_thread(lambda: list(engine.storage.list_staged())))
    for upload_id in staged:
        await _settle_staged(engine, upload_id)
    async for upload in _unfinished(engine):
        with suppress(NotFound):  # another process ended its deletion meanwhile
            if upload.state is UploadState.DELETING:
                await remove(engine, upload.id)
            elif upload.id not in staged and engine.storage.in_place:
                await _settle_unstaged(engine, upload.id)
    for upload_id in await engine.catalog.list_committing():
        engine.workers.commits.drive(upload_id)
    await take_up(engine)


async def _settle_staged(engine: Engine, upload_id: str) -> None:
    """A staging file whose upload is not there, or needs it no more, goes."""
    try:
        upload = await engine.catalog.get_upload(upload_id)
    except NotFound:
        log.warning("removing the staging file %s: it has no upload", upload_id)
        await engine.storage.discard(upload_id)
        return
    if upload.state is UploadState.COMPLETED:
        await engine.storage.discard(upload_id)


async def _settle_unstaged(engine: Engine, upload_id: str) -> None:
    """An unfinished upload whose staging file is gone cannot be trusted or gone on with: its record goes too."""
    if await asyncio.to_thread(_has_file, engine, upload_id):
        return  # made after the files were listed
    upload = await engine.catalog.get_upload(upload_id)
    if upload.state is not UploadState.OPEN:
        return
    log.error("removing the upload %s: its staging file is gone", upload_id)
    await remove(engine, upload_id)


def _has_file(engine: Engine, upload_id: str) -> bool:
    """Whether there is a staging file, also one that its creator still holds (and that no listing shows)."""
    try:
        engine.storage.read_staged(upload_id, Chunk(offset=0, size=0), ByteRange(0, 0), lambda _block: None)
    except (NotFound, BytesLost):
        return False
    return True


async def _unfinished(engine: Engine) -> AsyncIterator[Upload]:
    states = (UploadState.OPEN, UploadState.COMMITTING, UploadState.DELETING)
    page = await engine.catalog.list_uploads(None, states=states, limit=1_000_000, internal=True)
    for upload in page.items:
        yield upload
