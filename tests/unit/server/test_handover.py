"""uvicorn's protocol with the handover of bodies, over real sockets: what came before a connection ended is kept."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from partwise.core.errors import BadBody, BodyInterrupted
from partwise.http.forms import FormBody
from partwise.server.body import Intake
from partwise.server.connection import BoundedProtocol
from partwise.server.handover import BLOCK, SMALLEST, HandoverProtocol
from tests.support.until import until


class LateReader:
    """An application that reads the body only once the connection has ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.done = asyncio.Event()
        self.got = bytearray()
        self.whole = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        intake = Intake(idle_timeout_seconds=5)
        try:
            await self.ended.wait()
            await intake.body_of(Request(scope, receive)).drain(self.got.extend)
            self.whole = True
        except BodyInterrupted:
            pass
        finally:
            intake.close()
            self.done.set()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class FormReader(LateReader):
    """An application that has to know the fields of a form before it takes the file."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.fields: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        intake = Intake(idle_timeout_seconds=5)
        request = Request(scope, receive)
        form = FormBody(intake.body_of(request), request.headers["content-type"])
        try:
            await form.begin()
            self.fields = dict(form.fields)
            self.begun.set()
            await form.drain(self.got.extend)
        finally:
            held = intake.held
            intake.close()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-held", b"%d" % held)]})
        await send({"type": "http.response.body", "body": b""})
        self.done.set()


@asynccontextmanager
async def serving(app: LateReader, base: type[HandoverProtocol] = HandoverProtocol) -> AsyncIterator[int]:
    class Protocol(base):  # type: ignore[misc, valid-type]
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            app.ended.set()

    config = uvicorn.Config(app, port=0, http=Protocol, log_level="error", lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


@pytest.mark.parametrize("size", [2_000, 3 * SMALLEST], ids=["messages", "handover"])
@pytest.mark.parametrize("sent", [1, 1_000, 2_000])
@pytest.mark.parametrize("together", [True, False])
async def test_what_came_before_the_end_is_kept(size: int, sent: int, together: bool) -> None:
    data = os.urandom(sent)
    app = LateReader()
    async with serving(app) as port, asyncio.timeout(20):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())
        if not together:
            await writer.drain()
        writer.write(data)
        writer.close()
        await app.done.wait()
        await writer.wait_closed()
    assert bytes(app.got) == data
    assert app.whole == (sent == size)


@pytest.mark.parametrize("size", [0, 2_000, 3 * SMALLEST, 1 << 20], ids=["empty", "messages", "handover", "large"])
@pytest.mark.parametrize("late", [True, False])
async def test_a_form_tells_its_fields_before_its_file(size: int, late: bool) -> None:
    """What was read to learn them is given again, whichever way the rest comes."""
    data = os.urandom(size)
    disposition = "Content-Disposition: form-data; name="
    fields = f'--B\r\n{disposition}"offset"\r\n\r\n17\r\n--B\r\n{disposition}"file"; filename="f"\r\n\r\n'
    tail = f'\r\n--B\r\n{disposition}"last"\r\n\r\nx\r\n--B--\r\n'
    length = len(fields) + size + len(tail)
    kind = "Content-Type: multipart/form-data; boundary=B"
    head = f"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{kind}\r\n\r\n"
    app = FormReader()
    async with serving(app) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((head + fields).encode())
        if late:
            await app.begun.wait()
            assert app.fields == {"offset": "17"}
        writer.write(data + tail.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        await app.done.wait()
    assert bytes(app.got) == data
    assert app.fields["offset"] == "17"
    assert b"200" in answer
    assert b"x-held: 0" in answer


async def test_what_comes_before_the_file_is_bounded() -> None:
    class Endless:
        sha256 = None

        async def first(self) -> bytes:
            return b"x" * 65_536

        def put_back(self, piece: bytes) -> None:
            raise AssertionError

        async def drain(self, sink: object) -> None:
            raise AssertionError

    with pytest.raises(BadBody, match="before the form's file"):
        await FormBody(Endless(), "multipart/form-data; boundary=B").begin()


async def test_a_request_on_a_connection_that_had_just_come_at_a_stop_is_answered() -> None:
    """Else a client that met a restart would see its connection closed without a word."""
    app = LateReader()
    app.ended.set()
    config = uvicorn.Config(app, port=0, http=BoundedProtocol, log_level="error", lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    port = server.servers[0].sockets[0].getsockname()[1]
    async with asyncio.timeout(20):
        asking, silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await until(lambda: len(server.server_state.connections) == 2, "both are accepted")
        stopping = asyncio.create_task(server.shutdown())
        await until(lambda: not server.servers[0].is_serving(), "it takes no more")
        asking[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await asking[0].read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer.lower()
        assert await silent[0].read() == b""
        await stopping
        for _, writer in (asking, silent):
            writer.close()
            await writer.wait_closed()


async def test_the_number_of_a_socket_that_closes_is_not_duplicated() -> None:
    """It may be another connection's by now."""
    handed: list[socket.socket | None] = []

    class Closing(HandoverProtocol):
        def begin_handover(self, cycle: RequestResponseCycle) -> tuple[bytes, socket.socket | None]:
            self.transport.abort()
            early, connection = super().begin_handover(cycle)
            handed.append(connection)
            return early, connection

    app = LateReader()
    app.ended.set()
    async with serving(app, Closing) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nbegun" % (3 * SMALLEST))
        await app.done.wait()
        writer.close()
    assert (handed, app.whole) == ([None], False)


async def test_a_body_is_written_in_blocks_that_a_cache_holds() -> None:
    """Both of the bytes that came with the head and of those that a thread reads."""

    sizes: list[int] = []

    class Blocks(bytearray):
        def extend(self, block: Any) -> None:
            sizes.append(len(block))
            super().extend(block)

    app = LateReader()
    app.got = Blocks()
    app.ended.set()
    body = os.urandom(3 * BLOCK + 1)
    async with serving(app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"PUT / HTTP/1.1\r\nHost: here\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await app.done.wait()
        writer.close()
    assert bytes(app.got) == body
    assert max(sizes) <= BLOCK == 512 << 10
