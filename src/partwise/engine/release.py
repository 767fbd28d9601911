"""Release an artifact: its file becomes the application's, moved within the file system, without a copy.

The file has a second name first, at the application's path. Then one transaction forgets the artifact and notes the
path. Then the first name goes. The whole may be repeated after a crash at any point:

=======================  ==========================================  =========================================
crash after              left behind                                 the same call again
=======================  ==========================================  =========================================
the second name          an artifact as before, with a second name   goes on
the transaction          no artifact, and a file without a record    takes the first name away
the first name is gone   nothing                                     answers the same
=======================  ==========================================  =========================================
"""

from __future__ import annotations

from partwise.core.errors import Conflict, NotFound
from partwise.core.records import Principal, Release
from partwise.engine.artifacts import get_artifact
from partwise.engine.context import Context, check_scope
from partwise.engine.ports import ReleasingStorage


async def release(engine: Context, who: Principal, artifact_id: str, path: str) -> Release:
    """Move the artifact's file to ``path``, an absolute path on the same file system, where no file is yet.

    From then on the file is the caller's alone. NotFound; Conflict: another user has the same content, the path cannot
    be used, or the artifact was released to another path.
    """
    check_scope(who)
    storage = engine.storage
    if not isinstance(storage, ReleasingStorage):
        raise Conflict("The artifact cannot be released: it is in an object store. Download it instead.")
    try:
        artifact = await get_artifact(engine, who, artifact_id)
    except NotFound:
        return await _repeated(engine, storage, who, artifact_id, path)
    async with engine.storage.digest_lock(artifact.sha256):
        if await engine.catalog.count_links(artifact.sha256) > 1:
            raise Conflict("The artifact cannot be released: another user has the same content. Download it instead.")
        await storage.link_out(artifact.sha256, path)
        engine.failpoint("release.linked")
        try:
            released = await engine.catalog.release_artifact(artifact_id, path, engine.clock())
        except (Conflict, NotFound):
            await storage.take_back(artifact.sha256, path)
            raise
        engine.failpoint("release.recorded")
        await storage.let_go(artifact.sha256, path)
        engine.failpoint("release.unlinked")
    return released


async def _repeated(engine: Context, storage: ReleasingStorage, who: Principal, artifact_id: str, path: str) -> Release:
    released = await engine.catalog.find_release(artifact_id)
    if released is None or not who.owns(released.owner):
        raise NotFound("artifact")
    if released.path != path:
        raise Conflict("The artifact cannot be released: it was already released to another path.")
    async with engine.storage.digest_lock(released.sha256):
        await storage.let_go(released.sha256, path)
    return released
