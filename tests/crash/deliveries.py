"""An endpoint that notes what it was sent, often fails, and dies with the process like everything else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from partwise.core.events import EventType
from partwise.engine.deliveries import Endpoint, Receipt
from partwise.engine.engine import Engine
from partwise.engine.ports import Delivery
from tests.crash.clients import Lost, is_whole
from tests.crash.known import Event, Known
from tests.support.until import until

_NAME, _TYPES = "crash", (EventType.UPLOAD_COMPLETED,)


def endpoint(known: Known, rng: random.Random, tell: Callable[[Event], None]) -> Endpoint:
    """The endpoint of one process; what it accepts is told to the parent."""
    draw = random.Random(rng.random())

    async def send(delivery: Delivery) -> Receipt:
        if draw.random() < 0.3:
            return Receipt(accepted=False, status=500, error="It did not feel like it.")
        event: Event = ("delivered", json.loads(delivery.body)["data"]["upload"])
        known.learn(event)
        tell(event)
        return Receipt(accepted=True)

    return Endpoint(name=_NAME, send=send, types=_TYPES)


async def register(engine: Engine) -> None:
    """Have the endpoint's cursor stand before whatever the clients do."""
    await engine.catalog.fan_out(_NAME, _TYPES, engine.clock())


async def delivered(engine: Engine, known: Known) -> None:
    """Every event is delivered in the end, and none of an upload that was not completed."""

    async def all_accepted() -> bool:
        now = engine.clock()
        waiting = await engine.catalog.list_deliveries()
        return all(delivery.due > now for delivery in waiting) and not await engine.catalog.has_deliveries(_NAME, now)

    await until(all_accepted, "all events are delivered")
    waiting = {json.loads(one.body)["data"]["upload"] for one in await engine.catalog.list_deliveries()}
    told = known.delivered | waiting
    if not known.completed <= told:
        raise Lost(f"completed uploads of which nobody was told: {known.completed - told}")
    if not (known.delivered - known.completing) <= await _wholes(engine, known):
        raise Lost(f"told of uploads that were not completed: {known.delivered - known.completing}")


async def _wholes(engine: Engine, known: Known) -> set[str]:
    """The uploads of files that were sent in one request, by the events of them."""
    found: set[str] = set()
    cursor, more = 0, True
    while more:
        page = await engine.catalog.list_events(None, after=cursor, types=_TYPES, limit=1000)
        cursor, more = page.cursor, page.more
        found.update(event.data["upload"] for event in page.events if is_whole(event, known))
    return found
