"""uvicorn's protocol with the handover of bodies, over real sockets: what came before a connection ended is kept."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from partwise.core.errors import BodyInterrupted
from partwise.server.body import Intake
from partwise.server.handover import SMALLEST, HandoverProtocol


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


@asynccontextmanager
async def serving(app: LateReader) -> AsyncIterator[int]:
    class Protocol(HandoverProtocol):
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
