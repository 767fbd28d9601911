"""Signatures of artifacts: made once, kept beside them, deleted with them, and nobody else's to read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from partwise.core.errors import BytesLost, Conflict, NotFound
from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact
from partwise.core.signature import MAX_SIGNED, Reading, Signature
from partwise.engine import artifacts, signatures, signer
from partwise.engine.engine import Engine
from partwise.engine.ports import BLOCK, Purpose, Storage
from partwise.engine.signatures import find_signature, read_signature
from partwise.engine.signer import Sound
from tests.support.bodies import BytesBody
from tests.support.edits import noise, sign
from tests.support.until import until
from tests.unit.engine.conftest import ADMIN, ALICE, BOB

DATA = noise(1, 3_000_001)
WAIT = 20.0


async def store(engine: Engine, data: bytes = DATA) -> Artifact:
    return await artifacts.store_file(engine, ALICE, BytesBody(data), bound=len(data))


async def signature(engine: Engine, artifact: Artifact) -> bytes:
    found = await find_signature(engine, ALICE, artifact.id, wait=WAIT)
    assert found.signature is not None
    blocks = [block async for block in read_signature(engine, artifact, found.signature)]
    assert sum(map(len, blocks)) == found.signature.size
    return b"".join(blocks)


@pytest.mark.parametrize("size", [0, 1, 5000, len(DATA)])
async def test_a_signature_is_that_of_the_bytes(engine: Engine, size: int) -> None:
    artifact = await store(engine, DATA[:size])
    made = await signature(engine, artifact)
    assert made == sign(DATA[:size]).encode()
    assert Signature.decode(made).sha256 == artifact.sha256


def counted(engine: Engine, monkeypatch: pytest.MonkeyPatch, method: str) -> list[tuple[object, ...]]:
    """The calls of a method of the storage, from now on."""
    calls: list[tuple[object, ...]] = []
    call = getattr(engine.storage, method)

    def counting(*arguments: object) -> object:
        calls.append(arguments)
        return call(*arguments)

    monkeypatch.setattr(engine.storage, method, counting)
    return calls


async def test_it_is_made_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = await store(engine)
    reads = counted(engine, monkeypatch, "read_artifact")
    made = await asyncio.gather(*(signature(engine, artifact) for _ in range(5)))
    assert len(set(made)) == 1
    assert await signature(engine, artifact) == made[0]
    assert len(reads) == 1


async def test_it_is_read_once_for_each_who_asks(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too large to be kept in memory is read to be checked, and again to be sent."""
    artifact = await store(engine)
    made = await signature(engine, artifact)
    reads = counted(engine, monkeypatch, "read_signature")
    assert await signature(engine, artifact) == made
    assert len(reads) == 1
    monkeypatch.setattr(signer, "KEPT_BYTES", len(made) - 1)
    assert await signature(engine, artifact) == made
    assert len(reads) == 3


SOUND = sign(DATA).encode()


DAMAGED = [
    b"",
    b"\0" * len(SOUND),
    SOUND[:20],
    SOUND[:-1],
    SOUND[:-32],
    SOUND + b"\0",
    SOUND[:100] + bytes([SOUND[100] ^ 1]) + SOUND[101:],
    SOUND[:-1] + bytes([SOUND[-1] ^ 1]),
    SOUND[:4] + b"\2" + SOUND[5:],
    sign(DATA[:-1]).encode(),
]


@pytest.mark.parametrize("damaged", [b"", SOUND[:-1], DAMAGED[6], SOUND * 100], ids=["empty", "cut", "piece", "many"])
async def test_a_damaged_one_is_made_again(engine: Engine, damaged: bytes) -> None:
    artifact = await store(engine)
    await engine.storage.store_signature(artifact.sha256, damaged)
    assert await signature(engine, artifact) == SOUND


@pytest.mark.parametrize("wait", [WAIT, 0.0], ids=["waiting", "asking again"])
async def test_a_storage_that_always_damages_it_is_told_of(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, wait: float
) -> None:
    """Also to whoever asked in vain before: the signature is not made for ever."""
    artifact = await store(engine)
    reads = 0
    read = engine.storage.read_artifact

    def counted(sha256: str, span: ByteRange, block: int = BLOCK) -> AsyncIterator[bytes]:
        nonlocal reads
        reads += 1
        return read(sha256, span, block)

    async def damaged(sha256: str, size: int, block: int = BLOCK) -> AsyncIterator[bytes]:
        yield bytes(size)

    async def ask_until_told() -> None:
        while (await find_signature(engine, ALICE, artifact.id, wait=wait)).signature is None:
            await asyncio.sleep(0)

    with monkeypatch.context() as patched:
        patched.setattr(engine.storage, "read_artifact", counted)
        patched.setattr(engine.storage, "read_signature", damaged)
        with pytest.raises(BytesLost, match=r"the storage returns other bytes\. Transfer the whole file"):
            await ask_until_told()
    assert reads == 1
    assert await signature(engine, artifact) == SOUND


async def test_failures_that_nobody_asks_for_are_forgotten(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signer, "_MOST_FAILURES", 2)
    making = engine.workers.signer
    for number in range(5):
        assert not await making.sign(f"{number:064}", 1, wait=0)
        await until(lambda: not making._jobs._running)
    assert list(making._failures) == [f"{number:064}" for number in (3, 4)]


def test_any_damage_is_noticed() -> None:
    for damaged in DAMAGED:
        reading = Reading()
        reading.take(damaged)
        assert not reading.is_signature_of(sign(DATA).sha256, len(DATA))


def test_one_that_is_read_in_any_blocks_is_sound() -> None:
    for block in (1, 31, 32, 33, 57, len(SOUND)):
        reading = Reading()
        for start in range(0, len(SOUND), block):
            reading.take(SOUND[start : start + block])
        assert reading.is_signature_of(sign(DATA).sha256, len(DATA))
        reading.take(b"\0")
        assert not reading.is_signature_of(sign(DATA).sha256, len(DATA))


async def test_nobody_else_has_it(engine: Engine) -> None:
    artifact = await store(engine)
    for id_ in (artifact.id, "no-such-artifact"):
        with pytest.raises(NotFound, match=r"^No such artifact\. It may have expired or been deleted\.$"):
            await find_signature(engine, BOB, id_, wait=WAIT)
    assert (await find_signature(engine, ADMIN, artifact.id, wait=WAIT)).signature is not None


async def test_it_goes_with_the_last_link(engine: Engine) -> None:
    mine = await store(engine)
    other = await artifacts.store_file(engine, BOB, BytesBody(DATA), bound=len(DATA))
    made = await signature(engine, mine)
    await artifacts.delete_artifact(engine, ALICE, mine.id)
    assert await engine.storage.signature_size(mine.sha256) == len(made)
    await artifacts.delete_artifact(engine, BOB, other.id)
    assert await engine.storage.signature_size(mine.sha256) is None
    with pytest.raises(NotFound):
        _ = [block async for block in read_signature(engine, mine, Sound(len(made), None))]


async def test_one_that_is_made_while_its_artifact_is_deleted_is_not_kept(engine: Engine, storage: Storage) -> None:
    artifact = await store(engine)
    gate, begun = gated(engine, artifact)
    asking = asyncio.create_task(find_signature(engine, ALICE, artifact.id, wait=WAIT))
    await until(begun)
    await artifacts.delete_artifact(engine, ALICE, artifact.id)
    gate.set()
    assert (await asking).signature is None
    assert await storage.signature_size(artifact.sha256) is None


async def test_who_does_not_wait_so_long_is_told_how_far_it_is(engine: Engine) -> None:
    artifact = await store(engine)
    gate, begun = gated(engine, artifact)
    asking = asyncio.create_task(find_signature(engine, ALICE, artifact.id, wait=WAIT))
    await until(begun)
    found = await find_signature(engine, ALICE, artifact.id, wait=0)
    assert (found.signature, found.done) == (None, len(DATA))
    gate.set()
    assert (await asking).signature is not None


def gated(engine: Engine, artifact: Artifact) -> tuple[asyncio.Event, Callable[[], bool]]:
    """Hold a signature back before it is stored. The gate, and whether all bytes of the artifact are in it."""
    gate, signer = asyncio.Event(), engine.workers.signer
    made = signer._make

    async def make(sha256: str, size: int) -> bytes:
        data = await made(sha256, size)
        await gate.wait()
        return data

    signer._make = make  # type: ignore[method-assign]
    return gate, lambda: signer.done(artifact.sha256) == artifact.size


async def test_another_process_makes_it(engine: Engine) -> None:
    artifact = await store(engine)
    lock = await engine.storage.try_lock(artifact.sha256, Purpose.SIGN)
    assert lock is not None
    assert (await find_signature(engine, ALICE, artifact.id, wait=WAIT)).signature is None
    lock.release()
    assert (await find_signature(engine, ALICE, artifact.id, wait=WAIT)).signature is not None


async def test_an_artifact_that_cannot_be_read_has_none(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = await store(engine)

    async def lost(sha256: str, span: ByteRange, block: int = BLOCK) -> AsyncIterator[bytes]:
        yield DATA[:1000]
        raise BytesLost("The disk is damaged.")

    with monkeypatch.context() as patched:
        patched.setattr(engine.storage, "read_artifact", lost)
        with pytest.raises(BytesLost):
            await find_signature(engine, ALICE, artifact.id, wait=WAIT)
    assert await signature(engine, artifact) == sign(DATA).encode()


async def test_one_that_is_too_large_has_none(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_SIGNED == 4 << 40
    artifact = await store(engine)
    monkeypatch.setattr(signatures, "MAX_SIGNED", len(DATA) - 1)
    with pytest.raises(Conflict, match="Transfer the whole file"):
        await find_signature(engine, ALICE, artifact.id, wait=WAIT)
