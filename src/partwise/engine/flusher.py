"""The flusher: brings recorded chunks to stable storage behind the answers, and notes how far that is certain.

Chunks are acknowledged before that (they survive a crash of the process, not yet of the machine). A commit then finds
little left to write, which keeps it short.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from partwise.core.errors import NotFound, RangeBusy, StorageFailed, Superseded, SyncFailed, WrongState
from partwise.core.ranges import MAX_SIZE, ByteRange
from partwise.engine.ports import Catalog, Purpose, Storage

log = logging.getLogger(__name__)

#: Seconds between two flushes of an upload: the most that a power loss invalidates during a steady upload.
PAUSE = 0.05
#: Seconds between checks whether the flush of another process has ended.
POLL = 0.01
#: Seconds before another try to keep writers out after a failed sync.
RETRY = 0.5


class Flusher:
    """Flushes uploads that this process recorded chunks of, one flush at a time for each upload."""

    def __init__(self, storage: Storage, catalog: Catalog, failpoint: Callable[[str], None]) -> None:
        self._storage = storage
        self._catalog = catalog
        self._failpoint = failpoint
        self._pending: set[str] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: The flushes that this process runs, by upload.
        self._running: dict[str, asyncio.Future[None]] = {}

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

    async def flush(self, upload_id: str) -> bool:
        """Make all chunks recorded so far durable, and mark them so in the catalog. False: another flush is running.

        After a failed sync, the lost pages are unknown, and a second sync would report success without them. All chunks
        that were not durable before are then invalidated, and SyncFailed is raised. Any other failure (no descriptors,
        a locked database) changes nothing and raises StorageFailed. Raises NotFound.
        """
        lock = await self._storage.try_lock(upload_id, Purpose.FLUSH)
        if lock is None:
            return False
        ended = self._running[upload_id] = asyncio.get_running_loop().create_future()
        try:
            upload = await self._catalog.get_upload(upload_id)
            if upload.durable_seq < upload.seq:
                try:
                    await self._storage.flush(upload_id)
                except SyncFailed:
                    await self.distrust(upload_id)
                    raise
                self._failpoint("flush.synced")
                await self._catalog.mark_durable(upload_id, upload.seq)
        finally:
            lock.release()
            del self._running[upload_id]
            ended.set_result(None)
        return True

    async def flushed(self, upload_id: str) -> None:
        """Wait until all that is recorded now is durable. Raises StorageFailed, NotFound."""
        while not await self.flush(upload_id):
            if (running := self._running.get(upload_id)) is not None:
                await asyncio.shield(running)
            else:
                await asyncio.sleep(POLL)  # another process has no event to set

    async def distrust(self, upload_id: str) -> None:
        """The storage lost unknown bytes of the upload: invalidate all chunks that are not durable.

        Chunks that are being written may have lost bytes too, of which no later sync would tell: whoever writes now
        is sent away (its client sends the chunk again), and what it recorded until then goes as well.
        """
        await self._catalog.unrecord_undurable(upload_id)
        while True:
            try:
                writer = await self._storage.claim(upload_id, ByteRange(0, MAX_SIZE))
            except (RangeBusy, Superseded):
                continue
            except SyncFailed:
                raise
            except StorageFailed as error:  # no descriptor left, say: the news of the failed sync must not get lost
                log.error("cannot invalidate the unsynced chunks of upload %s, trying again: %s", upload_id, error)
                await asyncio.sleep(RETRY)
                continue
            except (NotFound, WrongState):
                return  # nobody writes into it any more
            try:
                await self._catalog.unrecord_undurable(upload_id)
            finally:
                writer.close()
            return

    async def _run(self, upload_id: str) -> None:
        while upload_id in self._pending:
            self._pending.discard(upload_id)
            try:
                await self.flush(upload_id)
            except NotFound:
                return
            # Either way the rounds try again: they ask the catalog what is not durable yet.
            except StorageFailed as error:
                log.error("cannot sync the chunks of upload %s: %s", upload_id, error)
                return
            except Exception:
                log.exception("cannot sync the chunks of upload %s", upload_id)
                return
            await asyncio.sleep(PAUSE)
