from __future__ import annotations

import pytest

from partwise.core.errors import Conflict, NotFound
from partwise.core.events import EventType
from partwise.engine.ports import Catalog
from tests.contract.catalog.support import NOW, SHA_A, committed, later


async def test_the_only_link_goes_and_a_note_comes(catalog: Catalog) -> None:
    await committed(catalog)
    released = await catalog.release_artifact("a1", "/srv/file", later(5))
    assert (released.owner, released.sha256, released.size, released.path) == ("ann", SHA_A, 100, "/srv/file")
    assert await catalog.find_release("a1") == released
    assert not await catalog.has_artifact(SHA_A)
    assert await catalog.count_links(SHA_A) == 0
    with pytest.raises(NotFound):
        await catalog.get_artifact("a1")
    with pytest.raises(NotFound):
        await catalog.release_artifact("a1", "/srv/file", later(5))
    kinds = [event.type for event in (await catalog.list_events(None, after=None)).events]
    assert kinds == [EventType.UPLOAD_COMPLETED, EventType.ARTIFACT_RELEASED]
    assert await catalog.prune_releases(later(5)) == 0
    assert await catalog.prune_releases(later(6)) == 1
    assert await catalog.find_release("a1") is None


async def test_content_of_two_owners_stays(catalog: Catalog) -> None:
    await committed(catalog)
    await committed(catalog, "u2", owner="bob", artifact_id="a2")
    assert await catalog.count_links(SHA_A) == 2
    with pytest.raises(Conflict):
        await catalog.release_artifact("a1", "/srv/file", NOW)
    assert await catalog.find_release("a1") is None
    assert (await catalog.get_artifact("a1")).owner == "ann"
