"""The engine: the ports it stands on, the limits the operator set, and the workers that run beside the use cases."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from partwise.core.errors import NotFound
from partwise.core.records import Principal, Upload
from partwise.engine.ports import Catalog, OwnerLimits, Storage
from partwise.engine.receptions import Receptions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the operator allows. Sizes in bytes; None: no limit."""

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

    @property
    def owner(self) -> OwnerLimits:
        """The part of the limits that the catalog counts."""
        return OwnerLimits(quota=self.quota, open_uploads=self.max_open_uploads, artifacts=self.max_artifacts)


def utc_now() -> datetime:
    """The clock of a running server."""
    return datetime.now(UTC)


def no_failpoint(_name: str) -> None:
    """What runs at each named step of the protocol: nothing, unless a crash test puts its own function here."""


def no_observation(_what: str, _seconds: float) -> None:
    """What is told how long things took, unless a server keeps figures."""


def no_limit(_setting: str, _count: int) -> None:
    """What is told that a limit removed uploads, unless a server keeps figures."""


@dataclass(slots=True)
class Engine:
    """What every use case takes as its first argument."""

    storage: Storage
    catalog: Catalog
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], datetime] = utc_now
    failpoint: Callable[[str], None] = no_failpoint
    #: Told how long a "chunk" or a "commit" took, in seconds.
    observe: Callable[[str, float], None] = no_observation
    #: Told the name of the limit, and of how many, when uploads went because of one.
    limited: Callable[[str, int], None] = no_limit
    #: Bring every chunk to disk before it is acknowledged (``durability = chunk``).
    durable_chunks: bool = False
    workers: Workers = field(init=False)
    #: Of uploads, by id: what decides who sees them.
    _seen: dict[str, Upload] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.workers = Workers(self)

    async def start(self) -> None:
        """Open the ports, recover what a crash left behind, and start the workers."""
        from partwise.engine.recovery import recover

        await self.open()
        await recover(self)
        self.workers.start()

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
            log.warning("%d chunks were not on disk when the machine stopped: they are missing again", count)

    async def stop(self) -> None:
        """Stop the workers and close the ports. Commits that still run go on at the next start."""
        await self.workers.stop()
        await self.storage.stop()
        await self.catalog.stop()

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


class Workers:
    """The background work of one process: digests, flushes, commits, and the round that looks after all of them."""

    def __init__(self, engine: Engine) -> None:
        from partwise.engine.commit import Commits
        from partwise.engine.finish import Finishes
        from partwise.engine.flusher import Flusher
        from partwise.engine.follower import Follower

        self.receptions = Receptions()
        self.follower = Follower(engine.storage, engine.catalog)
        self.flusher = Flusher(engine.storage, engine.catalog, engine.failpoint)
        self.commits = Commits(engine)
        self.finishes = Finishes(engine)
        #: Threads that read stored chunks back: see ``reading.py``.
        self.readers = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="read")
        self._engine = engine
        self._rounds: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the rounds."""
        from partwise.engine.rounds import rounds

        self._rounds = asyncio.create_task(rounds(self._engine), name="rounds")

    async def stop(self) -> None:
        """Cancel everything and wait for it to end."""
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait({self._rounds})
        await self.finishes.stop()
        await self.commits.stop()
        await self.flusher.stop()
        await self.follower.stop()
        await asyncio.to_thread(self.readers.shutdown)
