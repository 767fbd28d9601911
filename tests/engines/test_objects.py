"""The engine on PostgreSQL and an object store: what objects have of their own, and what becomes of each of them."""

from __future__ import annotations

import asyncio
import random
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from partwise.catalog import open_catalog
from partwise.catalog.postgres import PostgresCatalog
from partwise.core.errors import BodyInterrupted, BytesLost, NotFound, StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact, Principal, TaskState, Upload
from partwise.engine import artifacts, uploads
from partwise.engine.artifacts import store_file
from partwise.engine.check import drop_damaged
from partwise.engine.chunks import Early, put_chunk
from partwise.engine.commit import commit
from partwise.engine.engine import Engine
from partwise.engine.finish import concatenate, finish
from partwise.engine.ports import Lock
from partwise.engine.signatures import find_signature
from partwise.storage.objects import writer as objects_writer
from partwise.storage.objects.housekeeping import Housekeeping
from partwise.storage.objects.place import MARKER
from partwise.storage.objects.storage import ObjectStorage
from partwise.storage.s3 import streams as s3_streams
from partwise.storage.s3.address import S3Address
from partwise.storage.s3.store import S3Store, open_url
from tests.engines.postgres import Postgres
from tests.engines.seaweed import Seaweed
from tests.support.bodies import BytesBody, sha256
from tests.support.proxy import Proxy
from tests.support.until import until

# A connection that botocore's pool drops in the middle of a request is closed by the collector, which warns of it.
pytestmark = [
    pytest.mark.engines,
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

ANN = Principal("ann")
MIB = 1 << 20
DATA = random.Random(11).randbytes(12 * MIB + 5)


@dataclass
class Server:
    """An engine as one of several servers has it."""

    engine: Engine
    storage: ObjectStorage
    catalog: PostgresCatalog
    stopped: bool = False

    async def stop(self) -> None:
        """End it, once."""
        if not self.stopped:
            self.stopped = True
            await self.engine.stop()

    def house(self, later: timedelta = timedelta(0), **settings: object) -> Housekeeping:
        """Its housekeeping, at a later time."""
        given = {"grace": timedelta(hours=1), "margin": timedelta(hours=1)} | settings
        return Housekeeping(
            self.storage.place,
            self.catalog,
            self.storage._run,
            clock=lambda: datetime.now(UTC) + later,
            **given,  # type: ignore[arg-type]
        )


@pytest.fixture
def bucket(s3_url: str) -> Iterator[S3Store]:
    with closing(S3Store(S3Address.parse(s3_url))) as bucket:
        yield bucket


@pytest.fixture
async def servers(postgres_url: str, s3_url: str) -> AsyncIterator[Callable[..., asyncio.Future[Server]]]:
    """Starts servers that share a catalog and a bucket."""
    async with AsyncExitStack() as stack:

        async def start(url: str = s3_url, **settings: object) -> Server:
            return await stack.enter_async_context(_server(postgres_url, url, **settings))

        yield start  # type: ignore[misc]


@asynccontextmanager
async def _server(postgres_url: str, s3_url: str, **settings: object) -> AsyncIterator[Server]:
    catalog = open_catalog(postgres_url)
    assert isinstance(catalog, PostgresCatalog)
    storage = ObjectStorage(open_url(s3_url), catalog, pause=3600, **settings)  # type: ignore[arg-type]
    engine = Engine(storage, catalog)
    server = Server(engine, storage, catalog)
    try:
        await engine.start()
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def server(servers: Callable[..., asyncio.Future[Server]]) -> Server:
    return await servers()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as stores allow."""
    monkeypatch.setattr(objects_writer, "WHOLE_SIZE", 5 * MIB)
    monkeypatch.setattr(objects_writer, "PART_SIZE", 5 * MIB)


def keys(bucket: S3Store, below: str = "") -> list[str]:
    return [listed.key for listed in bucket.list(below) if listed.key != MARKER]


async def create(server: Server, data: bytes = DATA) -> Upload:
    return await uploads.create_upload(server.engine, ANN, size=len(data))


async def put(server: Server, upload: Upload, span: ByteRange, data: bytes = DATA, **body: object) -> None:
    piece = BytesBody(data[span.offset : span.end], **body)  # type: ignore[arg-type]
    await put_chunk(server.engine, ANN, upload.id, span, piece)


async def store(server: Server, data: bytes = DATA, step: int = 5 * MIB) -> Artifact:
    upload = await create(server, data)
    for offset in range(0, len(data), step):
        await put(server, upload, ByteRange(offset, min(step, len(data) - offset)), data)
    return await done(server, upload, data)


async def done(server: Server, upload: Upload, data: bytes = DATA) -> Artifact:
    task = await commit(server.engine, ANN, upload.id, sha256(data), wait=30)
    assert (task.state, task.error) == (TaskState.COMPLETED, None)
    assert task.artifact_id is not None
    return await artifacts.get_artifact(server.engine, ANN, task.artifact_id)


async def read(server: Server, artifact: Artifact, span: ByteRange | None = None) -> bytes:
    whole = ByteRange(0, artifact.size)
    return b"".join([block async for block in artifacts.read_artifact(server.engine, artifact, span or whole)])


async def test_a_commit_moves_no_byte(server: Server, bucket: S3Store) -> None:
    upload = await create(server)
    for offset in range(0, len(DATA), 5 * MIB):
        await put(server, upload, ByteRange(offset, min(5 * MIB, len(DATA) - offset)))
    before = keys(bucket)
    artifact = await done(server, upload)
    assert len(before) == 3
    assert keys(bucket) == before
    segments = await server.catalog.list_segments(artifact.sha256)
    assert sorted(segment.ref for segment in segments) == before
    assert await server.storage.verify_artifact(artifact.sha256)


@pytest.mark.parametrize("span", [(0, 1), (5 * MIB - 1, 2), (5 * MIB, 5 * MIB), (3, 12 * MIB), (12 * MIB + 4, 1)])
async def test_ranges_are_read_across_segments(server: Server, span: tuple[int, int]) -> None:
    wanted = ByteRange(*span)
    assert await read(server, await store(server), wanted) == DATA[wanted.offset : wanted.end]


async def test_the_chunk_recorded_last_wins_and_the_other_is_deleted(server: Server, bucket: S3Store) -> None:
    upload = await create(server)
    span = ByteRange(0, len(DATA))
    await put(server, upload, span, bytes(len(DATA)))
    (old,) = keys(bucket)
    await put(server, upload, span)
    assert (await server.catalog.get_upload(upload.id)).epoch == upload.epoch + 1
    artifact = await done(server, upload)
    assert await server.house().delete_garbage() == 0, "someone may still be reading it"
    assert await server.house(timedelta(minutes=2)).delete_garbage() == 1
    assert old not in keys(bucket)
    assert await read(server, artifact) == DATA


async def test_a_repeat_changes_nothing(server: Server, bucket: S3Store) -> None:
    upload = await create(server)
    span = ByteRange(0, len(DATA))
    await put(server, upload, span)
    before = keys(bucket)
    received = await put_chunk(server.engine, ANN, upload.id, span, BytesBody(DATA))
    assert received.unchanged
    assert keys(bucket) == before


async def test_a_cut_replacement_leaves_the_chunk(server: Server, bucket: S3Store) -> None:
    upload = await create(server)
    span = ByteRange(0, len(DATA))
    await put(server, upload, span)
    with pytest.raises(BodyInterrupted):
        await put(server, upload, span, bytes(len(DATA)), cut_after=7 * MIB)
    assert len(keys(bucket)) == 1
    assert await read(server, await done(server, upload)) == DATA


@pytest.mark.usefixtures("small_parts")
async def test_what_came_of_a_cut_body_is_kept(server: Server) -> None:
    upload = await create(server)
    whole = ByteRange(0, len(DATA))
    with pytest.raises(BodyInterrupted):
        await put_chunk(server.engine, ANN, upload.id, whole, BytesBody(DATA, cut_after=7 * MIB), early=Early.KEEP)
    (chunk,) = await server.engine.catalog.list_chunks(upload.id)
    assert chunk.range == ByteRange(0, 7 * MIB)
    await put(server, upload, ByteRange(7 * MIB, len(DATA) - 7 * MIB))
    assert await read(server, await done(server, upload)) == DATA


async def test_what_came_of_a_body_smaller_than_a_part_is_kept(server: Server) -> None:
    upload = await create(server)
    body = BytesBody(DATA[:MIB], cut_after=9999)
    with pytest.raises(BodyInterrupted):
        await put_chunk(server.engine, ANN, upload.id, ByteRange(0, MIB), body, early=Early.KEEP)
    (chunk,) = await server.engine.catalog.list_chunks(upload.id)
    assert chunk.range == ByteRange(0, 9999)


async def test_uploads_are_joined_within_the_store(server: Server) -> None:
    parts = []
    for start, stop in ((0, 3 * MIB), (3 * MIB, 3 * MIB + 1), (3 * MIB + 1, len(DATA))):
        part = await uploads.create_upload(server.engine, ANN, size=stop - start)
        span = ByteRange(0, stop - start)
        await put_chunk(server.engine, ANN, part.id, span, BytesBody(DATA[start:stop]))
        parts.append(part.id)
    joined = await concatenate(server.engine, ANN, parts)
    joined = await finish(server.engine, ANN, joined.id, wait=30)
    assert joined.artifact_id is not None
    assert await read(server, await artifacts.get_artifact(server.engine, ANN, joined.artifact_id)) == DATA
    for part_id in parts:
        with pytest.raises(NotFound):
            await uploads.get_upload(server.engine, ANN, part_id)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("size", [0, 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, len(DATA)])
async def test_a_file_whose_size_is_not_known_is_kept_whole(server: Server, size: int) -> None:
    artifact = await store_file(server.engine, ANN, BytesBody(DATA[:size]), bound=len(DATA))
    assert (artifact.size, artifact.sha256) == (size, sha256(DATA[:size]))
    if size:
        assert await read(server, artifact) == DATA[:size]
    assert await server.storage.verify_artifact(artifact.sha256)


async def test_stores_without_trailing_checksums_are_checked_by_md5(
    servers: Callable[..., asyncio.Future[Server]], s3_url: str
) -> None:
    server = await servers(f"{s3_url}&checksum=md5")
    assert await read(server, await store(server)) == DATA


async def test_objects_go_with_their_upload(server: Server, bucket: S3Store) -> None:
    upload = await create(server)
    await put(server, upload, ByteRange(0, MIB))
    await uploads.delete_upload(server.engine, ANN, upload.id)
    assert len(keys(bucket)) == 1
    assert await server.house(timedelta(hours=2)).delete_garbage() == 1
    assert keys(bucket) == []


async def test_objects_stay_with_their_artifact_until_its_last_link_goes(server: Server, bucket: S3Store) -> None:
    artifact, again = await store(server), await store(server, step=6 * MIB)
    assert artifact.id == again.id
    for upload in (await uploads.list_uploads(server.engine, ANN)).items:
        await uploads.delete_upload(server.engine, ANN, upload.id)
    await server.house(timedelta(hours=2)).delete_garbage()
    assert len(keys(bucket)) == 3, "of the second upload nothing was needed"
    assert await read(server, artifact) == DATA
    await artifacts.delete_artifact(server.engine, ANN, artifact.id)
    await server.house(timedelta(hours=2)).delete_garbage()
    assert keys(bucket) == []
    with pytest.raises(NotFound):
        await read(server, artifact)


@pytest.mark.usefixtures("small_parts")
async def test_many_small_segments_become_one_object(server: Server, bucket: S3Store) -> None:
    artifact = await store(server, step=MIB - 1)
    assert len(keys(bucket, "chunks/")) == 13
    assert await server.house().merge() == 1
    (segment,) = await server.catalog.list_segments(artifact.sha256)
    assert keys(bucket, "artifacts/") == [segment.ref]
    await server.house(timedelta(hours=2)).delete_garbage()
    assert keys(bucket) == [segment.ref]
    assert await read(server, artifact) == DATA
    assert await server.house().merge() == 0


async def test_one_server_of_the_cluster_merges(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await store(server, step=MIB)
    one, another = server.house(), server.house()
    assert [await house.merge_when_due() for house in (one, another, one)] == [1, 0, 0]
    second = await store(server, DATA[1:], step=MIB)
    assert await server.house(timedelta(seconds=30)).merge_when_due() == 0
    asked: list[datetime | None] = []
    found = server.catalog.scattered_artifacts

    async def asks(*, average: int, limit: int, since: datetime | None = None) -> list[str]:
        asked.append(since)
        return await found(average=average, limit=limit, since=since)

    later = server.house(timedelta(minutes=5))
    monkeypatch.setattr(server.catalog, "scattered_artifacts", asks)
    assert await later.merge_when_due() == 1
    assert asked[0] is not None, "it does not look at all that was ever stored"
    assert [len(await server.catalog.list_segments(one.sha256)) for one in (first, second)] == [1, 1]
    # What is old is not looked at: neither is scattered any more, so nobody misses it.
    ahead = datetime.now(UTC) + timedelta(hours=1)
    third = await store(server, DATA[2:], step=MIB)
    assert await found(average=8 * MIB, limit=10, since=ahead) == []
    assert await found(average=8 * MIB, limit=10, since=ahead - timedelta(hours=2)) == [third.sha256]


async def test_a_slow_download_goes_on_in_the_object_that_was_made_meanwhile(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_streams, "AHEAD_OBJECTS", 1)
    artifact = await store(server, step=MIB)
    blocks = artifacts.read_artifact(server.engine, artifact, ByteRange(0, artifact.size))
    read = [await anext(blocks), await anext(blocks)]
    assert await server.house().merge() == 1
    assert await server.house(timedelta(hours=2)).delete_garbage() == 13
    read += [block async for block in blocks]
    assert b"".join(read) == DATA


async def test_an_object_that_the_store_has_lost_is_told(server: Server, bucket: S3Store) -> None:
    artifact, whole = await store(server, step=MIB), await store(server, b"another")
    segments = await server.catalog.list_segments(artifact.sha256)
    bucket.delete(segments[5].ref)
    with pytest.raises(BytesLost):
        await read(server, artifact)
    assert not await server.storage.verify_artifact(artifact.sha256)
    assert await server.storage.verify_artifact(whole.sha256)
    await server.storage.delete_artifact(artifact.sha256, damaged=True)
    assert await read(server, await store(server, step=4 * MIB)) == DATA


async def test_one_that_cannot_be_merged_is_in_nobodys_way(
    server: Server, bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = await store(server, step=MIB // 2)  # the most scattered
    await store(server, DATA[1:], step=MIB)
    bucket.delete((await server.catalog.list_segments(damaged.sha256))[-1].ref)
    house = server.house()
    assert await house.merge(limit=1) == 0
    assert await house.merge(limit=1) == 1, "the other has its turn"
    asked: list[str] = []
    monkeypatch.setattr(server.storage.store, "begin", asked.append)
    assert await house.merge() == 0
    assert asked == [], "it is not read again and again"


async def test_a_store_that_is_away_is_no_damage(
    servers: Callable[..., asyncio.Future[Server]], s3_url: str, seaweed_server: Seaweed
) -> None:
    with Proxy(seaweed_server.port) as proxy:
        server = await servers(s3_url.replace(seaweed_server.endpoint, proxy.url))
        artifact = await store(server)
        proxy.cut()
        proxy.instead = lambda piece: b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        with pytest.raises(StorageFailed):
            await server.storage.verify_artifact(artifact.sha256)
        with pytest.raises(StorageFailed):
            await drop_damaged(server.engine, artifact.sha256)
        proxy.instead = lambda piece: None
        assert await read(server, artifact) == DATA


@pytest.mark.usefixtures("small_parts")
async def test_large_segments_are_merged_inside_the_store(server: Server, bucket: S3Store) -> None:
    artifact = await store(server, step=10 * MIB)
    assert await server.house().merge() == 1  # 6 MiB on average
    assert await server.storage.verify_artifact(artifact.sha256)
    assert len(keys(bucket, "artifacts/")) == 1


async def test_an_artifact_that_goes_while_it_is_merged_leaves_nothing(
    server: Server, bucket: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = await store(server, step=MIB)
    replace = server.catalog.replace_segments

    async def deleted_before(*arguments: object) -> bool:
        await artifacts.delete_artifact(server.engine, ANN, artifact.id)
        return await replace(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(server.catalog, "replace_segments", deleted_before)
    assert await server.house().merge() == 0
    assert keys(bucket, "artifacts/") == []


async def test_what_no_record_knows_is_deleted_once_it_is_old(server: Server, bucket: S3Store) -> None:
    upload = await create(server)
    await put(server, upload, ByteRange(0, MIB))
    artifact = await store(server, step=MIB)
    known = keys(bucket)
    gone, others = uuid.uuid4(), (f"chunks/chunks/{uuid.uuid4()}/{'0' * 32}", "chunks/readme", "artifacts/x/y")
    for name in (
        f"chunks/{upload.id}/{'0' * 32}",
        f"chunks/{gone}/{'1' * 32}",
        f"artifacts/{artifact.sha256}/{'2' * 32}",
    ):
        bucket.put(name, 0).finish()
    for name in others:  # a prefix that continues this one's, and what somebody put there
        bucket.put(name, 0).finish()
    bucket.begin(f"chunks/{gone}/{'3' * 32}")
    assert await server.house().reap() == 0
    assert await server.house(timedelta(hours=2)).reap() == 3
    assert set(keys(bucket)) == {*known, *others}
    assert len(list(bucket.list_unfinished())) == 1, "someone may still be sending it, slowly"
    assert await server.house(timedelta(hours=8)).reap() == 1
    assert list(bucket.list_unfinished()) == []


async def test_signatures_of_artifacts_that_are_gone_are_deleted_once_they_are_old(
    server: Server, bucket: S3Store
) -> None:
    artifact = await store(server, step=MIB)
    signed = await find_signature(server.engine, ANN, artifact.id, wait=20)
    assert signed.signature is not None
    around = int(artifact.sha256, 16)
    gone = [f"signatures/{digest:064x}" for digest in (0, around - 1, around + 1, 2**256 - 1)]
    for name in (*gone, "signatures/readme", f"signatures/{artifact.sha256}/other"):
        bucket.put(name, 0).finish()
    assert await server.house().reap() == 0
    assert await server.house(timedelta(hours=2)).reap() == 4
    left = {"signatures/readme", f"signatures/{artifact.sha256}/other", f"signatures/{artifact.sha256}"}
    assert set(keys(bucket, "signatures/")) == left
    await artifacts.delete_artifact(server.engine, ANN, artifact.id)
    assert f"signatures/{artifact.sha256}" not in keys(bucket, "signatures/")


async def test_one_server_begins_and_another_ends(servers: Callable[..., asyncio.Future[Server]]) -> None:
    one, two = await servers(), await servers()
    upload = await create(one)
    spans = [ByteRange(offset, min(MIB, len(DATA) - offset)) for offset in range(0, len(DATA), MIB)]
    await asyncio.gather(*(put((one, two)[number % 2], upload, span) for number, span in enumerate(spans)))
    task = await commit(one.engine, ANN, upload.id, sha256(DATA))
    await one.stop()  # in the middle of it, perhaps
    task = await commit(two.engine, ANN, upload.id, sha256(DATA), wait=30)
    assert task.state is TaskState.COMPLETED
    assert task.artifact_id is not None
    assert await read(two, await artifacts.get_artifact(two.engine, ANN, task.artifact_id)) == DATA


async def taken_once_free(server: Server, name: str) -> Lock:
    """The lock of a name, as soon as nobody has it."""
    held: list[Lock] = []

    async def take() -> bool:
        lock = await server.catalog.try_name(name)
        held.extend([] if lock is None else [lock])
        return bool(held)

    await until(take, f"the lock of {name} becomes free")
    return held[0]


async def test_a_name_has_one_holder_among_all_servers(
    servers: Callable[..., asyncio.Future[Server]], postgres_server: Postgres
) -> None:
    one, two = await servers(), await servers()
    held = await one.catalog.try_name("x")
    assert held is not None
    assert await two.catalog.try_name("x") is None
    assert await one.catalog.try_name("x") is None, "not even twice in one process"
    other = await two.catalog.try_name("y")
    assert other is not None
    held.release()
    held.release()
    taken = await taken_once_free(two, "x")
    # The connection breaks: its locks are free, whatever their holders believe.
    kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'"
    await asyncio.to_thread(postgres_server.execute, kill)
    again = await taken_once_free(one, "x")
    with pytest.raises(StorageFailed):
        await two.catalog.try_name("z")
    taken.release()
    assert await two.catalog.try_name("x") is None
    again.release()


async def test_a_presigned_url_serves_the_whole_artifact(servers: Callable[..., asyncio.Future[Server]]) -> None:
    server = await servers(redirect=timedelta(minutes=1))
    artifact = await store(server, step=MIB)
    headers = {"Content-Type": "text/x-test", "Content-Disposition": 'attachment; filename="a b"', "ETag": "no"}
    assert await server.storage.artifact_url(artifact.sha256, artifact.size, headers) is None
    await server.house().merge()
    url = await server.storage.artifact_url(artifact.sha256, artifact.size, headers)
    assert url is not None

    def get() -> tuple[bytes, str | None, str | None]:
        with urllib.request.urlopen(url) as answer:
            return answer.read(), answer.headers["Content-Type"], answer.headers["Content-Disposition"]

    assert await asyncio.to_thread(get) == (DATA, "text/x-test", 'attachment; filename="a b"')


async def test_a_bucket_that_is_not_there_is_told(servers: Callable[..., asyncio.Future[Server]], s3_url: str) -> None:
    with pytest.raises(StorageFailed, match="NoSuchBucket"):
        await servers(s3_url.replace("s3://partwise/", "s3://elsewhere/"))


@pytest.mark.parametrize(
    "url", ["s3:///x", "http://bucket/", "s3://b?color=red", "s3://b?checksum=sha3", "s3://b?endpoint=x"]
)
def test_urls_that_are_no_storages(url: str) -> None:
    with pytest.raises(ValueError, match="storage URL"):
        S3Address.parse(url)
