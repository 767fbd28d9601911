"""What goes by itself: idle uploads, completed ones that were shown long enough, and old tasks.

Any number of processes may do this at once. That an upload is still to go is checked in the transaction that flips its
state, so a chunk recorded a moment before keeps it; and a chunk that is still coming in counts as activity.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from partwise.core.errors import PartwiseError
from partwise.core.records import Upload
from partwise.engine.context import Engine
from partwise.engine.uploads import finish_removal

log = logging.getLogger(__name__)

#: How many are looked for at once.
BATCH = 100

#: A chunk on its way is noted as activity this often, or more often where uploads expire sooner.
_SIGN_OF_LIFE = timedelta(hours=1)


async def expired(engine: Engine, limit: int = BATCH) -> list[Upload]:
    """Uploads that are to go now, and those whose deletion was begun and not ended."""
    open_before, completed_before = _cutoffs(engine)
    return await engine.catalog.idle_uploads(open_before=open_before, completed_before=completed_before, limit=limit)


async def expire(engine: Engine) -> list[str]:
    """Remove the uploads that are to go; returns their ids."""
    removed: list[str] = []
    while True:
        found = await expired(engine)
        gone = [upload.id for upload in found if await _expire(engine, upload.id)]
        removed += gone
        # What is left is in use again, or another process's; a full batch of it would hide others till the next round.
        if len(found) < BATCH or not gone:
            return removed


async def _expire(engine: Engine, upload_id: str) -> bool:
    open_before, completed_before = _cutoffs(engine)
    if not await engine.catalog.expire_upload(upload_id, open_before=open_before, completed_before=completed_before):
        return False
    await finish_removal(engine, upload_id)
    return True


async def prune_tasks(engine: Engine, *, dry_run: bool = False) -> int:
    """Forget tasks as old as completed uploads may become, except those that uploads in the list still refer to.

    Returns how many. With ``dry_run`` they are counted alone.
    """
    _, before = _cutoffs(engine)
    if dry_run:
        return await engine.catalog.count_old_tasks(before)
    count = 0
    while pruned := await engine.catalog.prune_tasks(before, limit=1000):
        count += pruned
    return count


def _cutoffs(engine: Engine) -> tuple[datetime, datetime]:
    now = engine.clock()
    return now - engine.limits.idle_expiry, now - engine.limits.completed_expiry


@contextmanager
def kept_alive(engine: Engine, upload_id: str) -> Iterator[None]:
    """While it lasts the upload does not expire: bytes of a chunk come in, however slowly."""
    loop = asyncio.get_running_loop()
    seconds = min(_SIGN_OF_LIFE, engine.limits.idle_expiry / 4).total_seconds()
    running: set[asyncio.Task[None]] = set()

    timer: asyncio.TimerHandle

    def sign() -> None:
        nonlocal timer
        task = loop.create_task(_touch(engine, upload_id), name=f"keep {upload_id} alive")
        running.add(task)
        task.add_done_callback(running.discard)
        timer = loop.call_later(seconds, sign)

    timer = loop.call_later(seconds, sign)
    try:
        yield
    finally:
        timer.cancel()


async def _touch(engine: Engine, upload_id: str) -> None:
    try:
        await engine.catalog.touch(upload_id, engine.clock())
    except PartwiseError as error:
        log.warning("the activity of %s could not be noted: %s", upload_id, error)
