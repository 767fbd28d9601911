from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from partwise.engine.ahead import read_ahead
from tests.support.until import until


class Blocks:
    """Three blocks, and an error or none behind them; whether the iterator was closed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.read: list[int] = []
        self.closed = False
        self._error = error

    async def __call__(self) -> AsyncIterator[bytes]:
        try:
            for number in range(3):
                self.read.append(number)
                await asyncio.sleep(0)
                yield bytes([number])
            if self._error:
                raise self._error
        finally:
            self.closed = True


async def test_the_next_block_is_read_while_the_last_is_worked_on() -> None:
    blocks = Blocks()
    seen = []
    async for block in read_ahead(blocks()):
        seen.append(block)
        await until(lambda: blocks.read[-1] == min(2, len(seen)))
    assert seen == [b"\0", b"\1", b"\2"]
    assert blocks.closed


async def test_an_error_comes_in_its_place() -> None:
    ahead = read_ahead(Blocks(ValueError("lost"))())
    assert [await anext(ahead) for _ in range(3)] == [b"\0", b"\1", b"\2"]
    with pytest.raises(ValueError, match="lost"):
        await anext(ahead)


@pytest.mark.parametrize("error", [None, ValueError("nobody asks for it")])
async def test_whoever_ends_early_leaves_nothing_that_reads(error: Exception | None) -> None:
    blocks = Blocks(error)
    inner = blocks()
    async with aclosing(read_ahead(inner)) as ahead:  # type: ignore[type-var]
        async for block in ahead:
            if block == b"\2":
                break
    await inner.aclose()  # type: ignore[attr-defined]
    assert blocks.closed
