"""The rounds: what each process looks after again and again, so that nothing waits for a process that died."""

from __future__ import annotations

import asyncio
import logging
import time

from partwise.core.errors import NotFound, WrongState
from partwise.engine.context import Engine
from partwise.engine.flusher import flush
from partwise.engine.uploads import remove

log = logging.getLogger(__name__)

#: Seconds between looks for commits (also those that other processes began), and between the slower rounds.
COMMITS, SLOW = 0.1, 5.0


async def rounds(engine: Engine) -> None:
    """Run until cancelled. An error of one round is logged, and the next goes on."""
    slow = time.monotonic()
    while True:
        await asyncio.sleep(COMMITS)
        try:
            await take_up_commits(engine)
            if time.monotonic() - slow >= SLOW:
                slow = time.monotonic()
                await take_up_flushes(engine)
                await expire(engine)
        except Exception:
            log.exception("a round failed; the next goes on")


async def take_up_commits(engine: Engine) -> None:
    """Wake the follower for commits that wait, and carry through those whose process died."""
    for upload_id in await engine.catalog.list_committing():
        engine.workers.follower.notify(upload_id)
        engine.workers.commits.drive(upload_id)


async def take_up_flushes(engine: Engine) -> None:
    """Flush what the process that recorded it did not."""
    for upload in await engine.catalog.pending_flush(limit=100):
        try:
            await flush(engine.storage, engine.catalog, upload.id)
        except NotFound:
            continue


async def expire(engine: Engine, limit: int = 100) -> list[str]:
    """Remove uploads that are idle for too long, clear old completed ones, and end what was being deleted."""
    now = engine.clock()
    idle = await engine.catalog.idle_uploads(
        open_before=now - engine.limits.idle_expiry,
        completed_before=now - engine.limits.completed_expiry,
        limit=limit,
    )
    removed = []
    for upload in idle:
        try:
            await remove(engine, upload.id)
            removed.append(upload.id)
        except (NotFound, WrongState):
            continue  # someone else was quicker, or it is in use again
    return removed
