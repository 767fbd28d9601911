"""Recovery at start: what a crash left behind, by the table in ``ports/``. Safe beside processes that serve."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from partwise.core.errors import NotFound
from partwise.core.state import UploadState
from partwise.engine.commit import drive
from partwise.engine.context import Context
from partwise.engine.finish import take_up
from partwise.engine.uploads import all_uploads, remove, remove_lost

log = logging.getLogger(__name__)


async def recover(engine: Context) -> None:
    """Bring storage and catalog together again, and go on with commits that were under way."""
    staged = set(await asyncio.to_thread(lambda: list(engine.storage.list_staged())))
    unfinished = (UploadState.OPEN, UploadState.COMMITTING, UploadState.DELETING)
    known: set[str] = set()
    async for upload in all_uploads(engine, *unfinished):
        known.add(upload.id)
        with suppress(NotFound):  # another process ended its deletion meanwhile
            if upload.state is UploadState.DELETING:
                await remove(engine, upload.id)
            elif upload.id not in staged:
                await _settle_unstaged(engine, upload.id)
    for upload_id in staged - known:  # a query for each of ten thousand open uploads would take seconds
        await _settle_staged(engine, upload_id)
    for upload_id in await engine.catalog.list_committing():
        drive(engine, upload_id)
    await take_up(engine)


async def _settle_staged(engine: Context, upload_id: str) -> None:
    """A staging file whose upload is not there, or needs it no more, goes."""
    try:
        upload = await engine.catalog.get_upload(upload_id)
    except NotFound:
        log.warning("removing the orphaned staging file %s", upload_id)
        await engine.storage.discard(upload_id)
        return
    if upload.state is UploadState.COMPLETED:
        await engine.storage.discard(upload_id)


async def _settle_unstaged(engine: Context, upload_id: str) -> None:
    """An unfinished upload whose staging file is gone cannot be trusted or gone on with: its record goes too."""
    if not await engine.storage.is_lost(upload_id):
        return  # made after the files were listed
    upload = await engine.catalog.get_upload(upload_id)
    if upload.state is not UploadState.OPEN:
        return
    await remove_lost(engine, upload)
