"""The context of every use case: the ports it stands on, the limits the operator set, clock, hooks, and workers.

It knows no use case. What stands on it takes it as its first argument; ``Engine`` is the context with a life cycle.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from partwise.core.errors import NotFound, OutOfScope
from partwise.core.records import Principal, Scope, Upload
from partwise.engine.deliveries import Endpoint
from partwise.engine.flusher import Flusher
from partwise.engine.follower import Follower
from partwise.engine.jobs import Jobs
from partwise.engine.ports import Catalog, OwnerLimits, Storage
from partwise.engine.receptions import Receptions
from partwise.engine.signer import Signer
from partwise.engine.watch import EventWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits set by the operator. Sizes in bytes; None: no limit."""

    max_upload_size: int | None = None
    quota: int | None = None
    max_open_uploads: int | None = None
    max_artifacts: int | None = None
    max_chunks: int = 100_000
    #: Completed uploads of each owner that stay in the list; None: all, for as long as ``completed_expiry``.
    max_completed_uploads: int | None = 10_000
    #: An open upload without activity for this long is removed, with its bytes.
    idle_expiry: timedelta = timedelta(days=7)
    #: A completed upload leaves the list after this long; its artifact stays.
    completed_expiry: timedelta = timedelta(days=7)
    #: The horizon of the feed: an event is kept for this long.
    event_expiry: timedelta = timedelta(days=30)
    #: Streams of events that each user reads at once, in one process.
    max_event_streams: int | None = None

    @property
    def owner(self) -> OwnerLimits:
        """The part of the limits that the catalog counts."""
        return OwnerLimits(quota=self.quota, open_uploads=self.max_open_uploads, artifacts=self.max_artifacts)


def utc_now() -> datetime:
    """The clock of a running server."""
    return datetime.now(UTC)


def no_failpoint(_name: str) -> None:
    """Run at each named step of the protocol. Does nothing; crash tests replace it."""


def no_observation(_what: str, _seconds: float) -> None:
    """Receive durations. Does nothing; a server with metrics replaces it."""


def no_attempt(_endpoint: str, _outcome: str) -> None:
    """Receive results of deliveries. Does nothing; a server with metrics replaces it."""


def no_limit(_setting: str, _count: int) -> None:
    """Receive the number of uploads removed by a limit. Does nothing; a server with metrics replaces it."""


class Workers:
    """Background work of one process: digests, syncs, commits, concatenations, receptions, reading back."""

    def __init__(self, storage: Storage, catalog: Catalog, failpoint: Callable[[str], None]) -> None:
        self.receptions = Receptions()
        self.follower = Follower(storage, catalog)
        self.flusher = Flusher(storage, catalog, failpoint)
        #: Commits that this process carries through or waits for (``commit.drive``), and uploads that the server itself
        #: brings to their end (``finish.drive``).
        self.commits, self.finishes = Jobs("commit"), Jobs("finish")
        #: Threads that read stored chunks back: see ``reading.py``.
        self.readers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="read")
        #: Threads that send artifacts: more than cores, since one that reads from a disk waits for it.
        self.senders = ThreadPoolExecutor(2 * (os.cpu_count() or 1), thread_name_prefix="send")
        self.signer = Signer(storage, catalog, self.readers, failpoint)
        self.events = EventWatch(catalog)

    def are_busy(self) -> bool:
        """Return whether bodies are being received or uploads hashed."""
        return self.receptions.are_any() or self.follower.is_following()

    async def stop(self) -> None:
        """Cancel everything and wait for it to end. Whoever starts next goes on with it."""
        await self.events.stop()
        await self.finishes.stop()
        await self.commits.stop()
        await self.flusher.stop()
        await self.follower.stop()
        await self.signer.stop()
        await asyncio.to_thread(self.readers.shutdown)
        await asyncio.to_thread(self.senders.shutdown)


def check_scope(who: Principal) -> None:
    """Raise OutOfScope for whose token only uploads: bytes of artifacts, and their end, are not theirs."""
    if who.scope is Scope.UPLOAD:
        raise OutOfScope(who.scope)


@dataclass(slots=True)
class Context:
    """Context that every use case takes as its first argument."""

    storage: Storage
    catalog: Catalog
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], datetime] = utc_now
    failpoint: Callable[[str], None] = no_failpoint
    #: Told how long a "chunk" or a "commit" took, in seconds.
    observe: Callable[[str, float], None] = no_observation
    #: Told the name of the limit, and of how many, when uploads went because of one.
    limited: Callable[[str, int], None] = no_limit
    #: Asked before an upload is created; see ``creation.py``.
    before_create: Callable[[Any], Awaitable[Any]] | None = None
    #: Who is sent events, by this process too.
    endpoints: Sequence[Endpoint] = ()
    #: Told the endpoint and what came of each try to send an event: accepted, failed, dead or paused.
    attempted: Callable[[str, str], None] = no_attempt
    #: Bring every chunk to disk before it is acknowledged (``durability = chunk``).
    durable_chunks: bool = False
    workers: Workers = field(init=False)
    #: Of uploads, by id: what decides who sees them.
    _seen: dict[str, Upload] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.workers = Workers(self.storage, self.catalog, self.failpoint)

    async def authorize(self, who: Principal, upload_id: str) -> None:
        """Raise NotFound unless ``who`` may see the upload. An owner never changes, so the answer is remembered."""
        upload = self._seen.get(upload_id)
        if upload is None:
            upload = await self.catalog.get_upload(upload_id)
            if len(self._seen) >= 10_000:
                self._seen.clear()
            self._seen[upload_id] = upload
        if not who.sees(upload):
            raise NotFound("upload")

    async def owned_upload(self, who: Principal, upload_id: str) -> Upload:
        """The upload, or NotFound when there is none or it is someone else's."""
        upload = await self.catalog.get_upload(upload_id)
        if not who.sees(upload):
            raise NotFound("upload")
        return upload
