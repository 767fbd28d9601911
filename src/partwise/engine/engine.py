"""The engine: a context with its life cycle, on top of all use cases and background work.

``Engine(storage, catalog)``, then ``start`` and ``stop`` around all calls; the use cases are functions that take it as
their first argument (``uploads.create_upload(engine, …)``).
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from partwise.engine.context import Context
from partwise.engine.deliveries import Courier
from partwise.engine.recovery import recover
from partwise.engine.rounds import rounds

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Engine(Context):
    """The whole engine of one process, which owns what goes on in the background."""

    _background: list[asyncio.Task[None]] = field(default_factory=list, init=False)

    async def start(self) -> None:
        """Open the ports, recover what a crash left behind, and start the background work."""
        await self.open()
        await recover(self)
        self._background = [asyncio.create_task(rounds(self), name="rounds")]
        for endpoint in self.endpoints:
            courier = Courier(endpoint, self.catalog, self.clock, self.attempted, self.failpoint)
            self._background.append(asyncio.create_task(courier.run(), name=f"deliver to {endpoint.name}"))

    async def open(self, *, look_only: bool = False, discard_unsynced: bool = False) -> None:
        """Open the ports alone, for work beside running servers. ``stop`` ends it. ``look_only``: nothing changes.

        Whoever opens them makes sure that database and bytes belong together, and invalidates what the last boot of
        the machine had not brought to disk. ``discard_unsynced``: within one boot too, after the volume was lost or
        set back while the machine ran; once, before any process serves. Raises StorageFailed, OutOfSpace.
        """
        await self.catalog.start(look_only=look_only)
        if not look_only:
            installation, recorded = await self.catalog.installation()
            await self.storage.bind(installation, recorded=recorded)
        await self.storage.start(look_only=look_only)
        if look_only:
            return
        boot = self.storage.boot()
        if boot is None:
            return
        count = await self.catalog.new_boot(boot, distrust=discard_unsynced)
        if count:
            log.warning("%d chunks were not durable when the machine stopped and are now reported missing", count)

    async def stop(self) -> None:
        """Stop the workers and close the ports. Commits that still run go on at the next start."""
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        await self.workers.stop()
        await self.storage.stop()
        await self.catalog.stop()
