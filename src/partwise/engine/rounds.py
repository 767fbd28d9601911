"""The rounds: what each process looks after again and again, so that nothing waits for a process that died."""

from __future__ import annotations

import asyncio
import logging
import time

from partwise.core.errors import NotFound, StorageFailed
from partwise.engine.artifacts import clear_abandoned
from partwise.engine.commit import drive
from partwise.engine.context import Context
from partwise.engine.expiry import Grace, TaskSweep, expire, prune_events, trim
from partwise.engine.finish import take_up

log = logging.getLogger(__name__)

#: Seconds between looks for commits (also those that other processes began), and between the slower rounds.
COMMITS, SLOW = 0.1, 5.0
#: The first of them in a process that received nothing and followed nothing for so many looks: nobody waits for it.
COMMITS_IDLE, IDLE_AFTER = 0.5, 100
#: Seconds to wait more after a round that failed: a database that is away is asked, and told of, no more often.
RETRY = 1.0
#: Slow rounds from one look for users with too many completed uploads to the next.
TRIM_EVERY = 12
#: Looks for commits from one look for uploads that take no more bytes to the next.
PREEMPT_EVERY = 5


async def rounds(engine: Context) -> None:
    """Run until cancelled. An error of one round is logged, and the next goes on."""
    slow = time.monotonic()
    grace, tasks = Grace(engine), TaskSweep(engine)
    count = looks = busy = 0
    while True:
        idle = looks - busy > IDLE_AFTER
        await asyncio.sleep(COMMITS_IDLE if idle else COMMITS)
        try:
            looks += 1
            if await take_up_commits(engine) or engine.workers.are_busy():
                busy = looks
            if idle or looks % PREEMPT_EVERY == 0:
                await engine.workers.receptions.preempt_closed(engine.catalog)
            if time.monotonic() - slow >= SLOW:
                slow = time.monotonic()
                await take_up_flushes(engine)
                await take_up(engine)
                await engine.catalog.fold_counts()
                await clear_abandoned(engine)
                count += 1
                if count % TRIM_EVERY == 1:
                    await trim(engine)
                    await engine.catalog.note_clock(engine.clock())
                if grace.is_over():
                    await expire(engine)
                    if count % TRIM_EVERY == 1:
                        await tasks.step()
                        await prune_events(engine)
        except StorageFailed as error:
            log.warning("a maintenance pass failed and will be repeated: %s", error)
            await asyncio.sleep(RETRY)
        except Exception:
            log.exception("a maintenance pass failed and will be repeated")
            await asyncio.sleep(RETRY)


async def take_up_commits(engine: Context) -> int:
    """Wake the follower for commits that wait, and carry through those whose process died; how many there are."""
    committing = await engine.catalog.list_committing()
    for upload_id in committing:
        engine.workers.follower.notify(upload_id)
        drive(engine, upload_id)
    return len(committing)


async def take_up_flushes(engine: Context) -> None:
    """Flush what the process that recorded it did not."""
    for upload in await engine.catalog.pending_flush(limit=100):
        try:
            await engine.workers.flusher.flush(upload.id)
        except NotFound:
            continue
        except StorageFailed as error:
            log.error("cannot sync the chunks of upload %s: %s", upload.id, error)
