"""Makes signatures of artifacts in the background: each once, however many ask for it, in whatever process.

Blocks are read through the storage, and cut and hashed on the threads that read stored chunks back. Cutting and hashing
both give up the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from partwise.core.errors import BytesLost, NotFound, PartwiseError
from partwise.core.pieces import Cutter, Cutting
from partwise.core.ranges import ByteRange
from partwise.core.signature import HEAD_BYTES, TRAILER_BYTES, Reading, Signature, largest_signature, pack
from partwise.engine.ahead import read_ahead
from partwise.engine.jobs import Jobs
from partwise.engine.ports import BLOCK, Catalog, Purpose, Storage

log = logging.getLogger(__name__)

#: A signature of at most so many bytes stays in memory between its check and its sending: that of some 1 GiB. A larger
#: one is read once more, so that a slow client costs no more memory than with any other body.
KEPT_BYTES = 2 << 20
#: Bytes of an artifact that are read at once. Each block takes turns of the event loop and of two threads.
_READ_BLOCK = 2 * BLOCK
#: So many failures are remembered for those who ask later.
_MOST_FAILURES = 256


@dataclass(frozen=True, slots=True)
class Sound:
    """A stored signature that was checked: its size in bytes, and its bytes unless there are more than KEPT_BYTES."""

    size: int
    data: bytes | None


async def read_sound(storage: Storage, sha256: str, size: int) -> Sound | None:
    """Read and check the stored signature of an artifact of ``size`` bytes; None: there is none, or a damaged one.

    StorageFailed.
    """
    stored = await storage.signature_size(sha256)
    if stored is None or not HEAD_BYTES + TRAILER_BYTES <= stored <= largest_signature(size):
        return None
    reading, kept = Reading(), bytearray()
    try:
        async for block in storage.read_signature(sha256, stored):
            reading.take(block)
            if stored <= KEPT_BYTES:
                kept += block
    except (NotFound, BytesLost):
        return None
    if not reading.is_signature_of(sha256, size):
        return None
    return Sound(stored, bytes(kept) if stored <= KEPT_BYTES else None)


class Signer:
    """The signatures that this process makes now. Memory: a buffer for each core, and the signatures themselves."""

    def __init__(self, storage: Storage, catalog: Catalog, threads: Executor, failpoint: Callable[[str], None]) -> None:
        self._storage, self._catalog, self._threads, self._failpoint = storage, catalog, threads, failpoint
        self._jobs = Jobs("signature")
        self._room = asyncio.Semaphore(os.cpu_count() or 1)
        #: Bytes of each artifact that are in its signature already.
        self._done: dict[str, int] = {}
        #: Errors of jobs that ended while nobody waited, until the next who asks is told.
        self._failures: dict[str, PartwiseError] = {}

    async def sign(self, sha256: str, size: int, *, wait: float) -> bool:
        """Make and store the signature of an artifact of ``size`` bytes. Return False after ``wait`` seconds.

        Raises NotFound, BytesLost or StorageFailed, also for a job that failed since the last call. After True the
        signature may still be missing: another process makes it, or the artifact was deleted meanwhile.
        """
        failure = self._failures.pop(sha256, None)
        if failure is not None:
            raise failure
        job = self._jobs.run(sha256, lambda: self._sign(sha256, size))
        await asyncio.wait({job}, timeout=wait)
        if not job.done():
            return False
        if not job.cancelled():
            self._failures.pop(sha256, None)
            job.result()
        return True

    def done(self, sha256: str) -> int:
        """Return how many bytes of an artifact the job is through with. 0: it waits, or another process has it."""
        return self._done.get(sha256, 0)

    async def stop(self) -> None:
        """Cancel the jobs. The next who asks begins again."""
        await self._jobs.stop()

    async def _sign(self, sha256: str, size: int) -> None:
        try:
            await self._sign_alone(sha256, size)
        except PartwiseError as error:
            while len(self._failures) >= _MOST_FAILURES:
                del self._failures[next(iter(self._failures))]
            self._failures[sha256] = error
            raise

    async def _sign_alone(self, sha256: str, size: int) -> None:
        async with self._room:
            lock = await self._storage.try_lock(sha256, Purpose.SIGN)
            if lock is None:
                return
            try:
                if await read_sound(self._storage, sha256, size) is None:
                    data = await self._make(sha256, size)
                    self._failpoint("signature.made")
                    await self._store(sha256, size, data)
            finally:
                self._done.pop(sha256, None)
                lock.release()

    async def _make(self, sha256: str, size: int) -> bytes:
        cutting = Cutting.of_size(size)
        cutter, table = Cutter(cutting), bytearray()
        loop = asyncio.get_running_loop()

        def take(block: bytes) -> None:
            table.extend(pack(cutter.feed(memoryview(block))))

        blocks = self._storage.read_artifact(sha256, ByteRange(0, size), _READ_BLOCK)
        async for block in read_ahead(blocks):
            await loop.run_in_executor(self._threads, take, block)
            self._done[sha256] = self._done.get(sha256, 0) + len(block)
        table.extend(await loop.run_in_executor(self._threads, lambda: pack(cutter.end())))
        return Signature(cutting, size, sha256, bytes(table)).encode()

    async def _store(self, sha256: str, size: int, data: bytes) -> None:
        """Store the signature while its artifact is there, and read it back. BytesLost if that gives other bytes."""
        async with self._storage.digest_lock(sha256):
            if await self._catalog.has_artifact(sha256):
                await self._storage.store_signature(sha256, data)
                self._failpoint("signature.stored")
                if await read_sound(self._storage, sha256, size) is None:
                    raise BytesLost(
                        "The signature of the artifact was stored, but the storage returns other bytes. Transfer the "
                        "whole file, and check the storage."
                    )
