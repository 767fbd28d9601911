"""The engine against the model: any sequence of calls that Hypothesis finds, and the truth after each of them.

``pytest tests/model --hypothesis-profile=long`` tries fifty times as many.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Coroutine
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from partwise.catalog import open_catalog
from partwise.core.errors import (
    BodyInterrupted,
    ChunkDigestMismatch,
    NotFound,
    PartwiseError,
    QuotaExceeded,
    Superseded,
    WrongState,
)
from partwise.core.ranges import ByteRange, missing_ranges
from partwise.core.records import Chunk, Principal, TaskState, Upload
from partwise.core.state import UploadState
from partwise.engine import artifacts, uploads
from partwise.engine.chunks import Early, put_chunk
from partwise.engine.commit import commit
from partwise.engine.context import Limits
from partwise.engine.copying import CopyRange, CopyState, copy_ranges
from partwise.engine.engine import Engine
from partwise.engine.expiry import expire
from partwise.engine.ports import Storage
from partwise.storage.local import LocalStorage
from partwise.testing.memory import MemoryStorage
from tests.conftest import Engines
from tests.model.model import ModelChunk, ModelUpload, Sent
from tests.support.bodies import BytesBody, sha256
from tests.support.engines import Clock, catalog_of, new_data_folder, open_engine, open_objects
from tests.support.folders import fast_folder
from tests.support.missing import missing

T = TypeVar("T")

USERS = (Principal("alice"), Principal("bob"))
WAIT = 60.0
#: What each user may hold: a few uploads of the sizes below.
QUOTA = 200

LIMITS = Limits(quota=QUOTA)

#: Sizes and offsets that often meet: small, and mostly on a grid.
sizes = st.sampled_from([0, 1, 8, 24, 40]) | st.integers(0, 48)
offsets = st.sampled_from([0, 8, 16, 24, 32]) | st.integers(0, 50)
lengths = st.sampled_from([8, 16, 24]) | st.integers(1, 50)
#: Contents of which two uploads often have the same.
seeds = st.integers(0, 2)
#: The position of a byte that is another than it should be; None: all are right.
damages = st.none() | st.integers(0, 49)


def content_of(seed: int, size: int) -> bytes:
    return bytes((seed * 97 + position * 31) % 251 for position in range(size))


def damaged(data: bytes, position: int | None) -> bytes:
    if position is None or not data:
        return data
    position %= len(data)
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


async def outcome(call: Awaitable[T]) -> T | PartwiseError:
    try:
        return await call
    except PartwiseError as error:
        return error


class EngineAgainstModel(RuleBasedStateMachine):
    """One engine, restarted now and then, and the model of all that it was told."""

    ids = Bundle("ids")

    in_memory = False
    #: Makes a catalog in PostgreSQL and a place in an object store, where these are to be used.
    object_engines: Engines | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="model-", dir=fast_folder())
        self.data = new_data_folder(Path(self.folder.name) / "data")
        self.clock = Clock()
        self.storage: Storage | None = MemoryStorage() if self.in_memory else None
        self.urls = self.object_engines() if self.object_engines else None
        self.boots = 0
        self.uploads: dict[str, ModelUpload] = {}
        self.artifacts: dict[tuple[str, str], bytes] = {}
        self.engine = self.started()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def started(self) -> Engine:
        if self.urls:
            engine, _, _ = open_objects(self.urls, clock=self.clock, limits=LIMITS)
            self.run(engine.start())
            return engine
        files = LocalStorage(self.data, boot=f"boot {self.boots}")
        engine = open_engine(self.data, storage=self.storage or files, clock=self.clock, limits=LIMITS)
        self.run(engine.start())
        return engine

    def teardown(self) -> None:
        self.run(self.engine.stop())
        self.runner.close()
        self.folder.cleanup()

    def who(self, upload: ModelUpload) -> Principal:
        return next(user for user in USERS if user.name == upload.owner)

    # what clients do

    @rule(target=ids, size=sizes, seed=seeds, user=st.sampled_from(USERS), declares=st.booleans())
    def create(self, size: int, seed: int, user: Principal, declares: bool) -> str:
        content = content_of(seed, size)
        declared = sha256(content) if declares else None
        known = declared is not None and (user.name, declared) in self.artifacts
        got = self.run(outcome(uploads.create_upload(self.engine, user, size=size, sha256=declared)))
        if not known and self.held(user.name) + size > QUOTA:
            self._compare(got, QuotaExceeded)
            return "refused"
        assert isinstance(got, Upload)
        found = got
        upload = ModelUpload(found.id, user.name, size, content, declared, self.clock.now, in_place=not self.urls)
        if known:
            upload.sha256, upload.completed = declared, self.clock.now
        self.uploads[found.id] = upload
        return found.id

    def held(self, user: str, *, without: str | None = None) -> int:
        """What counts against the quota of a user."""
        unfinished = [u.size for u in self.uploads.values() if u.owner == user and u.sha256 is None and u.id != without]
        return sum(unfinished) + sum(len(data) for (owner, _), data in self.artifacts.items() if owner == user)

    @rule(
        size=sizes,
        seed=seeds,
        user=st.sampled_from(USERS),
        extra=st.integers(0, 5),
        block=st.integers(1, 20),
        cut=st.none() | st.none() | st.integers(0, 47),
        digest=st.sampled_from([None, "right", "wrong"]),
    )
    def store(
        self, size: int, seed: int, user: Principal, extra: int, block: int, cut: int | None, digest: str | None
    ) -> None:
        """A file in one request."""
        data = content_of(seed, size)
        cut = cut if cut is not None and cut < size else None
        declared = {None: None, "right": sha256(data), "wrong": sha256(b"other" + data)}[digest]
        body = BytesBody(data, late_sha256=declared, block=block, cut_after=cut)
        got = self.run(outcome(artifacts.store_file(self.engine, user, body, bound=size + extra)))
        if self.held(user.name) + size + extra > QUOTA:
            self._compare(got, QuotaExceeded)
        elif cut is not None:
            self._compare(got, BodyInterrupted)
        elif digest == "wrong":
            self._compare(got, ChunkDigestMismatch)
        else:
            self._compare(got, None)
            self.artifacts[user.name, sha256(data)] = data

    @rule(
        id_=ids,
        offset=offsets,
        size=lengths,
        damage=damages,
        block=st.integers(1, 20),
        extra=st.sampled_from([0, 0, 0, 0, -1, 1, 5]),
        cut=st.none() | st.none() | st.integers(0, 48),
        digest=st.sampled_from([None, None, "right", "wrong"]),
        partial=st.booleans(),
    )
    def put(
        self,
        id_: str,
        offset: int,
        size: int,
        damage: int | None,
        block: int,
        extra: int,
        cut: int | None,
        digest: str | None,
        partial: bool,
    ) -> None:
        upload = self.uploads.get(id_)
        data = damaged(self._right(id_, offset, size), damage)
        data = data[:extra] if extra < 0 else data + bytes(extra)
        sent = Sent(
            offset=offset,
            size=size,
            data=data,
            block=block,
            cut=cut if cut is not None and cut < len(data) else None,
            digest={None: None, "right": sha256(data), "wrong": sha256(b"other" + data)}[digest],
            partial=partial,
        )
        got = self.run(outcome(self._put(id_, sent)))
        expected = NotFound if upload is None else upload.put(sent, self.clock.now)
        self._compare(got, expected)

    def _right(self, id_: str, offset: int, size: int) -> bytes:
        content = self.uploads[id_].content if id_ in self.uploads else b""
        return content[offset : offset + size].ljust(size, b"\0")

    async def _put(self, id_: str, sent: Sent) -> object:
        upload = self.uploads.get(id_)
        who = self.who(upload) if upload else USERS[0]
        body = BytesBody(sent.data, sha256=sent.digest, block=sent.block, cut_after=sent.cut)
        early = Early.KEEP if sent.partial else Early.REFUSE
        return await put_chunk(self.engine, who, id_, sent.span, body, early=early)

    @rule(
        id_=ids,
        data=st.data(),
        user=st.sampled_from(USERS),
        places=st.lists(st.tuples(offsets, lengths, st.integers(0, 40)), min_size=1, max_size=4),
    )
    def copy(self, id_: str, data: st.DataObject, user: Principal, places: list[tuple[int, int, int]]) -> None:
        """Ranges of an artifact, one's own or another's, become chunks."""
        if not self.artifacts:
            return
        upload = self.uploads.get(id_)
        owner, digest = data.draw(st.sampled_from(sorted(self.artifacts)))
        who = next(one for one in USERS if one.name == owner)
        source = self.run(artifacts.list_artifacts(self.engine, who, sha256=digest)).items[0]
        ranges = [CopyRange(ByteRange(offset, size), source.id, at) for offset, size, at in places]
        got = self.run(outcome(copy_ranges(self.engine, user, id_, ranges)))
        if upload is None or upload.owner != user.name:
            self._compare(got, NotFound)
            return
        expected: list[CopyState] = []
        for one in ranges:
            state = upload.copy(one, self.artifacts.get((user.name, digest)), self.clock.now, mine=owner == user.name)
            if state is None:
                self._compare(got, WrongState)
                return
            expected.append(state)
        assert not isinstance(got, PartwiseError), got
        assert [one.state for one in got[1]] == expected

    @rule(id_=ids, kind=st.sampled_from(["right", "right", "wrong", None]), fill=st.booleans())
    def commit(self, id_: str, kind: str | None, fill: bool) -> None:
        upload = self.uploads.get(id_)
        if upload is None:
            assert isinstance(self.run(outcome(commit(self.engine, USERS[0], id_, None))), NotFound)
            return
        if fill:
            self._fill(upload)
        whole = upload.whole()
        right = sha256(whole if whole is not None else upload.content)
        digest = {"right": right, "wrong": sha256(b"wrong"), None: None}[kind]
        got = self.run(outcome(commit(self.engine, self.who(upload), id_, digest, wait=WAIT)))
        repeated = upload.sha256 is not None
        expected = upload.commit(digest, self.clock.now)
        if isinstance(expected, str):
            assert not isinstance(got, PartwiseError), got
            assert (got.state, got.error) == (TaskState.COMPLETED, None)
            if whole is not None and not repeated:
                self.artifacts[upload.owner, expected] = whole
        elif expected is None:
            assert not isinstance(got, PartwiseError), got
            assert got.state is TaskState.FAILED
        else:
            self._compare(got, expected)

    def _fill(self, upload: ModelUpload) -> None:
        if upload.sha256 is not None:
            return
        for gap in list(missing_ranges(upload.size, upload.spans())):
            data = self._right(upload.id, gap.offset, gap.size)
            sent = Sent(offset=gap.offset, size=gap.size, data=data, digest=sha256(data))
            self._compare(self.run(outcome(self._put(upload.id, sent))), upload.put(sent, self.clock.now))

    @rule(id_=ids, size=sizes)
    def resize(self, id_: str, size: int) -> None:
        upload = self.uploads.get(id_)
        who = self.who(upload) if upload else USERS[0]
        got = self.run(outcome(uploads.set_size(self.engine, who, id_, size)))
        if upload is None:
            self._compare(got, NotFound)
            return
        room = QUOTA - self.held(upload.owner, without=id_)
        self._compare(got, upload.resize(size, self.clock.now, room))

    @rule(id_=consumes(ids))
    def delete(self, id_: str) -> None:
        upload = self.uploads.pop(id_, None)
        who = self.who(upload) if upload else USERS[0]
        got = self.run(outcome(uploads.delete_upload(self.engine, who, id_)))
        self._compare(got, NotFound if upload is None else None)

    @rule(data=st.data())
    def delete_artifact(self, data: st.DataObject) -> None:
        if not self.artifacts:
            return
        owner, digest = data.draw(st.sampled_from(sorted(self.artifacts)))
        who = next(user for user in USERS if user.name == owner)
        page = self.run(artifacts.list_artifacts(self.engine, who, sha256=digest))
        self.run(artifacts.delete_artifact(self.engine, who, page.items[0].id))
        del self.artifacts[owner, digest]

    @rule(
        id_=ids,
        offset=offsets,
        size=lengths,
        first=damages,
        second=damages,
        third=st.sampled_from(["put", "commit", "delete", "store"]),
        partial=st.booleans(),
        cut=st.none() | st.integers(1, 20),
    )
    def race(
        self,
        id_: str,
        offset: int,
        size: int,
        first: int | None,
        second: int | None,
        third: str,
        partial: bool,
        cut: int | None,
    ) -> None:
        """Two writers of one range, of which one may keep what comes of a cut body, and a third writer, a commit, a
        deletion or a file in one request, all at once."""
        upload = self.uploads.get(id_)
        if upload is None or upload.sha256 is not None:
            return
        right = self._right(id_, offset, size)
        all_sent = [Sent(offset=offset, size=size, data=damaged(right, damage), block=4) for damage in (first, second)]
        if partial:
            all_sent[1] = replace(all_sent[1], partial=True, cut=cut if cut is not None and cut < size else None)
        user = self.who(upload)
        storing = third == "store" and self.held(user.name) + len(right) <= QUOTA
        calls: list[Awaitable[object]] = [self._put(id_, sent) for sent in all_sent]
        if third == "put":
            calls.append(self._put(id_, all_sent[0]))
        elif third == "commit":
            calls.append(commit(self.engine, self.who(upload), id_, None, wait=WAIT))
        elif storing:
            calls.append(artifacts.store_file(self.engine, user, BytesBody(right, block=5), bound=len(right)))
        elif third == "delete":
            calls.append(uploads.delete_upload(self.engine, self.who(upload), id_))

        async def all_at_once() -> list[object]:
            return await asyncio.gather(*map(outcome, calls))

        got = self.run(all_at_once())
        assert not all(isinstance(result, Superseded) for result in got), "someone must win"
        if storing:
            self._compare(got[-1], None)
            self.artifacts[user.name, sha256(right)] = right
        self._take_over(upload, all_sent)

    def _take_over(self, upload: ModelUpload, all_sent: list[Sent]) -> None:
        """After a race: what is there must be what one of the racers sent; the model goes on from there."""
        before = dict(upload.chunks)
        now = self.run(outcome(self.engine.catalog.get_upload(upload.id)))
        if isinstance(now, NotFound):
            del self.uploads[upload.id]
            return
        assert not isinstance(now, PartwiseError)
        if now.state is UploadState.COMPLETED:
            assert now.sha256 is not None
            page = self.run(artifacts.list_artifacts(self.engine, self.who(upload), sha256=now.sha256))
            upload.sha256, upload.completed = now.sha256, now.completed
            self.artifacts[upload.owner, now.sha256] = self.run(self._bytes_of(now.sha256, page.items[0].size))
        upload.updated = now.updated
        upload.chunks = {}
        for chunk in self.run(self.engine.catalog.list_chunks(upload.id)):
            candidates = [before[chunk.offset].data] if chunk.offset in before else []
            candidates += [
                sent.arriving[: chunk.size]
                for sent in all_sent
                if sent.offset == chunk.offset and (sent.partial or sent.span == chunk.range)
            ]
            if now.state is UploadState.COMPLETED:
                data = self.artifacts[upload.owner, str(now.sha256)][chunk.offset : chunk.range.end]
            else:
                data = self._stored(upload.id, chunk)
            assert data in candidates
            upload.chunks[chunk.offset] = ModelChunk(data, chunk.verified)

    # what happens around them

    @rule(days=st.integers(1, 5))
    def time_passes(self, days: int) -> None:
        self.clock.move(days=days)
        limit = self.clock.now - timedelta(days=7)
        due = {u.id for u in self.uploads.values() if (u.completed or u.updated) < limit}
        assert set(self.run(expire(self.engine))) == due
        for id_ in due:
            del self.uploads[id_]

    @rule()
    def restart(self) -> None:
        self.run(self.engine.stop())
        self.engine = self.started()

    @rule()
    def new_boot(self) -> None:
        """The machine lost its power: what was not on disk is missing, and nothing else."""
        self.run(self.engine.stop())
        self.boots += 1
        catalog = open_catalog(self.urls["catalog"]) if self.urls else catalog_of(self.data)

        async def boot() -> None:
            await catalog.start()
            for upload in self.uploads.values():
                durable = (await catalog.get_upload(upload.id)).durable_seq
                if upload.sha256 is None:
                    kept = {c.offset for c in await catalog.list_chunks(upload.id) if c.seq <= durable}
                    upload.chunks = {offset: c for offset, c in upload.chunks.items() if offset in kept}
            await catalog.stop()

        self.run(boot())
        self.engine = self.started()

    # what must hold after each step

    @invariant()
    def the_engine_says_what_the_model_says(self) -> None:
        self.run(self._check_uploads())
        self.run(self._check_artifacts())

    async def _check_uploads(self) -> None:
        staged = set(self.engine.storage.list_staged())
        assert self.urls or staged == {u.id for u in self.uploads.values() if u.sha256 is None}
        for user in USERS:
            listed = {u.id for u in (await uploads.list_uploads(self.engine, user, limit=1000)).items}
            assert listed == {u.id for u in self.uploads.values() if u.owner == user.name}
        for upload in self.uploads.values():
            who, other = sorted(USERS, key=lambda user: user.name != upload.owner)
            found = await uploads.get_upload(self.engine, who, upload.id)
            with pytest.raises(NotFound):
                await uploads.get_upload(self.engine, other, upload.id)
            chunks = await self.engine.catalog.list_chunks(upload.id)
            assert found.state is (UploadState.COMPLETED if upload.sha256 else UploadState.OPEN)
            assert (found.size, found.updated, found.sha256) == (upload.size, upload.updated, upload.sha256)
            if not (upload.sha256 and not chunks):  # completed at once, without a byte
                assert [chunk.range for chunk in chunks] == upload.spans()
            assert found.received == sum(chunk.size for chunk in chunks)
            assert found.chunk_count == len(chunks)
            assert all(a.range.end <= b.offset for a, b in pairwise(chunks))
            if upload.sha256 is not None:
                continue
            gaps = list(missing_ranges(upload.size, upload.spans()))
            assert await missing(self.engine, who, upload.id) == gaps
            for chunk in chunks:
                expected = upload.chunks[chunk.offset]
                assert self._stored(upload.id, chunk) == expected.data
                assert chunk.verified == expected.verified
                assert chunk.sha256 in (None, sha256(expected.data))

    async def _check_artifacts(self) -> None:
        for user in USERS:
            page = await artifacts.list_artifacts(self.engine, user, limit=1000)
            assert {a.sha256 for a in page.items} == {d for owner, d in self.artifacts if owner == user.name}
            for artifact in page.items:
                content = await self._bytes_of(artifact.sha256, artifact.size)
                assert content == self.artifacts[user.name, artifact.sha256]
                assert sha256(content) == artifact.sha256
        stored = await asyncio.to_thread(lambda: set(self.engine.storage.list_artifacts()))
        assert stored == {digest for _, digest in self.artifacts}

    async def _bytes_of(self, digest: str, size: int) -> bytes:
        blocks = self.engine.storage.read_artifact(digest, ByteRange(0, size))
        return b"".join([block async for block in blocks])

    def _stored(self, id_: str, chunk: Chunk) -> bytes:
        pieces: list[bytes] = []
        self.engine.storage.read_staged(id_, chunk, chunk.range, lambda block: pieces.append(bytes(block)))
        return b"".join(pieces)

    def _compare(self, got: object, expected: type[PartwiseError] | None) -> None:
        if expected is None:
            assert not isinstance(got, PartwiseError), got
        else:
            assert type(got) is expected, (got, expected)


class InMemory(EngineAgainstModel):
    """With the bytes in memory."""

    in_memory = True


class OnFiles(EngineAgainstModel):
    """With the bytes in local files."""


@pytest.mark.parametrize("machine", [InMemory, OnFiles])
@pytest.mark.timeout(3600)
def test_any_sequence_of_calls(machine: type[EngineAgainstModel]) -> None:
    run_state_machine_as_test(machine, settings=_profile("model"))


@pytest.mark.engines
@pytest.mark.timeout(3600)
def test_any_sequence_of_calls_on_objects(object_engines: Engines) -> None:
    class OnObjects(EngineAgainstModel):
        """With the records in PostgreSQL, and the bytes in an object store."""

    OnObjects.object_engines = staticmethod(object_engines)
    run_state_machine_as_test(OnObjects, settings=_profile("objects"))


def _profile(name: str) -> settings:
    return settings() if settings.get_current_profile_name() == "long" else settings.get_profile(name)
