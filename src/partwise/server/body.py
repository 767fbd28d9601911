"""The bytes of a request, from ASGI messages to a sink on a worker thread; ``handover.py`` has the faster way.

Messages are gathered into blocks, since a thread call for each message of some 64 KiB would cost more than the
writing. While one block is written the next is gathered, and no more than these two are held. A block is full

- at BLOCK bytes;
- at ``_SMALL`` bytes while the bodies of this process hold more than ``_BUDGET`` together;
- after ``_MAX_AGE_SECONDS``, so that thousands of slow clients do not hold a block each.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor

from starlette.requests import Request
from starlette.types import Message, Receive

from partwise.core.errors import BodyInterrupted
from partwise.engine.ports import BLOCK, Sink
from partwise.http.intake import RequestBody
from partwise.server.handover import EXTENSION, REST, SocketBody
from partwise.server.observe import CountedBody
from partwise.server.pace import Pace

_BUDGET = 12 << 20
_SMALL = 64 << 10
_MAX_AGE_SECONDS = 5.0
#: How much the threads that receive stand back (nice) behind hashing, which decides when an upload is verified.
_NICE = 5


class Intake:
    """State shared by the bodies of one process: writer threads, and the count of buffered bytes.

    ``remote``: writing waits for other machines, so more threads are worth having than there are cores. For local
    files more would only fight over them, and let chunks advance side by side where the hash waits for the first.
    """

    def __init__(self, *, idle_timeout_seconds: float, min_rate: float = 0, remote: bool = False) -> None:
        self._idle_timeout_seconds = idle_timeout_seconds
        self._min_rate = min_rate
        self.held = 0
        cores = os.cpu_count() or 1
        threads = min(16, 4 * cores) if remote else max(2, cores)
        self.executor: Executor = ThreadPoolExecutor(threads, thread_name_prefix="body", initializer=_stand_back)

    def body_of(self, request: Request, sha256: str | None = None) -> RequestBody:
        """The body of ``request``; ``sha256`` is the digest that its header fields give for it, in hex."""
        return CountedBody(self._uncounted(request, sha256), request.scope)

    def _uncounted(self, request: Request, sha256: str | None) -> RequestBody:
        extensions = request.scope.get("extensions", {})
        offer = extensions.get(EXTENSION)
        rest = extensions.get(REST)
        messages = AsgiBody(self, request.receive if rest is None else _to_the_end(request.receive, rest), sha256)
        return messages if offer is None else SocketBody(offer, self.executor, self.pace(), messages)

    def pace(self) -> Pace:
        """The patience with a new body."""
        return Pace(self._idle_timeout_seconds, self._min_rate)

    def close(self) -> None:
        """End the threads, after what they run."""
        self.executor.shutdown()


def _to_the_end(receive: Receive, rest: Callable[[], tuple[bytes, bool]]) -> Receive:
    """``receive``, but what came before the connection ended is given out before the end is told.

    uvicorn drops it, so that of a request that was cut while it waited for its turn nothing would be kept.
    """

    async def receive_to_the_end() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            body, more = rest()
            if body or not more:
                return {"type": "http.request", "body": body, "more_body": more}
        return message

    return receive_to_the_end


def _stand_back() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _NICE)


class AsgiBody:
    """A body that comes as ASGI messages. See ``partwise.engine.ports.Body``."""

    def __init__(self, intake: Intake, receive: Receive, sha256: str | None) -> None:
        self._sha256 = sha256
        self._intake = intake
        self._receive = receive
        self._pieces: list[bytes] = []
        self._size = 0
        self._more = True
        self._pace = intake.pace()
        self._started = 0.0  # when the first piece of the block came
        self._writing: asyncio.Future[None] | None = None

    @property
    def sha256(self) -> str | None:
        """The digest that the client sent for these bytes."""
        return self._sha256

    async def first(self) -> bytes:
        """See ``RequestBody``."""
        while self._more and not self._size:
            self._more = await self._gather()
        piece = self._take_block()
        self._intake.held -= len(piece)
        return piece

    def put_back(self, piece: bytes) -> None:
        """See ``RequestBody``."""
        if piece:
            self._started = asyncio.get_running_loop().time()
            self._pieces.insert(0, piece)
            self._size += len(piece)
            self._intake.held += len(piece)

    async def drain(self, sink: Sink) -> None:
        """Give all bytes to ``sink``, as the port says."""
        try:
            while self._more:
                try:
                    self._more = await self._gather()
                except (BodyInterrupted, asyncio.CancelledError):
                    await self._flush(sink)  # some receivers keep what came of a broken or superseded body
                    raise
                while self._is_full():
                    await self._write(sink)
            await self._flush(sink)
        finally:
            self._intake.held -= self._size
            self._pieces.clear()
            self._size = 0
            await self._quiet()

    async def _flush(self, sink: Sink) -> None:
        """Write all that is held."""
        while self._size:
            await self._write(sink)
        await self._written()

    def _is_full(self) -> bool:
        if not self._size:
            return False
        limit = _SMALL if self._intake.held > _BUDGET else BLOCK
        return self._size >= limit or asyncio.get_running_loop().time() - self._started >= _MAX_AGE_SECONDS

    async def _gather(self) -> bool:
        """Take the next message, or return when the block is old; whether more may come.

        BodyInterrupted when none comes.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        silent_until = began + self._pace.patience
        deadline = min(silent_until, self._started + _MAX_AGE_SECONDS) if self._size else silent_until
        try:
            async with asyncio.timeout_at(deadline):
                message = await self._receive()
        except TimeoutError:
            self._pace.waited(loop.time() - began)
            if self._pace.patience:
                return True
            raise self._pace.given_up() from None
        self._pace.waited(loop.time() - began)
        if message["type"] == "http.disconnect":
            raise BodyInterrupted("The connection was closed before the body was complete. Send it again.")
        piece: bytes = message.get("body", b"")
        if piece:
            self._pace.received(len(piece))
            if not self._size:
                self._started = loop.time()
            self._pieces.append(piece)
            self._size += len(piece)
            self._intake.held += len(piece)
        return bool(message.get("more_body", False))

    def _take_block(self) -> bytes:
        """At most BLOCK bytes of what is held."""
        whole = b"".join(self._pieces)
        block, rest = (whole, b"") if len(whole) <= BLOCK else (whole[:BLOCK], whole[BLOCK:])
        self._pieces = [rest] if rest else []
        self._size = len(rest)
        return block

    async def _write(self, sink: Sink) -> None:
        """Begin to write a block, once the one before it is written."""
        await self._written()
        block = self._take_block()
        future = asyncio.get_running_loop().run_in_executor(self._intake.executor, sink, memoryview(block))
        future.add_done_callback(lambda _: self._release(len(block)))
        self._writing = future

    def _release(self, size: int) -> None:
        self._intake.held -= size

    async def _written(self) -> None:
        """Wait for the block that is being written; its error comes out."""
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None

    async def _quiet(self) -> None:
        """Wait until no call to the sink runs, also when cancelled meanwhile: the block and the range are its own."""
        while self._writing is not None and not self._writing.done():
            try:
                await asyncio.wait({self._writing})
            except asyncio.CancelledError:
                continue
        if self._writing is not None and not self._writing.cancelled():
            self._writing.exception()  # seen already, or of no interest any more
