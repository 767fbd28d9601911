"""Automatic cleanup of idle uploads, old completed uploads, and old tasks.

Any number of processes may do this at once. That an upload is still to go is checked in the transaction that flips its
state, so a chunk recorded a moment before keeps it; and a chunk that is still coming in counts as activity.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime, timedelta

from partwise.core.errors import NotFound
from partwise.core.records import PageKey, Upload
from partwise.core.state import UploadState
from partwise.engine.audit import record, record_upload
from partwise.engine.context import Context
from partwise.engine.deliveries import BEYOND_ANY_WAIT
from partwise.engine.uploads import all_uploads, finish_removal, remove

log = logging.getLogger(__name__)

#: How many are looked for at once.
BATCH = 100

#: How long a client may look at the task of an upload that is gone.
_TASK_AFTER_UPLOAD = timedelta(hours=1)

#: How long deliveries are kept at least: longer than they are tried.
_DELIVERIES_KEPT = timedelta(days=7)

#: How long nothing expires after a start, and after the clock leapt ahead by more than LEAP.
GRACE = timedelta(hours=1)
LEAP = timedelta(minutes=1)


class Grace:
    """Tells when uploads may expire, beside their age: not until their clients have had the time to come back.

    When the server was down, or the machine asleep, nobody could show activity; and a clock that is set wrong makes
    everything old at once. So nothing expires for GRACE (or for as long as uploads live, if that is less) after this
    process has started, or the clock has leapt ahead of the time that passed.
    """

    def __init__(self, engine: Context, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = engine.clock
        self._monotonic = monotonic
        lives = min(engine.limits.idle_expiry, engine.limits.completed_expiry)
        self._grace = min(GRACE, lives).total_seconds()
        self._began = monotonic()
        self._offset = self._ahead()

    def is_over(self) -> bool:
        """Return whether old resources may expire. Call it regularly: each call detects clock jumps."""
        offset = self._ahead()
        if offset - self._offset > LEAP.total_seconds():
            log.warning("the clock jumped ahead by %.0f seconds: expiry is paused", offset - self._offset)
            self._began = self._monotonic()
        self._offset = offset
        return self._monotonic() - self._began >= self._grace

    def _ahead(self) -> float:
        return self._clock().timestamp() - self._monotonic()


async def expired(engine: Context, limit: int = BATCH) -> list[Upload]:
    """Uploads that are to go now, and those whose deletion was begun and not ended."""
    open_before, completed_before = _cutoffs(engine)
    return await engine.catalog.idle_uploads(open_before=open_before, completed_before=completed_before, limit=limit)


async def all_expired(engine: Context) -> AsyncIterator[Upload]:
    """Every upload that is to go now, a page at a time; changes nothing."""
    open_before, completed_before = _cutoffs(engine)
    async for upload in all_uploads(engine, *UploadState):
        idle = upload.state is UploadState.OPEN and upload.updated < open_before
        shown = upload.completed is not None and upload.completed < completed_before
        if idle or shown or upload.state is UploadState.DELETING:
            yield upload


async def is_clock_watched(engine: Context) -> bool:
    """Return whether a server recorded the time within the last hour. Otherwise the clock jumped, or no server ran."""
    noted = await engine.catalog.noted_clock()
    return noted is not None and abs(engine.clock() - noted) < GRACE


async def expire(engine: Context) -> list[str]:
    """Remove the uploads that are to go; returns their ids."""
    removed: list[str] = []
    while True:
        found = await expired(engine)
        gone = [upload.id for upload in found if await _expire(engine, upload)]
        removed += gone
        # What is left is in use again, or another process's; a full batch of it would hide others till the next round.
        if len(found) < BATCH or not gone:
            return removed


#: The limit that an upload went by, by the state that it was in; those that were going already went by none.
_LIFETIMES = {UploadState.OPEN: "idle_expiry_days", UploadState.COMPLETED: "completed_expiry_days"}


async def _expire(engine: Context, upload: Upload) -> bool:
    open_before, completed_before = _cutoffs(engine)
    if not await engine.catalog.expire_upload(upload.id, open_before=open_before, completed_before=completed_before):
        return False
    if upload.state in _LIFETIMES:
        engine.limited(_LIFETIMES[upload.state], 1)
    await finish_removal(engine, upload.id)
    record_upload("upload.deleted", upload, state=str(upload.state), user="(server)", reason="expired")
    return True


async def trim(engine: Context) -> list[str]:
    """Clear the oldest completed uploads of those who have more than are kept; returns the ids. Artifacts stay."""
    keep = engine.limits.max_completed_uploads
    removed: list[str] = []
    while keep is not None and (surplus := await engine.catalog.surplus_uploads(keep, BATCH)):
        for upload_id in surplus:
            with suppress(NotFound):  # another process was quicker
                await remove(engine, upload_id, reason="expired")
                record("upload.deleted", upload=upload_id, user="(server)", reason="max_completed_uploads")
                removed.append(upload_id)
                engine.limited("max_completed_uploads", 1)
    return removed


async def prune_tasks(engine: Context, *, dry_run: bool = False) -> int:
    """Forget tasks as old as completed uploads may become, except those that uploads in the list still refer to.

    Those of uploads that are gone go sooner. Returns how many. With ``dry_run`` they are counted alone.
    """
    _, before = _cutoffs(engine)
    gone_before = max(before, engine.clock() - _TASK_AFTER_UPLOAD)
    if dry_run:
        return await engine.catalog.count_old_tasks(before, gone_before=gone_before)
    count = 0
    while pruned := await engine.catalog.prune_tasks(before, limit=1000, gone_before=gone_before):
        count += pruned
    return count


class TaskSweep:
    """Forgets what ``prune_tasks`` would, a part at a time: looking at a million tasks each minute costs a core."""

    def __init__(self, engine: Context, batch: int = 5000) -> None:
        self._engine, self._batch = engine, batch
        self._after: PageKey | None = None

    async def step(self) -> int:
        """Look at the next tasks, and at more while most of them are to go; how many went."""
        _, before = _cutoffs(self._engine)
        gone_before = max(before, self._engine.clock() - _TASK_AFTER_UPLOAD)
        count = 0
        while True:
            pruned, self._after = await self._engine.catalog.sweep_tasks(
                before, self._batch, gone_before=gone_before, after=self._after
            )
            count += pruned
            if self._after is None or pruned * 2 < self._batch:
                return count


async def prune_events(engine: Context) -> int:
    """Forget events beyond the horizon of the feed, and deliveries that are as old; how many events."""
    count = 0
    while pruned := await engine.catalog.prune_events(engine.clock() - engine.limits.event_expiry):
        count += pruned
    kept = max(engine.limits.event_expiry, _DELIVERIES_KEPT)
    while await engine.catalog.prune_deliveries(engine.clock() - kept):
        continue
    while await engine.catalog.hasten_deliveries(engine.clock() + BEYOND_ANY_WAIT, engine.clock()):
        continue
    await engine.catalog.prune_releases(engine.clock() - engine.limits.event_expiry)
    return count


def _cutoffs(engine: Context) -> tuple[datetime, datetime]:
    now = engine.clock()
    return now - engine.limits.idle_expiry, now - engine.limits.completed_expiry
