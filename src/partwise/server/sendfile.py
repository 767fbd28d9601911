"""The fast way of a download: the kernel sends the file (sendfile(2)), past the event loop and the transport.

It is the counterpart of ``handover.py``: what is left of an answer once its head and first bytes are out comes in one
message (``FILE``, beside ASGI's own), and a thread gives it to the socket in bursts. None of it comes into the memory
of this process. Between two bursts the event loop waits until the reader has made room, and no longer than it would for
a block. TLS and other servers get blocks, through ASGI messages.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from partwise.core.errors import BytesLost
from partwise.core.ranges import split
from partwise.engine.ports import BLOCK
from partwise.http.sending import FILE, READ_SECONDS, FilePart
from partwise.server.one_write import OneWrite
from partwise.storage.files import on_thread, reading

#: Bytes after which a thread gives way to other downloads.
TURN = 16 << 20
#: A thread whose reader took this much in one go waits a moment for room; a slow reader does not hold a thread.
STICKY = 256 << 10
STICKY_MILLISECONDS = 5

#: What a file system or a socket says that cannot do this.
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


def take_files(cycle: RequestResponseCycle, transport: asyncio.Transport, held: OneWrite) -> None:
    """Let a response accept FILE messages. ``held`` precedes ``transport`` and may hold the response's header."""
    send = cycle.send

    async def send_files(message: Any) -> None:
        if message["type"] != FILE:
            await send(message)
        elif not cycle.disconnected:
            await _Sending(cycle, transport, held, message["part"]).run()

    cycle.send = send_files  # type: ignore[method-assign]


class _Sending:
    """One part of a file on its way."""

    def __init__(
        self, cycle: RequestResponseCycle, transport: asyncio.Transport, held: OneWrite, part: FilePart
    ) -> None:
        self._cycle, self._transport, self._held = cycle, transport, held
        self._part = part

    async def run(self) -> None:
        """Send it all, or as much as the reader takes. TimeoutError when that is nothing for READ_SECONDS."""
        async with asyncio.timeout(READ_SECONDS):
            await self._flush()
        # Not of a transport that closes: the number may be that of another connection already.
        if not (self._cycle.disconnected or self._transport.is_closing()):
            await self._send()
        # What uvicorn counts: it has to know that the answer is whole. (Of a reader that is gone it does not matter.)
        self._cycle.expected_content_length -= self._part.span.size

    async def _send(self) -> None:
        # A duplicate, since the transport may close its own at any time, and the number would become another's.
        try:
            descriptor = os.dup(self._transport.get_extra_info("socket").fileno())
        except OSError:  # no descriptor is left
            await self._by_blocks()
            return
        with socket.socket(fileno=descriptor) as connection:
            connection.setblocking(False)
            await self._to(connection)

    async def _flush(self) -> None:
        """Wait until the transport has nothing left to send, so that it does not come behind the file."""
        self._held.flush()
        if self._transport.get_write_buffer_size():
            self._transport.set_write_buffer_limits(high=0)
            try:
                await self._cycle.flow.drain()
            finally:
                self._transport.set_write_buffer_limits()

    async def _to(self, connection: socket.socket) -> None:
        span = self._part.span
        try:
            while self._part.sent < span.size and not self._cycle.disconnected:
                before = self._part.sent
                more = await on_thread(self._part.threads, partial(_burst, connection, self._part.file.fd, self._part))
                if not more and self._part.sent - before < TURN:
                    await _writable(connection)
        except (ConnectionError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                raise  # ours, not the kernel's: the reader takes nothing
            self._transport.abort()  # the reader is gone
        except OSError as error:
            if self._part.sent or error.errno not in _CANNOT:
                with reading():
                    raise
            await self._by_blocks()

    async def _by_blocks(self) -> None:
        """Send the file in blocks, for transports that sendfile does not support."""
        for piece in split(self._part.span, 128 << 10):
            with reading():
                read = partial(os.pread, self._part.file.fd, piece.size, piece.offset)
                data = await on_thread(self._part.threads, read)
            if len(data) < piece.size:
                raise BytesLost(_SHORT)
            async with asyncio.timeout(READ_SECONDS):
                await self._cycle.flow.drain()
            self._transport.write(data)
            self._part.sent += piece.size


_SHORT = "The storage lost bytes: an artifact is shorter than its record says."


def _burst(connection: socket.socket, file: int, part: FilePart) -> bool:
    """Send until the turn is over or the reader has no more room; whether it was the turn. Runs on a thread."""
    begun = part.sent
    stop = min(part.span.size, begun + TURN)
    while part.sent < stop:
        try:
            count = os.sendfile(connection.fileno(), file, part.span.offset + part.sent, min(BLOCK, stop - part.sent))
        except BlockingIOError:
            if part.sent - begun < STICKY or not _has_room(connection):
                return False
            continue
        if not count:
            raise BytesLost(_SHORT)
        part.sent += count
    return True


def _has_room(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    return bool(poll.poll(STICKY_MILLISECONDS))


async def _writable(connection: socket.socket) -> None:
    """Wait until the reader has made room. TimeoutError."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(connection.fileno(), ready.set)
    try:
        async with asyncio.timeout(READ_SECONDS):
            await ready.wait()
    finally:
        loop.remove_writer(connection.fileno())
