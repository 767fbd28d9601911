from __future__ import annotations

import pytest

from partwise.core.errors import Conflict, NotFound, QuotaExceeded, TooManyUploads, WrongState
from partwise.core.ranges import MAX_SIZE
from partwise.core.records import Upload, Usage
from partwise.core.state import UploadState
from partwise.engine.ports import Catalog, OwnerLimits
from tests.contract.catalog.support import (
    NOW,
    SHA_A,
    UNLIMITED,
    committed,
    covered,
    later,
    make_task,
    make_upload,
    record,
)


async def test_an_upload_comes_back_as_it_went_in(catalog: Catalog) -> None:
    full = Upload(
        id="u1",
        owner="ann",
        size=MAX_SIZE,
        created=NOW,
        updated=later(1.000001),
        epoch=3,
        seq=2**61,
        durable_seq=4,
        declared_sha256=SHA_A,
        filename="naïve 📦.iso",
        media_type="application/x-iso",
        notes={"Upload-Metadata": "filename ZsO8", "ü": ""},
    )
    await catalog.create_upload(full, UNLIMITED)
    assert await catalog.get_upload("u1") == full


async def test_what_is_not_there_is_not_found(catalog: Catalog) -> None:
    calls = [
        catalog.get_upload("no"),
        catalog.set_size("no", 1, UNLIMITED, NOW),
        catalog.set_name("no", "name", None, NOW),
        catalog.begin_delete("no"),
        catalog.list_chunks("no"),
        record(catalog, 0, 1, upload_id="no"),
        catalog.unrecord_chunk("no", 0),
        catalog.unrecord_undurable("no"),
        catalog.begin_commit("no", None, make_task(), NOW),
        catalog.reject_commit("no", "", NOW),
        catalog.complete_commit("no", SHA_A, "a1", NOW, generation=0),
        catalog.get_artifact("no"),
        catalog.unlink_artifact("no"),
        catalog.get_task("no"),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call
    assert await catalog.find_task("no") is None
    assert not await catalog.has_artifact(SHA_A)
    await catalog.mark_durable("no", 1)
    await catalog.finish_delete("no")


async def test_the_quota_counts_unfinished_uploads_and_artifacts(catalog: Catalog) -> None:
    await committed(catalog, "done")
    await covered(catalog, "committing")
    await catalog.begin_commit("committing", SHA_A, make_task("t2", "committing"), NOW)
    await catalog.create_upload(make_upload("open", size=50), UNLIMITED)
    await catalog.create_upload(make_upload("deferred", size=None), UNLIMITED)
    await catalog.create_upload(make_upload("deleting", size=1000), UNLIMITED)
    await catalog.begin_delete("deleting")
    await catalog.create_upload(make_upload("other", owner="bob", size=1000), UNLIMITED)
    assert await catalog.usage("ann") == Usage(reserved=150, stored=100, open_uploads=3, artifacts=1)

    limits = OwnerLimits(quota=300)
    with pytest.raises(QuotaExceeded) as caught:
        await catalog.create_upload(make_upload("more", size=51), limits)
    assert (caught.value.used, caught.value.limit) == (250, 300)
    with pytest.raises(NotFound):
        await catalog.get_upload("more")
    await catalog.create_upload(make_upload("more", size=50), limits)


async def test_sums_hold_however_large_the_sizes(catalog: Catalog) -> None:
    for index in range(5):
        await catalog.create_upload(make_upload(f"u{index}", size=MAX_SIZE), UNLIMITED)
    assert (await catalog.usage("ann")).reserved == 5 * MAX_SIZE
    assert await catalog.usage("nobody") == Usage(reserved=0, stored=0, open_uploads=0, artifacts=0)


async def test_the_number_of_unfinished_uploads_is_limited_for_each_owner(catalog: Catalog) -> None:
    limits = OwnerLimits(open_uploads=1)
    await committed(catalog, "done")
    await catalog.create_upload(make_upload("u1"), limits)
    with pytest.raises(TooManyUploads):
        await catalog.create_upload(make_upload("u2"), limits)
    await catalog.create_upload(make_upload("u2", owner="bob"), limits)
    await catalog.begin_delete("u1")
    await catalog.create_upload(make_upload("u3"), limits)


async def test_a_size_is_set_later_and_counts_from_then_on(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(size=None), UNLIMITED)
    await record(catalog, 0, 40)
    limits = OwnerLimits(quota=100)
    with pytest.raises(QuotaExceeded):
        await catalog.set_size("u1", 101, limits, later(1))
    with pytest.raises(Conflict, match="bytes up to 40"):
        await catalog.set_size("u1", 39, limits, later(1))
    assert (await catalog.get_upload("u1")).size is None
    changed = await catalog.set_size("u1", 100, limits, later(2))
    assert (changed.size, changed.updated) == (100, later(2))
    assert changed == await catalog.get_upload("u1")
    # What the upload itself holds does not stand in its own way.
    assert (await catalog.set_size("u1", 40, limits, NOW)).size == 40
    assert (await catalog.usage("ann")).reserved == 40


async def test_a_new_size_voids_the_digest_of_the_old_whole(catalog: Catalog) -> None:
    await covered(catalog)
    assert await catalog.publish_digest("u1", 0, 100, SHA_A)
    assert (await catalog.set_size("u1", 200, UNLIMITED, NOW)).digest is None
    # A follower that began under the old size comes too late.
    assert not await catalog.publish_digest("u1", 0, 100, SHA_A)
    assert (await catalog.get_upload("u1")).digest is None


async def test_the_size_of_what_is_not_open_stays(catalog: Catalog) -> None:
    await committed(catalog)
    with pytest.raises(WrongState):
        await catalog.set_size("u1", 200, UNLIMITED, NOW)


async def test_listing_goes_by_owner_state_and_name_newest_first(catalog: Catalog) -> None:
    names = ["Debian.ISO", "100%_a.img", "ÜBUNG.iso", None]
    for index, name in enumerate(names):
        await catalog.create_upload(make_upload(f"u{index}", created=later(index), filename=name), UNLIMITED)
    await catalog.create_upload(make_upload("x", owner="bob", created=later(9)), UNLIMITED)
    await catalog.begin_delete("u3")

    async def ids(owner: str | None = "ann", **arguments: object) -> list[str]:
        page = await catalog.list_uploads(owner, **arguments)  # type: ignore[arg-type]
        return [upload.id for upload in page.items]

    assert await ids() == ["u3", "u2", "u1", "u0"]
    assert await ids(None) == ["x", "u3", "u2", "u1", "u0"]
    assert await ids(states=["open"]) == ["u2", "u1", "u0"]
    assert await ids(states=["committing", "deleting"]) == ["u3"]
    assert await ids(search="iso") == ["u2", "u0"]
    assert await ids(search="übung") == ["u2"]
    assert await ids(search="0%_") == ["u1"]
    assert await ids(search="_") == ["u1"]
    page = await catalog.list_uploads("ann", offset=1, limit=2)
    assert ([upload.id for upload in page.items], page.count) == (["u2", "u1"], 4)


async def test_equal_times_still_make_one_order(catalog: Catalog) -> None:
    for index in (2, 0, 1):
        await catalog.create_upload(make_upload(f"u{index}"), UNLIMITED)
    pages = [await catalog.list_uploads("ann", offset=index, limit=1) for index in range(3)]
    assert [page.items[0].id for page in pages] == ["u2", "u1", "u0"]


async def test_a_name_that_is_learnt_later(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    await catalog.set_name("u1", "Größe.iso", "text/plain", later(5))
    upload = await catalog.get_upload("u1")
    assert (upload.filename, upload.media_type, upload.updated) == ("Größe.iso", "text/plain", later(5))
    assert (await catalog.list_uploads("ann", search="GRÖSSE")).count == 1


async def test_deletion_flips_first_and_forgets_then(catalog: Catalog) -> None:
    await covered(catalog)
    with pytest.raises(Conflict):
        await catalog.finish_delete("u1")
    assert (await catalog.begin_delete("u1")).state is UploadState.DELETING
    assert (await catalog.begin_delete("u1")).state is UploadState.DELETING
    with pytest.raises(WrongState):
        await record(catalog, 0, 1)
    with pytest.raises(WrongState):
        await catalog.unrecord_chunk("u1", 0)
    await catalog.finish_delete("u1")
    await catalog.finish_delete("u1")
    with pytest.raises(NotFound):
        await catalog.get_upload("u1")
    # A new upload of the same id finds no chunks left behind.
    await catalog.create_upload(make_upload(), UNLIMITED)
    assert await catalog.list_chunks("u1") == []


async def test_a_commit_in_progress_is_not_deleted(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    with pytest.raises(WrongState):
        await catalog.begin_delete("u1")


async def test_idle_uploads_are_the_ones_to_expire(catalog: Catalog) -> None:
    await committed(catalog, "done-old", now=later(10), artifact_id="a1")
    await committed(catalog, "done-new", now=later(60), artifact_id="a2")
    await catalog.create_upload(make_upload("idle"), UNLIMITED)
    await catalog.create_upload(make_upload("busy"), UNLIMITED)
    await record(catalog, 0, 1, upload_id="busy", now=later(60))
    await covered(catalog, "committing")
    await catalog.begin_commit("committing", SHA_A, make_task("t", "committing"), NOW)
    await catalog.create_upload(make_upload("going", created=later(90)), UNLIMITED)
    await catalog.begin_delete("going")

    found = await catalog.idle_uploads(open_before=later(50), completed_before=later(50), limit=10)
    assert {upload.id for upload in found} == {"done-old", "idle", "going"}
    assert len(await catalog.idle_uploads(open_before=later(50), completed_before=later(50), limit=2)) == 2


async def test_states_are_counted(catalog: Catalog) -> None:
    assert await catalog.count_states() == {"open": 0, "committing": 0, "completed": 0, "deleting": 0}
    await committed(catalog)
    await catalog.create_upload(make_upload("u2"), UNLIMITED)
    assert await catalog.count_states() == {"open": 1, "committing": 0, "completed": 1, "deleting": 0}
