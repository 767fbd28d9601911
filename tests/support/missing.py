"""What an upload misses, as the engine tells it."""

from __future__ import annotations

from partwise.core.ranges import ByteRange, Gaps
from partwise.core.records import Principal
from partwise.engine import uploads
from partwise.engine.engine import Engine


async def missing(engine: Engine, who: Principal, upload_id: str) -> list[ByteRange]:
    """The ranges that no chunk covers (the first 100)."""
    gaps = Gaps()
    async for _chunk in uploads.each_chunk(engine, who, upload_id, gaps):
        pass
    return gaps.first
