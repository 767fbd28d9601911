"""Read the next block while the last one is worked on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


async def read_ahead(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield ``blocks``, each while the one behind it is being read. Raises what they raise, in its place."""
    reading = asyncio.ensure_future(anext(blocks, None))
    try:
        while (block := await reading) is not None:
            reading = asyncio.ensure_future(anext(blocks, None))
            yield block
    finally:
        # Ended early: whoever reads must be out before the iterator can be closed.
        reading.cancel()
        await asyncio.wait({reading})
        if not reading.cancelled():
            reading.exception()
