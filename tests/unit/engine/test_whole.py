"""Digests of whole files by other algorithms, also while another request completes the upload."""

from __future__ import annotations

import hashlib

import pytest

from partwise.core.errors import NotFound
from partwise.core.ranges import ByteRange
from partwise.core.state import UploadState
from partwise.engine import uploads
from partwise.engine.chunks import put_chunk
from partwise.engine.commit import commit
from partwise.engine.engine import Engine
from partwise.engine.whole import digests_of, gaps_of
from tests.support.bodies import BytesBody, sha256
from tests.unit.engine.conftest import ALICE

DATA = bytes(range(256)) * 32
HALF = len(DATA) // 2
NAMES = ("md5", "sha1", "sha256")
WANTED = {name: hashlib.new(name, DATA).hexdigest() for name in NAMES}


async def begun(engine: Engine) -> str:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    for span in (ByteRange(0, HALF), ByteRange(HALF, HALF)):
        await put_chunk(engine, ALICE, upload.id, span, BytesBody(DATA[span.offset : span.end]))
    return upload.id


async def test_of_an_upload_and_of_what_it_becomes(engine: Engine) -> None:
    upload_id = await begun(engine)
    assert await digests_of(engine, await uploads.get_upload(engine, ALICE, upload_id), NAMES) == WANTED
    await commit(engine, ALICE, upload_id, sha256(DATA), wait=30)
    upload = await uploads.get_upload(engine, ALICE, upload_id)
    assert upload.state is UploadState.COMPLETED
    assert await digests_of(engine, upload, NAMES) == WANTED


async def test_of_an_upload_that_is_completed_while_it_is_read(engine: Engine) -> None:
    """The bytes have moved away: they are read from the beginning where they are now."""
    upload_id = await begun(engine)
    before = await uploads.get_upload(engine, ALICE, upload_id)
    await commit(engine, ALICE, upload_id, sha256(DATA), wait=30)
    assert await digests_of(engine, before, NAMES) == WANTED


async def test_of_an_upload_that_is_deleted_while_it_is_read(engine: Engine) -> None:
    upload_id = await begun(engine)
    before = await uploads.get_upload(engine, ALICE, upload_id)
    await uploads.delete_upload(engine, ALICE, upload_id)
    with pytest.raises(NotFound):
        await digests_of(engine, before, NAMES)


async def test_gaps(engine: Engine) -> None:
    upload = await uploads.create_upload(engine, ALICE, size=len(DATA))
    await put_chunk(engine, ALICE, upload.id, ByteRange(100, 10), BytesBody(DATA[:10]))
    gaps = await gaps_of(engine, ALICE, await uploads.get_upload(engine, ALICE, upload.id))
    assert gaps.first == [ByteRange(0, 100), ByteRange(110, len(DATA) - 110)]
    whole = await uploads.get_upload(engine, ALICE, await begun(engine))
    assert (await gaps_of(engine, ALICE, whole)).count == 0
