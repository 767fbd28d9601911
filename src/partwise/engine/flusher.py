"""The flusher: brings recorded chunks to stable storage behind the answers, and notes how far that is certain.

Chunks are acknowledged before that (they survive a crash of the process, not yet of the machine). A commit then finds
little left to write, which keeps it short.
"""

from __future__ import annotations

import asyncio
import logging

from partwise.core.errors import NotFound, StorageFailed
from partwise.engine.ports import Catalog, Purpose, Storage

log = logging.getLogger(__name__)

#: Seconds from one flush of an upload to the next: the most that a power loss un-records, at a steady upload.
PAUSE = 0.25


class Flusher:
    """Flushes uploads that this process recorded chunks of, one flush at a time for each upload."""

    def __init__(self, storage: Storage, catalog: Catalog) -> None:
        self._storage = storage
        self._catalog = catalog
        self._pending: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def notify(self, upload_id: str) -> None:
        """A chunk of the upload was recorded."""
        self._pending.add(upload_id)
        if upload_id not in self._tasks:
            task = self._tasks[upload_id] = asyncio.create_task(self._run(upload_id), name=f"flush {upload_id}")
            task.add_done_callback(lambda _task: self._tasks.pop(upload_id, None))

    async def stop(self) -> None:
        """Cancel what waits. Chunks that are not flushed stay so, as the catalog says."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, upload_id: str) -> None:
        while upload_id in self._pending:
            self._pending.discard(upload_id)
            try:
                await flush(self._storage, self._catalog, upload_id)
            except NotFound:
                return
            except StorageFailed:
                log.exception("flush of %s failed", upload_id)
                return
            except Exception:
                # The rounds try again: they ask the catalog what is not durable yet.
                log.exception("flush of %s failed", upload_id)
                return
            await asyncio.sleep(PAUSE)


async def flush(storage: Storage, catalog: Catalog, upload_id: str) -> None:
    """Make everything that is recorded now durable, and say so in the catalog.

    When the storage fails to write back, what it lost cannot be known, and a second try would report success for
    pages that are gone: everything that was not durable before is un-recorded, and StorageFailed comes out.
    """
    lock = await storage.try_lock(upload_id, Purpose.FLUSH)
    if lock is None:
        return  # another process is at it
    try:
        seq = (await catalog.get_upload(upload_id)).seq
        try:
            await storage.flush(upload_id)
        except StorageFailed:
            await catalog.unrecord_undurable(upload_id)
            raise
        await catalog.mark_durable(upload_id, seq)
    finally:
        lock.release()
