"""Records to test with, and what must hold of an upload's rows whatever happened to them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from partwise.core.records import Chunk, Task, Upload
from partwise.core.state import UploadState
from partwise.engine.ports import Catalog, OwnerLimits

NOW = datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC)
UNLIMITED = OwnerLimits()
SHA_A, SHA_B = "a" * 64, "b" * 64


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def make_upload(
    upload_id: str = "u1",
    *,
    owner: str = "ann",
    size: int | None = 100,
    created: datetime = NOW,
    filename: str | None = None,
    media_type: str | None = None,
    state: UploadState = UploadState.OPEN,
) -> Upload:
    return Upload(
        id=upload_id,
        owner=owner,
        size=size,
        created=created,
        updated=created,
        filename=filename,
        media_type=media_type,
        state=state,
    )


def make_task(task_id: str = "t1", upload_id: str = "u1", *, owner: str = "ann", created: datetime = NOW) -> Task:
    return Task(id=task_id, owner=owner, upload_id=upload_id, created=created)


async def record(
    catalog: Catalog,
    offset: int,
    size: int,
    *,
    upload_id: str = "u1",
    now: datetime = NOW,
    max_chunks: int = 100_000,
    replace: bool = False,
    sha256: str | None = None,
    verified: bool = False,
) -> Chunk:
    chunk = Chunk(offset=offset, size=size, sha256=sha256, verified=verified)
    return await catalog.record_chunk(upload_id, chunk, now=now, max_chunks=max_chunks, replace=replace)


async def covered(catalog: Catalog, upload_id: str = "u1", *, owner: str = "ann", filename: str | None = None) -> None:
    """An open upload of 100 bytes, all of them recorded in two chunks."""
    await catalog.create_upload(make_upload(upload_id, owner=owner, filename=filename), UNLIMITED)
    await record(catalog, 40, 60, upload_id=upload_id)
    await record(catalog, 0, 40, upload_id=upload_id)


async def committed(
    catalog: Catalog,
    upload_id: str = "u1",
    *,
    owner: str = "ann",
    sha256: str = SHA_A,
    artifact_id: str = "a1",
    now: datetime = NOW,
    filename: str | None = None,
) -> str:
    """An upload that went all the way; returns the id of its owner's link."""
    await covered(catalog, upload_id, owner=owner, filename=filename)
    await catalog.begin_commit(upload_id, sha256, make_task(f"t-{upload_id}", upload_id, owner=owner), now)
    return (await catalog.complete_commit(upload_id, sha256, artifact_id, now, generation=0)).id


async def check_invariants(catalog: Catalog, upload_id: str = "u1") -> None:
    """Rows do not overlap, lie within the size, have numbers of their own, and the counters tell the truth."""
    upload = await catalog.get_upload(upload_id)
    chunks = await catalog.list_chunks(upload_id)
    end = 0
    for chunk in chunks:
        assert chunk.offset >= end
        end = chunk.range.end
    assert upload.size is None or end <= upload.size
    assert len({chunk.seq for chunk in chunks}) == len(chunks)
    assert all(0 < chunk.seq <= upload.seq for chunk in chunks)
    assert upload.chunk_count == len(chunks)
    assert upload.received == sum(chunk.size for chunk in chunks)
