"""Jobs of one process: at most one for each upload, which goes on whoever waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from partwise.core.errors import PartwiseError

log = logging.getLogger(__name__)


class Jobs:
    """The running jobs of one kind, by the upload that each is for."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._running: dict[str, asyncio.Task[None]] = {}

    def run(self, upload_id: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """The job of this upload: the one that runs, or a new one that does ``work``.

        Cancelling a waiter does not cancel the job. An error that nobody waits for is logged.
        """
        job = self._running.get(upload_id)
        if job is None:
            job = asyncio.create_task(work(), name=f"{self._kind} {upload_id}")
            self._running[upload_id] = job
            job.add_done_callback(lambda job: self._ended(upload_id, job))
        return job

    async def stop(self) -> None:
        """Cancel the jobs; whoever starts next goes on with them."""
        jobs = list(self._running.values())
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    def _ended(self, upload_id: str, job: asyncio.Task[None]) -> None:
        self._running.pop(upload_id, None)
        if not job.cancelled() and (error := job.exception()) is not None:
            expected = isinstance(error, PartwiseError)
            log.warning("%s of %s ended: %s", self._kind, upload_id, error, exc_info=None if expected else error)
