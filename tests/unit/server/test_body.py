"""The body port over ASGI messages: order, blocks, what is held, errors, cancellation."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.types import Message

from partwise.core.errors import BodyInterrupted, OutOfSpace
from partwise.engine.ports import BLOCK
from partwise.server.body import AsgiBody, Intake
from tests.support.until import all_started


@pytest.fixture
def intake() -> Iterator[Intake]:
    made = Intake(idle_timeout_seconds=5)
    yield made
    made.close()
    assert made.held == 0, "what a body held was not given back"


class Messages:
    """What a client sends, message by message; then the connection stays silent."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)

    async def __call__(self) -> Message:
        if not self._messages:
            await asyncio.Event().wait()
        return self._messages.pop(0)


def pieces(data: bytes, size: int) -> Messages:
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return Messages(
        *({"type": "http.request", "body": part, "more_body": True} for part in parts),
        {"type": "http.request", "body": b"", "more_body": False},
    )


@pytest.mark.parametrize("size", [1000, 65_536, 70_001, BLOCK, 3 * BLOCK + 1])
async def test_all_bytes_in_order_in_blocks_off_the_loop(intake: Intake, size: int) -> None:
    data = random.Random(size).randbytes(3 * BLOCK + 12345 if size > 1000 else 50_000)
    got: list[bytes] = []
    threads = set()

    def sink(block: memoryview) -> None:
        threads.add(threading.current_thread())
        assert 0 < len(block) <= BLOCK
        got.append(bytes(block))

    await AsgiBody(intake, pieces(data, size), None).drain(sink)
    assert b"".join(got) == data
    assert threading.main_thread() not in threads
    assert len(got) <= len(data) // BLOCK + 2


async def test_no_bytes(intake: Intake) -> None:
    await AsgiBody(intake, Messages({"type": "http.request"}), None).drain(lambda block: pytest.fail("a block"))


async def test_at_most_two_blocks_are_held(intake: Intake) -> None:
    gate = threading.Event()
    body = AsgiBody(intake, pieces(bytes(8 * BLOCK), 65_536), None)

    def held_up(_: memoryview) -> None:
        gate.wait(10)

    drained = asyncio.ensure_future(body.drain(held_up))
    for _ in range(50):
        await asyncio.sleep(0.002)
        assert intake.held <= 2 * BLOCK + 65_536
    gate.set()
    await drained


async def test_small_blocks_while_much_is_held(intake: Intake) -> None:
    intake.held += 64 << 20
    sizes: list[int] = []
    await AsgiBody(intake, pieces(bytes(BLOCK), 32_768), None).drain(lambda block: sizes.append(len(block)))
    intake.held -= 64 << 20
    assert max(sizes) == 65_536


async def test_a_broken_connection(intake: Intake) -> None:
    receive = Messages({"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.disconnect"})
    got = bytearray()
    with pytest.raises(BodyInterrupted, match="connection was closed"):
        await AsgiBody(intake, receive, None).drain(got.extend)
    assert got == b"abc"


async def test_silence() -> None:
    intake = Intake(idle_timeout_seconds=0.05)
    receive = Messages({"type": "http.request", "body": b"abc", "more_body": True})
    before = time.monotonic()
    with pytest.raises(BodyInterrupted, match=r"0\.05 seconds"):
        await AsgiBody(intake, receive, None).drain(lambda _: None)
    assert time.monotonic() - before < 2
    intake.close()


async def test_an_error_of_the_sink_comes_out_and_ends_the_body(intake: Intake) -> None:
    calls = 0

    def sink(_: memoryview) -> None:
        nonlocal calls
        calls += 1
        raise OutOfSpace

    with pytest.raises(OutOfSpace):
        await AsgiBody(intake, pieces(bytes(8 * BLOCK), 65_536), None).drain(sink)
    assert calls == 1


async def test_cancellation_ends_after_the_running_call(intake: Intake) -> None:
    entered, gate, left = threading.Event(), threading.Event(), threading.Event()

    def sink(_: memoryview) -> None:
        entered.set()
        gate.wait(10)
        left.set()

    body = AsgiBody(intake, Messages({"type": "http.request", "body": bytes(BLOCK), "more_body": True}), None)
    task = asyncio.ensure_future(body.drain(sink))
    await asyncio.to_thread(entered.wait)
    task.cancel()
    await all_started()
    task.cancel()
    await all_started()
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left.is_set()
