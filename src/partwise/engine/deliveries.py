"""Send events to endpoints: each event to each endpoint at least once, tried again and again for some three days.

A worker leases a delivery in one transaction, sends it outside any, and settles it in another. When it dies between
two of them, the lease ends by itself and the event is sent once more. The order of events is not kept: one that fails
does not stop those behind it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from partwise.core.errors import StorageFailed
from partwise.core.events import EventType
from partwise.engine.audit import record
from partwise.engine.ports import Catalog, Delivery

log = logging.getLogger(__name__)

#: Seconds from one look for work to the next.
POLL = 0.25
#: Seconds to wait more after a look that failed.
RETRY = 1.0
#: Seconds that one try may take, and that a delivery is leased for.
TRY_SECONDS, LEASE_SECONDS = 20.0, 40.0
#: Deliveries to one endpoint at once, of one process.
AT_ONCE = 4
#: The waits after each try that failed: 75 hours and 35 minutes in all. After the last one the delivery is dead.
WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
#: The longest wait that a receiver may ask for.
LONGEST = timedelta(hours=24)
#: No wait is longer. What is due later was noted by a clock that has been set back since.
BEYOND_ANY_WAIT = timedelta(days=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Result of one delivery attempt. ``gone``: the endpoint returned 410 and is paused."""

    accepted: bool
    status: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A receiver of events, known by its name. ``types`` empty: of all."""

    name: str
    send: Callable[[Delivery], Awaitable[Receipt]]
    types: Sequence[EventType] = ()


#: Told the endpoint's name and what came of each try: accepted, failed, dead or paused.
Attempted = Callable[[str, str], None]


class Courier:
    """Delivers to one endpoint, until it is cancelled. Any number of processes may do so at once."""

    def __init__(
        self,
        endpoint: Endpoint,
        catalog: Catalog,
        clock: Callable[[], datetime],
        attempted: Attempted,
        failpoint: Callable[[str], None],
    ) -> None:
        self._endpoint = endpoint
        self._catalog = catalog
        self._clock = clock
        self._attempted = attempted
        self._failpoint = failpoint

    async def run(self) -> None:
        """Look for work again and again. An error is logged, and the next look goes on."""
        while True:
            try:
                busy = await self.step()
                await asyncio.sleep(0 if busy else POLL)
            except StorageFailed as error:
                log.warning("delivery to endpoint %s failed and will be repeated: %s", self._endpoint.name, error)
                await asyncio.sleep(RETRY)
            except Exception:
                log.exception("delivery to endpoint %s failed and will be repeated", self._endpoint.name)
                await asyncio.sleep(RETRY)

    async def step(self) -> bool:
        """Do what is due now; whether there was anything."""
        name, now = self._endpoint.name, self._clock()
        if not await self._catalog.has_deliveries(name, now):
            return False
        made = await self._catalog.fan_out(name, self._endpoint.types, now)
        until = now + timedelta(seconds=LEASE_SECONDS)
        leased = await self._catalog.lease_deliveries(name, now, until, AT_ONCE)
        if leased:
            self._failpoint("delivery.leased")
            await asyncio.gather(*(self._deliver(delivery) for delivery in leased))
        return bool(made or leased)

    async def _deliver(self, delivery: Delivery) -> None:
        receipt = await self._send(delivery)
        self._failpoint("delivery.sent")
        if receipt.accepted:
            await self._catalog.settle_delivery(delivery, accepted=True)
            self._failpoint("delivery.settled")
            self._attempted(delivery.endpoint, "accepted")
            return
        due = self._next_try(delivery, receipt)
        if receipt.gone:
            await self._catalog.pause_endpoint(delivery.endpoint)
        await self._catalog.settle_delivery(
            delivery, accepted=False, due=due, status=receipt.status, error=receipt.error
        )
        outcome = "paused" if receipt.gone else "dead" if due is None else "failed"
        self._attempted(delivery.endpoint, outcome)
        if outcome != "failed":
            action = "webhook.paused" if receipt.gone else "webhook.failed"
            record(action, endpoint=delivery.endpoint, delivery=delivery.id, kind=delivery.event_type, user="(server)")
        report = log.warning if outcome == "failed" else log.error
        report("event %s was not accepted by %s (%s): %s", delivery.event_id, delivery.endpoint, outcome, receipt.error)

    async def _send(self, delivery: Delivery) -> Receipt:
        try:
            async with asyncio.timeout(TRY_SECONDS):
                return await self._endpoint.send(delivery)
        except TimeoutError:
            return Receipt(accepted=False, error=f"The endpoint did not respond within {TRY_SECONDS:g} seconds.")
        except Exception as error:
            log.exception("the endpoint %s failed", self._endpoint.name)
            return Receipt(accepted=False, error=f"The function failed with {type(error).__name__}: {error}")

    def _next_try(self, delivery: Delivery, receipt: Receipt) -> datetime | None:
        now = self._clock()
        if receipt.gone:
            return now  # when the pause ends
        if delivery.attempts >= len(WAITS):
            return None
        spread = random.uniform(1.0, 1.1)  # noqa: S311 (so that events which failed together do not come back together)
        wait = WAITS[delivery.attempts] * spread
        return now + max(wait, min(receipt.retry_after or wait, LONGEST))
