"""What an upload may hold, from its creation on, and what is left when its creation is cut off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from partwise.core.errors import IncompleteUpload, NotFound, QuotaExceeded, UploadTooLarge
from partwise.core.ranges import ByteRange
from partwise.engine import uploads
from partwise.engine.chunks import put_chunk
from partwise.engine.context import Limits
from partwise.engine.engine import Engine
from partwise.engine.finish import concatenate
from tests.support.bodies import BytesBody
from tests.unit.engine.conftest import ALICE, BOB


async def put(engine: Engine, upload_id: str, offset: int, data: bytes) -> None:
    await put_chunk(engine, ALICE, upload_id, ByteRange(offset, len(data)), BytesBody(data))


async def test_the_largest_size_is_taken_and_no_byte_more(engine: Engine) -> None:
    engine.limits = Limits(max_upload_size=1000)
    assert (await uploads.create_upload(engine, ALICE, size=1000)).size == 1000
    with pytest.raises(UploadTooLarge):
        await uploads.create_upload(engine, ALICE, size=1001)


async def test_an_upload_of_undeclared_size_grows_up_to_the_quota(engine: Engine) -> None:
    engine.limits = Limits(quota=1000)
    await uploads.create_upload(engine, ALICE, size=200)
    upload = await uploads.create_upload(engine, ALICE, size=None)
    await put(engine, upload.id, 0, bytes(500))
    with pytest.raises(QuotaExceeded):
        await put(engine, upload.id, 500, bytes(301))
    await put(engine, upload.id, 500, bytes(300))  # what it holds already is counted once
    assert (await engine.catalog.usage("alice")).reserved == 1000


@pytest.mark.parametrize("kind", ["memory", "local"])
async def test_a_refused_creation_gives_its_room_back(engine: Engine) -> None:
    engine.limits = Limits(quota=1000)
    kept = await uploads.create_upload(engine, ALICE, size=1000)
    with pytest.raises(QuotaExceeded):
        await uploads.create_upload(engine, ALICE, size=1)
    assert list(engine.storage.list_staged()) == [kept.id]


async def test_a_creation_cancelled_after_its_record_is_whole(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is gone, the transaction is not: the file must not go without its row."""
    create = engine.catalog.create_upload
    made: list[str] = []

    async def cut_off(upload: Any, limits: Any) -> None:
        await create(upload, limits)
        made.append(upload.id)
        raise asyncio.CancelledError

    monkeypatch.setattr(engine.catalog, "create_upload", cut_off)
    with pytest.raises(asyncio.CancelledError):
        await uploads.create_upload(engine, ALICE, size=10)
    await put(engine, made[0], 0, bytes(10))
    assert (await uploads.get_upload(engine, ALICE, made[0])).received == 10


async def test_where_to_go_on_is_told_to_the_owner_alone(engine: Engine) -> None:
    upload = await uploads.create_upload(engine, ALICE, size=10)
    await put(engine, upload.id, 0, bytes(4))
    assert (await uploads.get_frontier(engine, ALICE, upload.id))[1] == 4
    with pytest.raises(NotFound):
        await uploads.get_frontier(engine, BOB, upload.id)
    with pytest.raises(NotFound):
        await uploads.set_size(engine, BOB, upload.id, 5)


async def test_nothing_is_made_of_parts_with_holes_or_of_others_parts(engine: Engine) -> None:
    whole, holed = [await uploads.create_upload(engine, ALICE, size=10) for _ in range(2)]
    await put(engine, whole.id, 0, bytes(10))
    await put(engine, holed.id, 5, bytes(5))
    with pytest.raises(IncompleteUpload):
        await concatenate(engine, ALICE, [whole.id, holed.id])
    with pytest.raises(NotFound):
        await concatenate(engine, BOB, [whole.id])
    assert (await uploads.list_uploads(engine, ALICE)).count == 2
    assert (await uploads.list_uploads(engine, BOB)).count == 0
