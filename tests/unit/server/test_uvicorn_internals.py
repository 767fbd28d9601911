"""What ``server/handover.py`` takes for granted of uvicorn and httptools, and the sentence for the day it changes.

A newer uvicorn than ``pyproject.toml`` allows has to pass this before the bound is raised.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Iterator
from typing import Any

import httptools
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from partwise.server.interim import interim_of

HEAD = b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.Event().wait()


class _Transport(asyncio.Transport):
    """What a protocol sees of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__({"socket": connection, "peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...


class Connection:
    """A protocol with a request's head."""

    def __init__(self, connection: socket.socket) -> None:
        config = uvicorn.Config(_app, http=HttpToolsProtocol, lifespan="off")
        config.load()
        self.transport = _Transport(connection)
        self.protocol: Any = HttpToolsProtocol(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(self.transport)


@pytest.fixture
async def connection() -> Any:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        made = Connection(ours)
        yield made
        running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        made.protocol.connection_lost(None)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.fixture(autouse=True)
def _told() -> Iterator[None]:
    try:
        yield
    except AssertionError as error:  # pragma: no cover - on an upgrade
        raise AssertionError(f"uvicorn {uvicorn.__version__}: {error}; see server/handover.py") from error


async def test_a_head_makes_a_cycle_that_shares_the_scope(connection: Connection) -> None:
    protocol = connection.protocol
    protocol.data_received(HEAD)
    assert isinstance(protocol.cycle, RequestResponseCycle), "a request is no RequestResponseCycle any more"
    assert protocol.cycle.scope is protocol.scope, "what is put into the protocol's scope does not reach the request"
    assert (b"content-length", b"10") in protocol.headers, "header fields are not pairs of lower-case bytes"
    assert protocol.scheme == "http", "the protocol does not tell TLS from plain connections"


async def test_bytes_of_a_body_gather_in_the_cycle(connection: Connection) -> None:
    protocol = connection.protocol
    protocol.data_received(HEAD + b"1234")
    cycle = protocol.cycle
    assert cycle.body == bytearray(b"1234"), "what was read of a body is not in cycle.body"
    assert cycle.more_body is True, "cycle.more_body does not say that more comes"
    assert cycle.waiting_for_100_continue is True, "the cycle does not know that the client waits for 100 Continue"
    protocol.data_received(b"567890")
    assert cycle.more_body is False, "cycle.more_body does not end with the body"
    assert cycle.message_event.is_set(), "who waits for the body is not woken by cycle.message_event"


async def test_an_end_is_told_by_the_cycle(connection: Connection) -> None:
    protocol = connection.protocol
    protocol.data_received(HEAD + b"1234")
    cycle = protocol.cycle
    assert (cycle.disconnected, cycle.response_complete) == (False, False), "the cycle's flags have other names"
    protocol.connection_lost(None)
    assert cycle.disconnected is True, "cycle.disconnected does not tell the end of the connection"
    assert protocol.parser is None, "a connection that has ended is not known by its parser"
    assert cycle.body == bytearray(b"1234"), "what came before the end is not kept"
    assert (await cycle.receive())["type"] == "http.disconnect", "receive gives out what came before the end by itself"


async def test_interim_answers_are_written_before_the_answer(connection: Connection) -> None:
    protocol = connection.protocol
    protocol.data_received(HEAD)
    send = interim_of(protocol.cycle)
    assert send(104, "Upload Resumption Supported", {"Upload-Offset": "5"})
    assert connection.transport.written == b"HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Offset: 5\r\n\r\n"
    await protocol.cycle.send({"type": "http.response.start", "status": 200, "headers": []})
    assert not send(104, "Upload Resumption Supported", {}), "cycle.response_started does not tell that it has begun"


async def test_no_interim_answer_to_who_is_gone(connection: Connection) -> None:
    protocol = connection.protocol
    protocol.data_received(HEAD)
    send = interim_of(protocol.cycle)
    protocol.connection_lost(None)
    assert not send(104, "Upload Resumption Supported", {})
    assert connection.transport.written == b""


async def test_reading_can_be_paused(connection: Connection) -> None:
    protocol = connection.protocol
    protocol.data_received(HEAD)
    assert isinstance(protocol.flow, FlowControl), "the protocol's flow control has another name"
    protocol.flow.pause_reading()
    assert not connection.transport.reading, "flow.pause_reading does not stop the transport"
    protocol.flow.resume_reading()
    assert connection.transport.reading, "flow.resume_reading does not start it again"


@pytest.mark.parametrize(
    "name",
    [
        "on_headers_complete",
        "on_message_begin",
        "on_message_complete",
        "on_url",
        "on_header",
        "on_body",
        "on_response_complete",
        "send_400_response",
        "_unset_keepalive_if_required",
    ],
)
def test_methods_that_are_called_or_extended(name: str) -> None:
    assert inspect.isfunction(getattr(HttpToolsProtocol, name, None)), f"HttpToolsProtocol.{name} is gone"


@pytest.mark.parametrize("name", ["connections", "app_state", "loop", "scope", "timeout_keep_alive_task", "transport"])
async def test_attributes_that_are_read(connection: Connection, name: str) -> None:
    connection.protocol.data_received(HEAD)
    assert hasattr(connection.protocol, name), f"HttpToolsProtocol.{name} is gone"


def test_the_parser_tells_of_an_upgrade_and_where_it_ends() -> None:
    class Callbacks: ...

    parser = httptools.HttpRequestParser(Callbacks())
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as caught:
        parser.feed_data(head + b"rest")
    assert caught.value.args[0] == len(head), "HttpParserUpgrade does not say where the head ends"
    assert parser.should_upgrade(), "should_upgrade does not tell of an upgrade"
