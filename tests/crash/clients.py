"""Clients that drive the engine directly, tell what they do before and after it, and know what must be true."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from partwise.core.errors import BodyInterrupted, Conflict, NotFound, Superseded
from partwise.core.events import EventType, OutboxEvent
from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact, Chunk, Principal, TaskState, Upload
from partwise.core.state import UploadState
from partwise.engine import artifacts, uploads
from partwise.engine.chunks import Early, put_chunk
from partwise.engine.commit import commit
from partwise.engine.copying import CopyRange, CopyState, copy_ranges
from partwise.engine.engine import Engine
from partwise.engine.finish import concatenate, finish, joined_id
from partwise.engine.release import release
from partwise.engine.signatures import find_signature
from partwise.storage.local import LocalStorage
from tests.crash.known import (
    CONTENTS,
    Event,
    Known,
    KnownJoin,
    KnownPart,
    KnownUpload,
    Variant,
    chunk_bytes,
    content,
    pieces,
)
from tests.support.bodies import BytesBody, sha256
from tests.support.edits import sign

OWNERS = (Principal("alice"), Principal("bob"))
_BLOCK = 64
_WAIT = 20.0


class Lost(AssertionError):
    """A promise was broken."""


def _must(condition: bool, what: str, *details: object) -> None:
    if not condition:
        raise Lost(f"{what}: {details}")


async def work(engine: Engine, known: Known, rng: random.Random, tell: Callable[[Event], None], cycles: int) -> None:
    """What every start is followed by: look at what is there, then go on uploading, for so many files of each owner."""
    await settled(engine)
    await check(engine, known)
    await _remove_unknown(engine, known)
    clients = [_Client(engine, known, random.Random(rng.random()), tell, owner) for owner in OWNERS]
    await asyncio.gather(*(client.run(cycles) for client in clients))


async def settled(engine: Engine) -> None:
    """Wait until recovery has ended what it found begun."""
    async with asyncio.timeout(_WAIT):
        while await engine.catalog.list_committing() or await _is_joining(engine):
            await asyncio.sleep(0.002)


async def _is_joining(engine: Engine) -> bool:
    """Whether an upload is being made of its parts, as it is unless bytes of those are missing; or rid of them."""
    for upload in await engine.catalog.list_unattended():
        if upload.parts and upload.state is UploadState.COMPLETED:
            return True  # whatever a power loss has taken of its parts, they are being deleted
        try:
            parts = [await engine.catalog.get_upload(part) for part in upload.parts]
        except NotFound:
            return True  # the parts are being deleted
        if all(part.received == part.size for part in parts):
            return True
    return False


async def check(engine: Engine, known: Known) -> None:
    """Everything that was acknowledged is there, everything that is there is true, and nothing is left over."""
    found = {u.id: u for u in (await engine.catalog.list_uploads(None, limit=10_000, internal=True)).items}
    for id_, upload in known.uploads.items():
        if id_ in found:
            await _check_upload(engine, found[id_], upload)
        else:
            _must(upload.deleting, "an upload is lost", id_)
    for id_, join in known.joins.items():
        _check_join(found, id_, join)
    for id_, part in known.parts.items():
        await _check_part(engine, found.get(id_), id_, part)
    if not engine.storage.remote:
        await _check_staged(engine)
    await _check_artifacts(engine, known)
    await _check_events(engine, found, known)


def is_whole(event: OutboxEvent, known: Known) -> bool:
    """Return whether an event tells of a file that was sent in one request."""
    if event.type is not EventType.UPLOAD_COMPLETED or event.data["upload"] in known.completing:
        return False
    return (event.owner, event.data["sha256"]) in known.wholes_begun


async def _check_events(engine: Engine, found: dict[str, Upload], known: Known) -> None:
    """Each upload that was completed has one event that says so, and no other has; removals likewise.

    The uploads of files in one request are known by their contents alone.
    """
    told: dict[EventType, Counter[str]] = {kind: Counter() for kind in EventType}
    wholes: Counter[tuple[str, str]] = Counter()
    cursor, more = 0, True
    while more:
        page = await engine.catalog.list_events(None, after=cursor, limit=1000)
        cursor, more = page.cursor, page.more
        for event in page.events:
            told[event.type][event.data.get("upload") or event.data["artifact"]] += 1
            if is_whole(event, known):
                wholes[event.owner, event.data["sha256"]] += 1
    for kind in (EventType.UPLOAD_COMPLETED, EventType.UPLOAD_REMOVED, EventType.ARTIFACT_DELETED):
        _must(set(told[kind].values()) <= {1}, "an event twice", kind, told[kind].most_common(1))
    completed, removed = set(told[EventType.UPLOAD_COMPLETED]), set(told[EventType.UPLOAD_REMOVED])
    _must(known.completed <= completed, "a completed upload without its event", known.completed - completed)
    unknown = completed - known.completing
    _must(len(unknown) == wholes.total(), "an event without its upload", unknown)
    _must(known.wholes <= wholes <= known.wholes_begun, "files in one request", known.wholes, wholes)
    _must(known.removed <= removed, "a removed upload without its event", known.removed - removed)
    for upload in found.values():
        if upload.internal:
            _must(upload.id not in completed | removed, "an event of an internal upload", upload)
            continue
        _must((upload.id in completed) == (upload.state is UploadState.COMPLETED), "event and state differ", upload)
        _must(upload.id not in removed, "an event tells of a removal, but the upload is there", upload)


async def _check_staged(engine: Engine) -> None:
    """Open uploads have a staging file, and nothing else has, in the end.

    A commit that recovery carried through removes its staging file a moment after its record. The upload of a request
    whose file a power loss has taken is opened again a moment before it is removed.
    """
    deadline = time.monotonic() + _WAIT
    while True:
        uploads = (await engine.catalog.list_uploads(None, limit=10_000, internal=True)).items
        internal = {upload.id for upload in uploads if upload.internal}
        unfinished = {upload.id for upload in uploads if upload.state is UploadState.OPEN}
        staged = set(engine.storage.list_staged())
        if staged == unfinished:
            return
        _must(time.monotonic() < deadline and staged | internal >= unfinished, "staging files", staged ^ unfinished)
        await asyncio.sleep(0.01)


async def _check_upload(engine: Engine, upload: Upload, known: KnownUpload) -> None:
    if upload.state is UploadState.COMPLETED:
        _must(known.committing, "completed without a commit", upload.id)
        _must(upload.sha256 == sha256(content(known.number)), "completed as another file", upload)
        return
    _must(upload.state is UploadState.OPEN and not known.committed, "a commit is undone", upload)
    chunks = {chunk.offset: chunk for chunk in await engine.catalog.list_chunks(upload.id)}
    _must(upload.received == sum(chunk.size for chunk in chunks.values()), "a wrong count of bytes", upload)
    spans = {span.offset: span for span in pieces(known.number)}
    _must(chunks.keys() <= spans.keys(), "a chunk that nobody sent", chunks)
    for offset, span in spans.items():
        holds = _variant(engine, upload.id, known.number, span, chunks.get(offset))
        _must(holds in known.holds(offset), "a chunk", upload.id, span, holds, known.holds(offset))


def _check_join(found: dict[str, Upload], id_: str, join: KnownJoin) -> None:
    """Nothing of it is half done: the parts are there, or the whole is."""
    left = [part for part in join.parts if part in found]
    if id_ in found and join.weak and found[id_].state is UploadState.OPEN:
        _must(left == join.parts, "parts are lost", join.parts, left)
    elif id_ in found:
        _must(found[id_].sha256 == sha256(content(join.number)), "joined to another file", found[id_])
        _must(not left, "parts stay behind", left)
    elif not join.deleting:
        _must(not join.joined, "a joined upload is lost", id_)
        _must(left == join.parts, "parts are lost", join.parts, left)


async def _check_part(engine: Engine, upload: Upload | None, id_: str, part: KnownPart) -> None:
    """What was told to be kept of a body that was cut is there, and all that is there is right."""
    if part.kept is None:
        return
    _must(upload is not None, "a part is lost", id_)
    stored: list[bytes] = []
    for chunk in await engine.catalog.list_chunks(id_):
        _must(chunk.offset == sum(map(len, stored)), "a part has a gap", id_, chunk)
        engine.storage.read_staged(id_, chunk, chunk.range, lambda block: stored.append(bytes(block)))
    data = b"".join(stored)
    _must(len(data) >= part.kept, "kept bytes are lost", id_, len(data), part.kept)
    _must(chunk_bytes(part.number, part.span, "right").startswith(data), "a part is damaged", id_)


def _variant(engine: Engine, id_: str, number: int, span: ByteRange, chunk: Chunk | None) -> Variant | str:
    if chunk is None:
        return "missing"
    stored: list[bytes] = []
    engine.storage.read_staged(id_, chunk, chunk.range, lambda block: stored.append(bytes(block)))
    for variant in ("right", "other"):
        if b"".join(stored) == chunk_bytes(number, span, variant):
            return variant
    return "damaged"


async def _check_artifacts(engine: Engine, known: Known) -> None:
    recorded = set()
    for owner in OWNERS:
        page = await artifacts.list_artifacts(engine, owner, limit=10_000)
        listed = {artifact.sha256 for artifact in page.items}
        recorded |= listed
        for number in range(CONTENTS):
            digest = sha256(content(number))
            _must((digest in listed) in known.links(owner.name, digest), "an artifact", owner.name, number)
    for digest in recorded:
        _must(await engine.storage.verify_artifact(digest), "a corrupt artifact", digest)
    stored = await asyncio.to_thread(lambda: set(engine.storage.list_artifacts()))
    await _check_signatures(engine, stored)
    unrecorded = stored - recorded
    interrupted = {digest for (_, digest), states in known.artifacts.items() if False in states}
    _must(unrecorded <= interrupted, "an artifact's file without a record", unrecorded)


async def _check_signatures(engine: Engine, stored: set[str]) -> None:
    """A signature is whole, and is not there without its artifact (of objects: not for long, see ``tidy``)."""
    for data in map(content, range(CONTENTS)):
        digest = sha256(data)
        size = await engine.storage.signature_size(digest)
        if size is None:
            continue
        _must(digest in stored or engine.storage.remote, "a signature without an artifact", digest)
        found = b"".join([block async for block in engine.storage.read_signature(digest, size)])
        _must(found == sign(data).encode(), "a wrong signature", digest)


async def _remove_unknown(engine: Engine, known: Known) -> None:
    """Uploads whose creation was never acknowledged: a client would see them in its list."""
    joining = {part for join in known.joins.values() for part in join.parts} | known.joins.keys() | known.parts.keys()
    for upload in (await engine.catalog.list_uploads(None, limit=10_000)).items:
        if upload.id not in known.uploads and upload.id not in joining:
            await uploads.delete_upload(engine, Principal(upload.owner), upload.id)


class _Client:
    """One owner, who uploads one file after the other."""

    def __init__(
        self, engine: Engine, known: Known, rng: random.Random, tell: Callable[[Event], None], owner: Principal
    ) -> None:
        self._engine, self._known, self._rng, self._owner = engine, known, rng, owner
        self._send = tell

    def _tell(self, *event: object) -> None:
        self._known.learn(event)
        self._send(event)

    async def run(self, cycles: int) -> None:
        for id_, upload in list(self._known.uploads.items()):
            if upload.owner == self._owner.name:
                await self._finish(id_, upload)
        for id_, join in list(self._known.joins.items()):
            if join.owner == self._owner.name:
                await self._finish_join(id_, join)
        for id_, part in list(self._known.parts.items()):
            if part.owner == self._owner.name:
                await self._drop_part(id_, part)
        for _ in range(cycles):
            luck = self._rng.random()
            if luck < 0.2:
                await self._store()
            elif luck < 0.4:
                await self._join()
            else:
                await self._upload()

    async def _store(self) -> None:
        """A file in one request."""
        data = content(self._rng.randrange(CONTENTS))
        self._tell("sending_whole", self._owner.name, sha256(data))
        body = BytesBody(data, sha256=sha256(data), block=_BLOCK)
        await artifacts.store_file(self._engine, self._owner, body, bound=len(data) + 5)
        self._tell("sent_whole", self._owner.name, sha256(data))
        await self._look_at(sha256(data))

    async def _join(self) -> None:
        """A file made of others, which are sent one after the other as in tus."""
        number = self._rng.randrange(CONTENTS)
        parts: list[str] = []
        for span in pieces(number):
            part = await uploads.create_upload(self._engine, self._owner, size=span.size, part=True)
            self._tell("begun", part.id, self._owner.name, number, span.offset, span.size)
            await self._append(part.id, self._known.parts[part.id])
            parts.append(part.id)
        id_ = joined_id(self._owner.name, parts)
        self._tell("joining", id_, self._owner.name, number, parts)
        await self._finish_join(id_, self._known.joins[id_])

    async def _append(self, id_: str, part: KnownPart) -> None:
        """Send what is missing of a part, from where it stands, in bodies that often break off."""
        data = chunk_bytes(part.number, part.span, "right")
        offset = part.kept or 0
        while offset < len(data):
            cut = self._rng.randrange(len(data) - offset) if self._rng.random() < 0.5 else None
            body = BytesBody(data[offset:], block=_BLOCK, cut_after=cut)
            span = ByteRange(offset, len(data) - offset)
            with suppress(BodyInterrupted):
                await put_chunk(self._engine, self._owner, id_, span, body, early=Early.KEEP)
            _, frontier = await uploads.get_frontier(self._engine, self._owner, id_)
            _must(frontier == (len(data) if cut is None else offset + cut), "what came was not kept", id_, frontier)
            offset = frontier
            self._tell("kept", id_, offset)

    async def _drop_part(self, id_: str, part: KnownPart) -> None:
        """After a restart: go on with it from where it stands, and then give it up."""
        if part.kept is not None:
            _, part.kept = await uploads.get_frontier(self._engine, self._owner, id_)
            await self._append(id_, part)
        self._tell("dropping", id_)
        with suppress(NotFound):
            await uploads.delete_upload(self._engine, self._owner, id_)
        self._tell("dropped", id_)

    async def _finish_join(self, id_: str, join: KnownJoin) -> None:
        if not join.deleting:
            if join.weak:
                await self._mend_parts(join)
            upload = await concatenate(self._engine, self._owner, join.parts)
            upload = await finish(self._engine, self._owner, upload.id, wait=_WAIT)
            _must(upload.id == id_ and upload.state is UploadState.COMPLETED, "joining fails", upload)
            if not join.joined:  # or the artifact may be deleted by now, as it should
                self._tell("joined", id_)
                await self._look_at(sha256(content(join.number)))
        self._tell("parting", id_)
        with suppress(NotFound):
            await uploads.delete_upload(self._engine, self._owner, id_)
        self._tell("parted", id_)

    async def _mend_parts(self, join: KnownJoin) -> None:
        """Send again what a power loss took."""
        for part, span in zip(join.parts, pieces(join.number), strict=True):
            try:
                _, frontier = await uploads.get_frontier(self._engine, self._owner, part)
            except NotFound:
                return  # joined, and deleted
            if frontier < span.size:
                body = BytesBody(chunk_bytes(join.number, span, "right")[frontier:], block=_BLOCK)
                rest = ByteRange(frontier, span.size - frontier)
                await put_chunk(self._engine, self._owner, part, rest, body, early=Early.KEEP)

    async def _upload(self) -> None:
        number = self._rng.randrange(CONTENTS)
        upload = await uploads.create_upload(self._engine, self._owner, size=len(content(number)))
        self._tell("created", upload.id, self._owner.name, number)
        await self._finish(upload.id, self._known.uploads[upload.id])

    async def _finish(self, id_: str, upload: KnownUpload) -> None:
        if not upload.deleting:
            state = (await uploads.get_upload(self._engine, self._owner, id_)).state
            if state is UploadState.OPEN:
                await self._send_chunks(id_, upload)
                if self._rng.random() < 0.1:
                    await self._delete(id_)
                    return
            if not upload.committed:  # or the artifact may be deleted by now, as it should
                await self._commit(id_, upload)
        await self._delete(id_)

    async def _send_chunks(self, id_: str, upload: KnownUpload) -> None:
        """First in any manner, in parallel and more than once; then whatever is not certainly right."""
        spans = pieces(upload.number) * 2
        self._rng.shuffle(spans)
        gate = asyncio.Semaphore(3)

        async def any_way(span: ByteRange, luck: float) -> None:
            async with gate:
                if luck < 0.15:
                    await self._cut(id_, upload, span)
                elif luck < 0.65 or not await self._copy(id_, upload, span):
                    await self._put(id_, upload, span, "other" if luck < 0.35 else "right")

        await asyncio.gather(*(any_way(span, self._rng.random()) for span in spans))
        for span in pieces(upload.number):
            if upload.holds(span.offset) != {"right"}:
                await self._put(id_, upload, span, "right")

    async def _put(self, id_: str, upload: KnownUpload, span: ByteRange, variant: Variant) -> None:
        data = chunk_bytes(upload.number, span, variant)
        digest = sha256(data) if self._rng.random() < 0.5 else None
        body = BytesBody(data, sha256=digest, block=_BLOCK)
        self._tell("sending", id_, span.offset, variant)
        try:
            await put_chunk(self._engine, self._owner, id_, span, body)
        except Superseded:
            self._tell("refused", id_, span.offset, variant)
        else:
            self._tell("sent", id_, span.offset, variant)

    async def _copy(self, id_: str, upload: KnownUpload, span: ByteRange) -> bool:
        """Have the server fill the range from the owner's own artifact, if there is one. False: send the bytes."""
        page = await artifacts.list_artifacts(self._engine, self._owner, sha256=sha256(content(upload.number)))
        if not page.items:
            return False
        self._tell("sending", id_, span.offset, "right")
        wanted = CopyRange(span, page.items[0].id, span.offset)
        _, (copied,) = await copy_ranges(self._engine, self._owner, id_, [wanted])
        done = copied.state is CopyState.COPIED
        _must(done or isinstance(copied.error, Superseded), "a copy fails", copied)
        self._tell("sent" if done else "refused", id_, span.offset, "right")
        return True

    async def _cut(self, id_: str, upload: KnownUpload, span: ByteRange) -> None:
        data = chunk_bytes(upload.number, span, "other")
        self._tell("cutting", id_, span.offset)
        body = BytesBody(data, block=_BLOCK, cut_after=self._rng.randrange(len(data)))
        try:
            await put_chunk(self._engine, self._owner, id_, span, body)
        except (BodyInterrupted, Superseded):
            self._tell("refused", id_, span.offset, "missing")

    async def _commit(self, id_: str, upload: KnownUpload) -> None:
        digest = sha256(content(upload.number))
        self._tell("committing", id_)
        task = await commit(self._engine, self._owner, id_, digest, wait=_WAIT)
        _must(task.state is TaskState.COMPLETED, "a commit fails", task)
        self._tell("committed", id_)
        await self._look_at(digest)
        if self._rng.random() < 0.5:
            await self._unlink(digest)

    async def _look_at(self, digest: str) -> None:
        _must(await self._engine.storage.verify_artifact(digest), "a corrupt artifact", digest)
        page = await artifacts.list_artifacts(self._engine, self._owner, sha256=digest)
        for artifact in page.items:
            signed = await find_signature(self._engine, self._owner, artifact.id, wait=_WAIT)
            _must(signed.signature is not None, "no signature", digest)

    async def _unlink(self, digest: str) -> None:
        page = await artifacts.list_artifacts(self._engine, self._owner, sha256=digest)
        self._tell("unlinking", self._owner.name, digest)
        for artifact in page.items:
            if self._rng.random() < 0.5 or not await self._release(artifact):
                await artifacts.delete_artifact(self._engine, self._owner, artifact.id)
        self._tell("unlinked", self._owner.name, digest)

    async def _release(self, artifact: Artifact) -> bool:
        """Have its file, if there is one that nobody else needs."""
        storage = self._engine.storage
        if not isinstance(storage, LocalStorage):
            return False
        folder = Path(storage._data).parent / "released"
        folder.mkdir(exist_ok=True)
        path = folder / artifact.id
        try:
            await release(self._engine, self._owner, artifact.id, str(path))
        except Conflict:
            return False
        again = await release(self._engine, self._owner, artifact.id, str(path))
        _must(again.sha256 == artifact.sha256, "a release that is repeated answers otherwise", again)
        _must(sha256(path.read_bytes()) == artifact.sha256, "a released file is another", artifact)
        _must(path.stat().st_nlink == 1, "a released file is shared", artifact)
        path.unlink()
        return True

    async def _delete(self, id_: str) -> None:
        self._tell("deleting", id_)
        try:
            await uploads.delete_upload(self._engine, self._owner, id_)
        except NotFound:
            _must(self._known.uploads[id_].deleting, "an upload is lost", id_)
        self._tell("deleted", id_)
