"""Deliveries: which endpoint has to be sent which event, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one endpoint. It is deleted once the endpoint has accepted it."""

    id: str
    endpoint: str
    event_id: str
    event_type: str
    #: What is sent: the event as JSON.
    body: str
    created: datetime
    #: How often it was tried without success, and when the next try is due.
    attempts: int = 0
    due: datetime
    #: It was tried as often as it may be, and waits for an operator.
    dead: bool = False
    #: What came of the last try: the HTTP status, if there was an answer, and a sentence.
    status: int | None = None
    error: str | None = None
    #: Held by the worker that tries it now. A worker that comes back with another lease changes nothing.
    lease: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryCount:
    """Number of deliveries of an endpoint, and whether it is paused."""

    pending: int = 0
    dead: int = 0
    paused: bool = False


class DeliveryRecords(Protocol):
    """Deliveries, made of events by one cursor for each endpoint."""

    async def has_deliveries(self, endpoint: str, now: datetime) -> bool:
        """Return whether there are events to fan out, or deliveries that are due. Changes nothing."""

    async def fan_out(self, endpoint: str, types: Sequence[str], now: datetime) -> int:
        """Make deliveries of the events behind the endpoint's cursor, and move the cursor, at once; how many.

        The cursor of an endpoint that is new stands at the newest event. ``types`` empty: all types.
        """

    async def lease_deliveries(self, endpoint: str, now: datetime, until: datetime, limit: int) -> list[Delivery]:
        """Return deliveries that are due and that nobody else gets before ``until``; none while it is paused."""

    async def settle_delivery(
        self,
        delivery: Delivery,
        *,
        accepted: bool,
        due: datetime | None = None,
        status: int | None = None,
        error: str | None = None,
    ) -> bool:
        """Note what came of a try: delete the delivery when it was accepted, else note when the next is due.

        ``due`` None: there is none, the delivery is dead. False, and no change: the lease is another's now.
        """

    async def pause_endpoint(self, endpoint: str) -> None:
        """Lease nothing of this endpoint until ``replay_deliveries``."""

    async def list_deliveries(
        self, endpoint: str | None = None, *, dead: bool | None = None, limit: int = 1000
    ) -> list[Delivery]:
        """Return deliveries that were not accepted yet, the oldest first."""

    async def replay_deliveries(self, endpoint: str | None, now: datetime) -> int:
        """Make some dead deliveries (of one endpoint, or of all) due now, and end the pause; how many. 0: none left."""

    async def hasten_deliveries(self, latest: datetime, now: datetime) -> int:
        """Make some deliveries that are due later than ``latest`` due now; how many. 0: none are left."""

    async def count_deliveries(self) -> Mapping[str, DeliveryCount]:
        """Return the counts by endpoint."""

    async def prune_deliveries(self, before: datetime) -> int:
        """Forget some deliveries that were made before that time; how many. 0: none are left."""
