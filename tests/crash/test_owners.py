"""Two owners with the same few contents, in two processes' engines, doing everything at once: no digest ever lies.

``PARTWISE_STRESS_MINUTES=30 pytest tests/crash/test_owners.py`` goes on for longer than the moment of every run.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import pytest

from partwise.core.errors import ChunkDigestMismatch, Conflict, NotFound
from partwise.core.ranges import ByteRange, split
from partwise.core.records import Artifact, Principal
from partwise.engine import artifacts, uploads
from partwise.engine.chunks import Early, put_chunk
from partwise.engine.commit import commit
from partwise.engine.engine import Engine
from partwise.engine.finish import concatenate, finish
from tests.support.bodies import BytesBody, sha256
from tests.support.engines import new_data_folder, open_engine
from tests.support.folders import fast_folder

OWNERS = (Principal("alice"), Principal("eve"))
CONTENTS = [random.Random(number).randbytes(60_000 + 7_000 * number) for number in range(3)]
PIECE = 16_384
SECONDS = 60 * float(os.environ.get("PARTWISE_STRESS_MINUTES", "0.05"))
#: What may become of a call while another owner, or the same one, does something else to the same upload.
EXPECTED = (Conflict, NotFound, ChunkDigestMismatch)


@pytest.fixture
async def engines() -> AsyncIterator[list[Engine]]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        data = new_data_folder(Path(folder) / "data")
        engines = [open_engine(data) for _ in range(2)]
        for engine in engines:
            await engine.start()
        yield engines
        for engine in engines:
            await engine.stop()


class Owner:
    """One of several clients of an owner."""

    def __init__(self, engines: list[Engine], who: Principal, seed: int, done: Counter[str]) -> None:
        self.engines, self.who, self.rng, self.done = engines, who, random.Random(seed), done

    @property
    def engine(self) -> Engine:
        return self.rng.choice(self.engines)

    async def run(self, until: float) -> None:
        acts = (self.send, self.send, self.store, self.join, self.delete, self.download, self.download)
        while time.monotonic() < until:
            act = self.rng.choice(acts)
            try:
                await act()
                self.done[act.__name__] += 1
            except EXPECTED:
                self.done[f"{act.__name__} refused"] += 1

    async def send(self) -> None:
        """In chunks, some of them wrong first, replaced, cut, or sent twice at once; deleted or committed meanwhile."""
        content = self.rng.choice(CONTENTS)
        upload = await uploads.create_upload(self.engine, self.who, size=len(content))
        spans = list(split(ByteRange(0, len(content)), PIECE))
        self.rng.shuffle(spans)
        for span in spans:
            if self.rng.random() < 0.3:
                await self.put(upload.id, span, bytes(span.size))
        await asyncio.gather(*(self.put(upload.id, span, content[span.offset : span.end]) for span in spans))
        if self.rng.random() < 0.3:  # who was first decides what is committed
            span = self.rng.choice(spans)
            late = asyncio.create_task(self.insist(self.put(upload.id, span, bytes(span.size))))
        else:
            late = None
        if self.rng.random() < 0.1:
            await uploads.delete_upload(self.engine, self.who, upload.id)
        task = await commit(self.engine, self.who, upload.id, sha256(content), wait=20)
        if late is not None:
            await late
        if task.artifact_id is not None:
            await self.check(await artifacts.get_artifact(self.engine, self.who, task.artifact_id))

    async def put(self, upload_id: str, span: ByteRange, data: bytes) -> None:
        digest = sha256(data) if self.rng.random() < 0.5 else None
        body = BytesBody(data, sha256=digest, block=4096)
        await put_chunk(self.engine, self.who, upload_id, span, body)

    async def insist(self, call: Awaitable[None]) -> None:
        try:
            await call
        except EXPECTED:
            return

    async def store(self) -> None:
        content = self.rng.choice(CONTENTS)
        await self.check(
            await artifacts.store_file(self.engine, self.who, BytesBody(content, block=4096), bound=len(content) + 9)
        )

    async def join(self) -> None:
        content = self.rng.choice(CONTENTS)
        halves = (content[:PIECE], content[PIECE:])
        parts = []
        for half in halves:
            part = await uploads.create_upload(self.engine, self.who, size=len(half))
            span = ByteRange(0, len(half))
            if self.rng.random() < 0.5:
                await self.put(part.id, span, half)
            else:
                await put_chunk(self.engine, self.who, part.id, span, BytesBody(half), early=Early.KEEP)
            parts.append(part.id)
        final = await concatenate(self.engine, self.who, parts)
        if self.rng.random() < 0.3:  # and again, of other bytes
            await uploads.delete_upload(self.engine, self.who, final.id)
            await self.put(parts[0], ByteRange(0, len(halves[0])), bytes(len(halves[0])))
            final = await concatenate(self.engine, self.who, parts)
        final = await finish(self.engine, self.who, final.id, wait=20)
        if final.artifact_id is not None:
            await self.check(await artifacts.get_artifact(self.engine, self.who, final.artifact_id))

    async def delete(self) -> None:
        page = await artifacts.list_artifacts(self.engine, self.who)
        if page.items:
            await artifacts.delete_artifact(self.engine, self.who, self.rng.choice(page.items).id)

    async def download(self) -> None:
        page = await artifacts.list_artifacts(self.engine, self.who)
        if page.items:
            await self.check(self.rng.choice(page.items))

    async def check(self, artifact: Artifact) -> None:
        hasher = hashlib.sha256()
        async for block in artifacts.read_artifact(self.engine, artifact, ByteRange(0, artifact.size)):
            hasher.update(block)
        assert hasher.hexdigest() == artifact.sha256, "an artifact has other bytes than its digest says"


@pytest.mark.timeout(60 + 2 * SECONDS)
async def test_every_download_has_its_digest(engines: list[Engine]) -> None:
    done: Counter[str] = Counter()
    until = time.monotonic() + SECONDS
    clients = [Owner(engines, who, seed, done) for seed in range(3) for who in OWNERS]
    await asyncio.gather(*(client.run(until) for client in clients))
    assert all(done[name] for name in ("send", "store", "join", "download")), done
    for engine in engines:
        for artifact in (await artifacts.list_artifacts(engine, Principal("root", admin=True), limit=100)).items:
            assert await engine.storage.verify_artifact(artifact.sha256)
    print(dict(done))
