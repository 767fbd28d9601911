"""``server/one_write.py``: what leaves together, in which order, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from partwise.server.one_write import OneWrite

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


class _Transport(asyncio.Transport):
    """Notes what is sent at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.sent.append(b"".join(list_of_data))

    def close(self) -> None:
        self.sent.append(b"<closed>")


@pytest.fixture
def transport() -> _Transport:
    return _Transport()


async def test_the_head_leaves_with_the_body(transport: _Transport) -> None:
    answer = OneWrite(transport, asyncio.get_running_loop())
    answer.write(HEAD)
    assert transport.sent == []
    answer.write(b"body")
    answer.write(b"more")
    await asyncio.sleep(0)
    assert transport.sent == [HEAD + b"body", b"more"]


async def test_a_head_whose_body_comes_later_does_not_wait_for_it(transport: _Transport) -> None:
    answer = OneWrite(transport, asyncio.get_running_loop())
    answer.write(HEAD)
    await asyncio.sleep(0)
    assert transport.sent == [HEAD]
    answer.write(b"HTTP/1.1 as text")  # no other head
    assert transport.sent == [HEAD, b"HTTP/1.1 as text"]


async def test_an_interim_answer_leaves_at_once(transport: _Transport) -> None:
    answer = OneWrite(transport, asyncio.get_running_loop())
    answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert transport.sent == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    answer.write(HEAD)
    answer.write(b"")
    assert transport.sent[1:] == [HEAD]


async def test_a_head_is_sent_before_the_connection_is_closed(transport: _Transport) -> None:
    answer = OneWrite(transport, asyncio.get_running_loop())
    answer.write(HEAD)
    answer.close()
    await asyncio.sleep(0)
    assert transport.sent == [HEAD, b"<closed>"]
