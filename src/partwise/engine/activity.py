"""Signs of life: an upload does not expire while bytes of it come in, however slowly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from partwise.core.errors import PartwiseError
from partwise.engine.context import Context

log = logging.getLogger(__name__)

#: A chunk on its way is noted as activity this often, or more often where uploads expire sooner.
_SIGN_OF_LIFE = timedelta(hours=1)


@contextmanager
def kept_alive(engine: Context, upload_id: str) -> Iterator[None]:
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


async def _touch(engine: Context, upload_id: str) -> None:
    try:
        await engine.catalog.touch(upload_id, engine.clock())
    except PartwiseError as error:
        log.warning("cannot record the activity of upload %s: %s", upload_id, error)
