"""The fast way of a body: its socket is handed to a worker thread, past the event loop and the parser.

ASGI gives a body out in messages of some 64 KiB, each of which costs a trip through the event loop and a copy or two:
about half of the speed that the machine has. Here a thread reads the socket into a large buffer of its own
(``recv_into``) and gives that to the sink, which writes and hashes; all of it frees the interpreter's lock.

``HandoverProtocol`` is uvicorn's HTTP protocol with one addition: a request with a large body of known length on a
plain connection offers a ``Handover`` among the scope's extensions. Whoever takes it gets the body as a
``SocketBody``; whoever does not gets ASGI messages as ever (TLS, chunked transfer, small bodies). It rests on
uvicorn's internals (the parser, the cycle's buffer, flow control): so uvicorn is held to one minor version, this module
is small, and ``tests/unit/server/test_uvicorn_internals.py`` says what of them has changed. The setting
``body_handover`` turns it off.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import nullcontext
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from partwise.core.errors import BodyInterrupted
from partwise.engine.ports import Sink
from partwise.http.intake import ABORT, RequestBody
from partwise.http.interim import INTERIM
from partwise.http.sending import SENDS_FILES
from partwise.server.interim import interim_of
from partwise.server.one_write import OneWrite
from partwise.server.pace import Pace
from partwise.server.sendfile import take_files
from partwise.storage.files import on_thread

#: The name of the offer among ``scope["extensions"]``.
EXTENSION = "partwise.handover"

#: The name there of a function that gives what was read of a body but not asked for, and whether more was to come.
REST = "partwise.rest"

#: Smaller bodies come with the headers, or nearly: handing over would cost more than it saves.
SMALLEST = 128 << 10
#: A worker thread that got this much in one go waits a moment for more; a slow client does not hold a thread.
STICKY = 256 << 10
STICKY_MILLISECONDS = 5
#: The event loop is woken when this much has arrived (SO_RCVLOWAT), or the rest of the body.
LOW_WATER = 128 << 10
#: After this much, a thread gives way to other bodies.
TURN = 64 << 20
#: Bytes that are read before they are written. The block, what the kernel copies into it and the pages that it is
#: copied to have to fit in a core's second-level cache together: docs/decisions/data-path.md.
BLOCK = 512 << 10

_thread = threading.local()


class HandoverProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which can hand the socket of a body over."""

    #: Whether large bodies are offered at all.
    offers_handover = True
    #: Bytes still expected of a body that left the socket bypass before its end, and the body.
    _unread = 0
    _unread_cycle: RequestResponseCycle

    def on_headers_complete(self) -> None:
        """Offer the handover where it can be done and pays."""
        super().on_headers_complete()
        held = OneWrite(self.transport, self.loop)
        self.cycle.transport = held  # type: ignore[assignment]
        length = _content_length(self.headers)
        # ASGI's type says that extensions are dictionaries; ASGI itself leaves their shape to whoever offers them.
        cycle = self.cycle
        extensions: dict[str, Any] = {ABORT: self.transport.abort, REST: partial(_rest_of_body, cycle)}
        extensions[INTERIM] = interim_of(cycle)
        if self.offers_handover and self.scheme == "http":
            extensions[SENDS_FILES] = {}
            take_files(cycle, self.transport, held)
            if length >= SMALLEST:
                extensions[EXTENSION] = Handover(self, cycle, length)
        self.scope["extensions"] = extensions
        if EXTENSION in extensions:
            _note_receive(cycle, extensions)

    def data_received(self, data: bytes) -> None:
        """Skip what is left of a body that was given back; the rest is for the parser."""
        if self._unread:
            skipped = min(self._unread, len(data))
            self._unread -= skipped
            data = data[skipped:]
            if not self._unread:
                _body_is_over(self._unread_cycle)
        if data:
            self._feed(data)

    def on_message_complete(self) -> None:
        """The body is over; but not where the parser only takes it for another protocol: see ``_ignore_upgrade``."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _feed(self, data: bytes) -> None:
        """Give bytes to the parser, as uvicorn does, but keep the body of a request that asks for an upgrade."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Ignore the request's Upgrade field, as RFC 9110, section 7.8, allows.

        The parser ends at the head of such a request, and would take its body for the next request. A new one that
        has been told the length of the body goes on behind the head.
        """
        framing = [(name, value) for name, value in self.headers if name in (b"content-length", b"transfer-encoding")]
        callbacks = _BehindHead(self)
        self.parser = httptools.HttpRequestParser(callbacks)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in framing) + b"\r\n")
        callbacks.in_head = False
        if rest and self.parser is not None:
            self._feed(rest)

    def begin_handover(self, cycle: RequestResponseCycle) -> tuple[bytes, socket.socket | None]:
        """Stop reading. Gives the bytes that were read already, and a descriptor of the caller's own for the rest.

        None in place of the descriptor where the connection has ended already.
        A duplicate, since the transport may close its own at any time, and the number would become another file's.
        ``cycle`` is the request's own: the protocol's is that of the newest one, sent behind a body that is all here.
        """
        if cycle.waiting_for_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        self.flow.pause_reading()
        self._unset_keepalive_if_required()
        early, _ = _rest_of_body(cycle)
        descriptor = self.transport.get_extra_info("socket").fileno()
        if descriptor < 0 or self.transport.is_closing():
            return early, None
        duplicate = socket.socket(fileno=os.dup(descriptor))
        duplicate.setblocking(False)
        return early, duplicate

    def end_handover(self, cycle: RequestResponseCycle, unread: int, *, past_parser: bool) -> None:
        """Resume parsing after the body, or with ``unread`` bytes of it still to arrive.

        ``past_parser``: bytes went past the parser, which would wait for them for ever; a new one begins with the
        next request. (If none did, the present one may hold the start of a pipelined request already.)
        """
        if past_parser:
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._unread, self._unread_cycle = unread, cycle
        if not unread:
            _body_is_over(cycle)


def _note_receive(cycle: RequestResponseCycle, extensions: dict[str, Any]) -> None:
    """Withdraw the offer once somebody has asked for messages: bytes that they were given are not in the socket.

    Who then takes the body takes it from messages too, which that somebody may give out again. This module's own body
    asks for the first message itself, after it has taken the offer.
    """
    receive = cycle.receive
    offer: Handover = extensions[EXTENSION]

    async def noting() -> Any:
        if not offer.taken and extensions.pop(EXTENSION, None) is not None:
            del extensions[REST]
        return await receive()

    cycle.receive = noting  # type: ignore[method-assign]


class _BehindHead:
    """The parser's callbacks, of which those of the first head go nowhere: the protocol knows that head already."""

    def __init__(self, protocol: HandoverProtocol) -> None:
        self._protocol = protocol
        self.in_head = True

    def on_message_begin(self) -> None:
        if not self.in_head:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self.in_head:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self.in_head:
            self._protocol.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        self._protocol.on_message_complete()


def _rest_of_body(cycle: RequestResponseCycle) -> tuple[bytes, bool]:
    """Return the buffered rest of the body and release it, and whether more was expected."""
    rest, cycle.body = bytes(cycle.body), bytearray()
    return rest, cycle.more_body


def _body_is_over(cycle: RequestResponseCycle) -> None:
    cycle.more_body = False
    cycle.message_event.set()


def _content_length(headers: list[tuple[bytes, bytes]]) -> int:
    """The body's length, or 0 where there is none or it is not to be relied on."""
    values = [value for name, value in headers if name == b"content-length"]
    chunked = any(name == b"transfer-encoding" for name, _ in headers)
    return int(values[0]) if len(values) == 1 and not chunked and values[0].isdigit() else 0


class Handover:
    """The offer to take the socket of one request's body."""

    def __init__(self, protocol: HandoverProtocol, cycle: RequestResponseCycle, length: int) -> None:
        self.length = length
        #: Whether somebody has taken the offer.
        self.taken = False
        #: Whether the body was taken, and has been read to its end.
        self.complete = False
        self._protocol = protocol
        self._cycle = cycle

    def begin(self) -> tuple[bytes, socket.socket | None]:
        """See HandoverProtocol."""
        return self._protocol.begin_handover(self._cycle)

    def end(self, unread: int, *, past_parser: bool) -> None:
        """See HandoverProtocol. Without effect when the connection is lost."""
        self.complete = not unread
        if self._protocol.parser is not None:
            self._protocol.end_handover(self._cycle, unread, past_parser=past_parser)


class SocketBody:
    """A body that a worker thread reads from the socket. See ``partwise.engine.ports.Body``."""

    def __init__(self, handover: Handover, executor: Executor, pace: Pace, messages: RequestBody) -> None:
        """``messages`` is the same body as it comes through the event loop: for what is taken before the handover."""
        handover.taken = True
        self.sha256 = messages.sha256
        self._messages = messages
        self._handover = handover
        self._executor = executor
        self._pace = pace
        self._left = handover.length
        self._ahead = b""

    async def first(self) -> bytes:
        """See ``RequestBody``."""
        piece = await self._messages.first()
        self._left -= len(piece)
        return piece

    def put_back(self, piece: bytes) -> None:
        """See ``RequestBody``."""
        self._ahead = piece

    async def drain(self, sink: Sink) -> None:
        """Give all bytes to ``sink``, as the port says."""
        early, connection = self._handover.begin()
        past_parser = len(early) < self._left
        try:
            with connection or nullcontext():
                if self._ahead:
                    await self._on_thread(_give, self._ahead, sink)
                if early:
                    await self._on_thread(_give, early, sink)
                    self._left -= len(early)
                while self._left:
                    if connection is None:
                        raise BodyInterrupted("The connection was closed before the body was complete. Send it again.")
                    await self._turn(connection, sink)
        finally:
            self._handover.end(self._left, past_parser=past_parser)

    async def _turn(self, connection: socket.socket, sink: Sink) -> None:
        """Let a thread read what is there; then wait for more, unless it stopped only to give way."""
        burst = _Burst(connection, self._left, sink)
        try:
            await self._on_thread(burst.run)
        finally:
            self._left -= burst.taken
        self._pace.received(burst.taken)
        if self._left and burst.taken < TURN and not await self._readable(connection):
            # Below the low-water mark something may have come all the same.
            probe = _Burst(connection, self._left, sink)
            try:
                await self._on_thread(probe.run)
            finally:
                self._left -= probe.taken
            self._pace.received(probe.taken)
            if not self._pace.patience:
                raise self._pace.given_up()

    async def _on_thread(self, function: Callable[..., None], *arguments: object) -> None:
        """Run on a worker thread, and come back only when the thread has, also when cancelled."""
        await on_thread(self._executor, partial(function, *arguments))

    async def _readable(self, connection: socket.socket) -> bool:
        """Wait until enough has arrived (or the end has); False when that took too long."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        ready = asyncio.Event()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(LOW_WATER, self._left))
        loop.add_reader(connection.fileno(), ready.set)
        try:
            async with asyncio.timeout(self._pace.patience):
                await ready.wait()
        except TimeoutError:
            return False
        finally:
            self._pace.waited(loop.time() - began)
            loop.remove_reader(connection.fileno())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        return True


def _give(early: bytes, sink: Sink) -> None:
    view = memoryview(early)
    for offset in range(0, len(view), BLOCK):
        sink(view[offset : offset + BLOCK])


class _Burst:
    """One go of a worker thread: what is in the socket, in blocks, while it keeps coming."""

    def __init__(self, connection: socket.socket, left: int, sink: Sink) -> None:
        self._connection = connection
        self._left = left
        self._sink = sink
        #: Bytes that the sink has had, also when it then failed.
        self.taken = 0
        self._buffer = memoryview(b"")
        self._filled = 0

    def run(self) -> None:
        """Read until the body, the turn or the patience is over. Raises BodyInterrupted at an early end."""
        self._buffer = _buffer()
        while self._left and self.taken < TURN:
            try:
                received = self._receive()
            except BodyInterrupted:
                self._give()
                raise
            if received:
                if self._filled == min(BLOCK, self._left):
                    self._give()
            elif self._filled >= STICKY:
                self._give()  # there is time to write while more comes
            elif self.taken + self._filled < STICKY or not self._more_comes():
                break
        self._give()

    def _receive(self) -> int:
        """Return the number of bytes read into the buffer; 0 if there are none now."""
        try:
            received = self._connection.recv_into(self._buffer[self._filled : min(BLOCK, self._left)])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise BodyInterrupted("The connection was closed before the body was complete. Send it again.") from error
        if not received:
            raise BodyInterrupted("The connection was closed before the body was complete. Send it again.")
        self._filled += received
        return received

    def _give(self) -> None:
        size, self._filled = self._filled, 0
        if size:
            self.taken += size
            self._left -= size
            self._sink(self._buffer[:size])

    def _more_comes(self) -> bool:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(STICKY_MILLISECONDS))


def _buffer() -> memoryview:
    """This thread's buffer: as many as there are threads, whatever the number of clients."""
    if not hasattr(_thread, "buffer"):
        _thread.buffer = memoryview(bytearray(BLOCK))
    buffer: memoryview = _thread.buffer
    return buffer
