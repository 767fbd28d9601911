"""Digests of stored bytes that grow: on threads of this process, or in a process of its own (``hash_process.py``)."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

from partwise.core.errors import BytesLost, NotFound, StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk
from partwise.engine.ports import Piece, Sink
from partwise.storage import hash_process
from partwise.storage.files import LOST, failures

#: Bytes that may wait to be hashed before ``feed`` waits: enough to be busy while the event loop looks for more.
WINDOW = 128 << 20
#: Seconds that the hash process may say nothing while somebody waits for it. It answers after each piece of a file.
SILENCE_SECONDS = 60.0

log = logging.getLogger(__name__)


def cores() -> int:
    """Return the useful number of parallel hash jobs."""
    return os.cpu_count() or 1


def one_by_one(read: Callable[[Chunk, ByteRange, Sink], None]) -> Callable[[Sequence[Piece], Sink], None]:
    """Reads pieces by ``Storage.read_staged`` of one upload."""

    def read_pieces(pieces: Sequence[Piece], sink: Sink) -> None:
        for chunk, span in pieces:
            read(chunk, span, sink)

    return read_pieces


class ThreadedHash:
    """``engine.ports.RunningHash`` on ``threads`` (or the event loop's own) of this process.

    ``read`` gives all bytes of some pieces of one upload to a sink, and blocks.
    """

    pending = 0

    def __init__(
        self,
        read: Callable[[Sequence[Piece], Sink], None],
        algorithms: Collection[str] = (),
        threads: ThreadPoolExecutor | None = None,
    ) -> None:
        self._read = read
        self._threads = threads
        self._state = hash_process.State(algorithms)
        self._marks: deque[hash_process.State] = deque()

    async def feed(self, pieces: Sequence[Piece]) -> None:
        """Ends when all is hashed. Cancelled, it leaves the hash void."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._feed, pieces)

    def _feed(self, pieces: Sequence[Piece]) -> None:
        self._read(pieces, self._state.update)

    def mark(self) -> None:
        """See the port."""
        self._marks.append(self._state.copy())

    def forget(self) -> None:
        """See the port."""
        self._marks.popleft()

    def rewind(self) -> None:
        """See the port."""
        self._state = self._marks.popleft()
        self._marks.clear()

    async def digests(self) -> dict[str, str]:
        """See the port."""
        return self._state.digests()

    def close(self) -> None:
        """See the port."""


class HashProcess:
    """The hash process of this one: started when first needed, and again should it die."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._runs: list[_Run] = []

    def hash(self, path: str, algorithms: Collection[str] = ()) -> ProcessHash:
        """A new hash over the file at ``path``, with ``algorithms`` beside SHA-256.

        StorageFailed when the process cannot be started.
        """
        if not self._runs or self._runs[-1].over:
            self._runs.append(_Run(self._threads))
        return self._runs[-1].open(path, algorithms)

    @property
    def pid(self) -> int | None:
        """Return the id of the running process, or None."""
        return self._runs[-1].pid if self._runs and not self._runs[-1].over else None

    async def stop(self) -> None:
        """End the process, and wait for it."""
        for run in self._runs:
            await run.stop()
        self._runs.clear()


class _Run:
    """One run of the program, and the hashes that it has."""

    def __init__(self, threads: int) -> None:
        """Raises StorageFailed when no process can be started now."""
        with failures("start the process that hashes"), ExitStack() as stack:
            self._socket, theirs = socket.socketpair()
            stack.callback(self._socket.close)
            with theirs:
                # -I -S: nothing of the user's, no packages; it needs none.
                command = [sys.executable, "-I", "-S", hash_process.__file__, str(threads)]
                self._process = subprocess.Popen(  # noqa: S603 (the command is our own)
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL
                )
            stack.pop_all()
        self.pid = self._process.pid
        self.over = False
        #: When the program last said something, or was asked the first time.
        self._heard = time.monotonic()
        self._hashes: dict[int, ProcessHash] = {}
        self._count = 0
        self._unsent: list[bytes] = []
        self._writer: asyncio.StreamWriter | None = None
        self._task = asyncio.create_task(self._hand_out(), name="hash process")

    def open(self, path: str, algorithms: Collection[str]) -> ProcessHash:
        """A new hash."""
        self._count += 1
        made = self._hashes[self._count] = ProcessHash(self, self._count, path)
        if algorithms:
            self.send(self._count, "begin", list(algorithms))
        return made

    def close(self, number: int) -> None:
        """Forget a hash, here and there."""
        if self._hashes.pop(number, None) is not None:
            self.send(number, "close")

    def send(self, number: int, *message: object) -> None:
        """Post a message; never waits."""
        line = json.dumps([number, *message]).encode() + b"\n"
        if self._writer is None:
            self._unsent.append(line)
        elif not self.over:
            self._writer.write(line)

    async def stop(self) -> None:
        """End the program at once, even one that does not answer: it keeps nothing that would be missed."""
        self._process.kill()
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._writer is None:
            self._socket.close()
        else:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
        await asyncio.to_thread(self._process.wait)

    def end_silent(self) -> None:
        """End a program that has said nothing at all for too long: stopped, or stuck in a read. Another one begins."""
        if time.monotonic() - self._heard >= SILENCE_SECONDS and not self.over:
            log.error("the hash process did not respond for %.0f seconds and is replaced", SILENCE_SECONDS)
            self.over = True
            self._process.kill()

    async def _hand_out(self) -> None:
        """Give each hash its answers, until the program ends."""
        try:
            with suppress(ConnectionError, json.JSONDecodeError):  # it died, perhaps within a line
                reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
                self._writer.writelines(self._unsent)
                async for line in reader:
                    self._heard = time.monotonic()
                    number, *answer = json.loads(line)
                    if (hash_ := self._hashes.get(number)) is not None:
                        hash_.answered(*answer)
        finally:
            self.over = True
            for hash_ in self._hashes.values():
                hash_.answered("failed", errno.EPIPE, "the process that hashes ended")


class ProcessHash:
    """``engine.ports.RunningHash`` in the hash process, over one file."""

    def __init__(self, run: _Run, number: int, path: str) -> None:
        self._run, self._number, self._path = run, number, path
        #: Bytes that were fed and are not hashed yet (of those that a rewind made void, too).
        self.pending = 0
        self._failure: StorageFailed | NotFound | None = None
        self._news = asyncio.Event()
        self._digests: dict[str, str] | None = None

    async def feed(self, pieces: Sequence[Piece]) -> None:
        """Pieces follow each other in the file: one span of it."""
        start, end = pieces[0][1].offset, pieces[-1][1].end
        self.pending += end - start
        self._run.send(self._number, "feed", self._path, start, end - start)
        await self._until(lambda: self.pending < WINDOW)

    def mark(self) -> None:
        """See the port."""
        self._run.send(self._number, "mark")

    def forget(self) -> None:
        """See the port."""
        self._run.send(self._number, "forget")

    def rewind(self) -> None:
        """See the port."""
        self._run.send(self._number, "rewind")

    async def digests(self) -> dict[str, str]:
        """Behind all that was fed."""
        self._digests = None
        self._run.send(self._number, "digest")
        await self._until(lambda: self._digests is not None)
        assert self._digests is not None
        return self._digests

    def close(self) -> None:
        """See the port."""
        self._run.close(self._number)

    def answered(self, what: str, *values: object) -> None:
        """An answer of the program."""
        match what, values:
            case "fed", (int(size),):
                self.pending -= size
            case "digest", (dict(digests),):
                self._digests = digests
            case "failed", (int(number), str(words)):
                self._failure = _failure(number, words)
        self._news.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while self._failure is None and not condition():
            self._news.clear()
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                self._run.end_silent()
        if self._failure is not None:
            raise self._failure


def _failure(number: int, words: str) -> StorageFailed | NotFound:
    if number == errno.ENOENT:
        return NotFound("upload")
    kind = BytesLost if number in LOST else StorageFailed
    return kind(f"The storage failed to read: {words}.")
