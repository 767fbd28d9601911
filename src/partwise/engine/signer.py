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

from partwise.core.errors import BytesLost, NotFound
from partwise.core.pieces import Cutter, Cutting
from partwise.core.ranges import ByteRange
from partwise.core.signature import HEAD_BYTES, TRAILER_BYTES, Reading, Signature, largest_signature, pack
from partwise.engine.ahead import read_ahead
from partwise.engine.jobs import Jobs
from partwise.engine.ports import Catalog, Purpose, Storage

log = logging.getLogger(__name__)


async def sound_size(storage: Storage, sha256: str, size: int) -> int | None:
    """Return the bytes of the stored signature of an artifact of ``size`` bytes; None: there is none, or a damaged one.

    It is read for that, which costs little beside sending it. StorageFailed.
    """
    stored = await storage.signature_size(sha256)
    if stored is None or not HEAD_BYTES + TRAILER_BYTES <= stored <= largest_signature(size):
        return None
    reading = Reading()
    try:
        async for block in storage.read_signature(sha256, stored):
            reading.take(block)
    except (NotFound, BytesLost):
        return None
    return stored if reading.is_signature_of(sha256, size) else None


class Signer:
    """The signatures that this process makes now. Memory: a buffer for each core, and the signatures themselves."""

    def __init__(self, storage: Storage, catalog: Catalog, threads: Executor, failpoint: Callable[[str], None]) -> None:
        self._storage, self._catalog, self._threads, self._failpoint = storage, catalog, threads, failpoint
        self._jobs = Jobs("signature")
        self._room = asyncio.Semaphore(os.cpu_count() or 1)
        #: Bytes of each artifact that are in its signature already.
        self._done: dict[str, int] = {}

    def sign(self, sha256: str, size: int) -> asyncio.Task[None]:
        """Return the job that makes and stores the signature of an artifact of ``size`` bytes.

        The job raises NotFound, BytesLost or StorageFailed. When it ends the signature may still be missing: another
        process makes it, or the artifact was deleted meanwhile.
        """
        return self._jobs.run(sha256, lambda: self._sign(sha256, size))

    def done(self, sha256: str) -> int:
        """Return how many bytes of an artifact the job is through with. 0: it waits, or another process has it."""
        return self._done.get(sha256, 0)

    async def stop(self) -> None:
        """Cancel the jobs. The next who asks begins again."""
        await self._jobs.stop()

    async def _sign(self, sha256: str, size: int) -> None:
        async with self._room:
            lock = await self._storage.try_lock(sha256, Purpose.SIGN)
            if lock is None:
                return
            try:
                if await sound_size(self._storage, sha256, size) is None:
                    data = await self._make(sha256, size)
                    self._failpoint("signature.made")
                    await self._store(sha256, data)
            finally:
                self._done.pop(sha256, None)
                lock.release()

    async def _make(self, sha256: str, size: int) -> bytes:
        cutting = Cutting.of_size(size)
        cutter, table = Cutter(cutting), bytearray()
        loop = asyncio.get_running_loop()

        def take(block: bytes) -> None:
            table.extend(pack(cutter.feed(memoryview(block))))

        async for block in read_ahead(self._storage.read_artifact(sha256, ByteRange(0, size))):
            await loop.run_in_executor(self._threads, take, block)
            self._done[sha256] = self._done.get(sha256, 0) + len(block)
        table.extend(await loop.run_in_executor(self._threads, lambda: pack(cutter.end())))
        return Signature(cutting, size, sha256, bytes(table)).encode()

    async def _store(self, sha256: str, data: bytes) -> None:
        async with self._storage.digest_lock(sha256):
            if await self._catalog.has_artifact(sha256):
                await self._storage.store_signature(sha256, data)
                self._failpoint("signature.stored")
