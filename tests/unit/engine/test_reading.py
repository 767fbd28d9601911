"""Questions for digests, which read whole files, are in nobody else's way."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from partwise.core.ranges import ByteRange
from partwise.core.records import Chunk
from partwise.engine import reading, uploads
from partwise.engine.chunks import put_chunk
from partwise.engine.engine import Engine
from partwise.engine.reading import stored_digest
from tests.support.bodies import BytesBody, sha256
from tests.unit.engine.conftest import ALICE

DATA = bytes(range(256)) * 16
WHOLE = ByteRange(0, len(DATA))


async def test_reads_in_turns(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA, sha256=sha256(DATA)))
    [chunk] = await engine.catalog.list_chunks(upload.id)
    spans: list[ByteRange] = []
    read = engine.storage.read_staged

    def read_staged(upload_id: str, chunk: Chunk, span: ByteRange, sink: Any) -> None:
        if threading.current_thread().name.startswith("read"):  # the follower reads too
            spans.append(span)
        read(upload_id, chunk, span, sink)

    monkeypatch.setattr(reading, "TURN", 1000)
    monkeypatch.setattr(engine.storage, "read_staged", read_staged)
    assert await stored_digest(engine, upload.id, chunk) == sha256(DATA)
    assert [span.size for span in spans] == [1000, 1000, 1000, 1000, 96]


async def test_many_that_read_hold_up_nobody(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    await put_chunk(engine, ALICE, upload.id, WHOLE, BytesBody(DATA))
    [chunk] = await engine.catalog.list_chunks(upload.id)
    gate = threading.Event()
    read = engine.storage.read_staged

    def slow(upload_id: str, chunk: Chunk, span: ByteRange, sink: Any) -> None:
        gate.wait(30)
        read(upload_id, chunk, span, sink)

    monkeypatch.setattr(engine.storage, "read_staged", slow)
    asked = [asyncio.create_task(stored_digest(engine, upload.id, chunk)) for _ in range(100)]
    try:
        async with asyncio.timeout(10):
            other = await uploads.create_upload(engine, ALICE, size=10)
            await uploads.delete_upload(engine, ALICE, other.id)
    finally:
        gate.set()
    assert set(await asyncio.gather(*asked)) == {sha256(DATA)}
