"""Signatures of artifacts, for clients that have another version of a file (``docs/delta.md``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from partwise.core.errors import Conflict, NotFound
from partwise.core.outline import make_outline
from partwise.core.records import Artifact, Principal
from partwise.core.signature import MAX_SIGNED
from partwise.engine.context import Context, check_scope
from partwise.engine.signer import Sound, read_sound

#: Bytes of a block that is read to be sent.
READ_BLOCK = 256 << 10


@dataclass(frozen=True, slots=True)
class Signed:
    """An artifact and its stored signature; None while it is being made."""

    artifact: Artifact
    signature: Sound | None
    #: Bytes of the artifact that the signature covers so far.
    done: int = 0


async def find_signature(engine: Context, who: Principal, artifact_id: str, *, wait: float) -> Signed:
    """Find the signature of an artifact, or begin to make it and wait at most ``wait`` seconds for it.

    One that is damaged is made again.

    NotFound; Conflict when the artifact is too large to have one; BytesLost and StorageFailed when it cannot be read.
    """
    check_scope(who)
    artifact = await engine.catalog.get_artifact(artifact_id)
    if not who.owns(artifact.owner):
        raise NotFound("artifact")
    if artifact.size > MAX_SIGNED:
        raise Conflict(f"The artifact has no signature: it is larger than {MAX_SIGNED} bytes. Transfer the whole file.")
    found = await read_sound(engine.storage, artifact.sha256, artifact.size)
    if found is None:
        signer = engine.workers.signer
        if not await signer.sign(artifact.sha256, artifact.size, wait=wait):
            return Signed(artifact, None, signer.done(artifact.sha256))
        found = await read_sound(engine.storage, artifact.sha256, artifact.size)
    return Signed(artifact, found, artifact.size if found is not None else 0)


async def read_signature(engine: Context, artifact: Artifact, signature: Sound) -> AsyncIterator[bytes]:
    """Yield a signature in blocks, from memory if it is there. NotFound on the first step when it is gone."""
    if signature.data is not None:
        yield signature.data
        return
    async for block in engine.storage.read_signature(artifact.sha256, signature.size, READ_BLOCK):
        yield block


async def outline_of(engine: Context, signature: bytes) -> bytes:
    """Return the outline of a sound signature. It is made on the threads that read stored chunks back."""
    return await asyncio.get_running_loop().run_in_executor(engine.workers.readers, make_outline, signature)
