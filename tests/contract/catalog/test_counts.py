"""What is counted as it changes is what counting would find, whoever writes, and whatever was undone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, insert, inspect, select

from partwise.catalog import SqlCatalog, counts, migrate, open_catalog
from partwise.catalog.tables import UPLOAD, artifact_links, artifacts, tasks, uploads
from partwise.core.errors import QuotaExceeded
from partwise.core.records import Upload
from partwise.core.state import UploadState
from partwise.engine.ports import OwnerLimits
from tests.contract.catalog.support import NOW, SHA_A, SHA_B, UNLIMITED, committed, later, make_upload
from tests.support.records import migrate_to


def counted(connection: Connection) -> dict[str, object]:
    """What is looked up, of all owners and of each."""
    owners = ("ann", "ben")
    found: dict[str, object] = {"artifact": counts.by_state(connection, "artifact", None)}
    for kind in ("upload", "link", "task"):
        for owner in (None, *owners):
            numbers = counts.by_state(connection, kind, owner)
            found[f"{kind} {owner}"] = {state: one for state, one in numbers.items() if one.count}
    return found


def recounted(connection: Connection) -> dict[str, object]:
    """The same by a look at each row."""
    size = func.coalesce(func.sum(artifacts.c.size), 0)
    found: dict[str, object] = {}
    rows = connection.execute(select(func.count(), size).select_from(artifacts)).one()
    found["artifact"] = {"": counts.Counted(rows[0], int(rows[1]))}
    for owner in (None, "ann", "ben"):
        for kind, table in (("upload", uploads), ("task", tasks)):
            states = select(table.c.state, func.count()).group_by(table.c.state)
            states = states if owner is None else states.where(table.c.owner == owner)
            found[f"{kind} {owner}"] = {
                str(state): counts.Counted(number) for state, number in connection.execute(states)
            }
        links = select(func.count(), func.sum(artifact_links.c.size))
        links = links if owner is None else links.where(artifact_links.c.owner == owner)
        number, total = connection.execute(links).one()
        found[f"link {owner}"] = {"": counts.Counted(number, int(total))} if number else {}
    return found


async def is_right(catalog: SqlCatalog) -> None:
    assert await catalog.runner.read(counted) == await catalog.runner.read(recounted)


async def test_counts_follow_each_change(catalog: SqlCatalog) -> None:
    first = await committed(catalog)
    await is_right(catalog)
    await committed(catalog, "u2", owner="ben", artifact_id="a2")
    await committed(catalog, "u3", owner="ben", sha256=SHA_B, artifact_id="a3")
    await catalog.create_upload(make_upload("u4", size=None), UNLIMITED)
    await is_right(catalog)
    assert await catalog.fold_counts() >= 0
    await is_right(catalog)
    assert not await catalog.unlink_artifact(first)
    assert await catalog.unlink_artifact("a3")
    await catalog.begin_delete("u4")
    await is_right(catalog)
    await catalog.finish_delete("u4")
    await catalog.begin_delete("u1")
    await catalog.finish_delete("u1")
    await catalog.prune_tasks(later(10), 10, gone_before=later(10))
    await is_right(catalog)
    await catalog.fold_counts()
    assert await catalog.fold_counts() == 0
    await is_right(catalog)


async def test_what_is_undone_counts_for_nothing(catalog: SqlCatalog) -> None:
    await catalog.create_upload(make_upload(size=60), OwnerLimits(quota=100))
    with pytest.raises(QuotaExceeded):
        await catalog.create_upload(make_upload("u2", size=60), OwnerLimits(quota=100))

    def fails(connection: Connection) -> None:
        connection.execute(uploads.delete())
        raise LookupError

    with pytest.raises(LookupError):
        await catalog.runner.write(fails)
    assert (await catalog.count_states())["open"] == 1
    await is_right(catalog)


async def test_many_at_once_count_each(catalog: SqlCatalog, url: str) -> None:
    other = open_catalog(url)
    await other.start()

    async def come_and_go(of: SqlCatalog, number: int) -> None:
        upload = make_upload(f"u{number}", owner=("ann", "ben")[number % 2])
        await of.create_upload(upload, OwnerLimits(quota=10**9))
        if number % 3:
            await of.begin_delete(upload.id)
            await of.finish_delete(upload.id)

    calls = [come_and_go((catalog, other)[number % 4 // 2], number) for number in range(40)]
    await asyncio.gather(*calls, *(of.fold_counts() for of in (catalog, other) * 5))
    await other.stop()
    assert (await catalog.count_states())["open"] == 14
    await is_right(catalog)
    await catalog.fold_counts()
    await is_right(catalog)


async def test_an_older_schema_is_counted_when_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    migrate_to(path, "0011")
    old = open_catalog(f"sqlite:///{path}")
    await old.start()

    def fill(connection: Connection) -> None:
        known = {column["name"] for column in inspect(connection).get_columns(uploads.name)}
        for number in range(3):
            upload = Upload(id=f"u{number}", owner="ann", size=1, created=NOW, updated=NOW)
            upload = replace(upload, state=UploadState.COMPLETED if number else UploadState.OPEN)
            row = {column.name: getattr(upload, column.name) for column in UPLOAD if column.name in known}
            connection.execute(insert(uploads), row | {"search_name": ""})
        for number, size in enumerate((2**62, 2**62 - 1, 2**61)):
            sha256 = f"{number}" * 64
            connection.execute(insert(artifacts), {"sha256": sha256, "size": size, "created": NOW})
            link = {"id": sha256, "owner": "ann", "sha256": sha256, "size": size, "created": NOW, "search_name": ""}
            connection.execute(insert(artifact_links), link)

    await old.runner.write(fill)
    migrate(f"sqlite:///{path}")
    # The older server goes on beside the new schema.
    await old.runner.write(lambda connection: connection.execute(artifacts.insert(), _artifact(SHA_A)))
    assert await old.count_states() == {"open": 1, "committing": 0, "completed": 2, "deleting": 0}
    totals = await old.totals()
    assert (totals.artifacts, totals.artifact_bytes) == (4, 2**62 + 2**62 - 1 + 2**61 + 7)
    assert (await old.usage("ann")).stored == 2**62 + 2**62 - 1 + 2**61
    await old.stop()


def _artifact(sha256: str) -> dict[str, object]:
    return {"sha256": sha256, "size": 7, "created": NOW}


@pytest.mark.parametrize("states", [(), ("completed",), ("open",), ("open", "completed"), ("committing", "open")])
@pytest.mark.parametrize("owner", [None, "ann"])
async def test_pages_behind_a_key_are_those_of_an_offset(
    catalog: SqlCatalog, owner: str | None, states: tuple[str, ...]
) -> None:
    for number in range(9):
        made = make_upload(f"u{number}", created=later(number // 2), owner=("ann", "ben")[number % 5 // 4])
        state = (UploadState.OPEN, UploadState.COMPLETED, UploadState.COMMITTING)[number % 3]
        await catalog.create_upload(replace(made, state=state), UNLIMITED)
    whole = await catalog.list_uploads(owner, states=states)
    assert whole.count == len(whole.items) > 0
    assert not whole.more
    found: list[Upload] = []
    while True:
        after = (found[-1].created, found[-1].id) if found else None
        page = await catalog.list_uploads(owner, states=states, limit=2, after=after)
        by_offset = await catalog.list_uploads(owner, states=states, limit=2, offset=len(found))
        assert page == by_offset
        found += page.items
        if not page.more:
            break
    assert found == whole.items


async def test_a_quota_of_ones_own_counts_in_place_of_the_default(catalog: SqlCatalog) -> None:
    default = OwnerLimits(quota=100)
    await catalog.set_quota("ann", 50)
    with pytest.raises(QuotaExceeded):
        await catalog.create_upload(make_upload(size=60), default)
    with pytest.raises(QuotaExceeded):
        await catalog.create_upload(make_upload(size=60), UNLIMITED)
    await catalog.create_upload(make_upload("u2", size=60, owner="ben"), default)
    await catalog.set_quota("ann", None)
    assert await catalog.owner_quota("ann", 100) is None
    await catalog.create_upload(make_upload(size=600), default)
    await catalog.forget_quota("ann")
    assert await catalog.owner_quota("ann", 100) == 100
    with pytest.raises(QuotaExceeded):
        await catalog.create_upload(make_upload("u3", size=1), default)
    assert await catalog.list_owners() == ["ann", "ben"]
