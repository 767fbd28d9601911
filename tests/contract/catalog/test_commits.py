from __future__ import annotations

from dataclasses import replace

import pytest

from partwise.core.digests import EMPTY_SHA256
from partwise.core.errors import Conflict, IncompleteUpload, NotFound, UnverifiedUpload, WrongState
from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact, Task, TaskState, Usage
from partwise.core.state import UploadState
from partwise.engine.ports import Catalog
from tests.contract.catalog.support import (
    NOW,
    SHA_A,
    SHA_B,
    UNLIMITED,
    committed,
    covered,
    later,
    make_task,
    make_upload,
    record,
)


async def test_progress_counts_only_under_its_epoch(catalog: Catalog) -> None:
    await covered(catalog)
    assert await catalog.publish_digest("u1", 0, 40, None)
    assert not await catalog.publish_digest("u1", 1, 50, None)
    assert not await catalog.publish_digest("gone", 0, 50, None)
    upload = await catalog.get_upload("u1")
    assert (upload.hashed, upload.digest, upload.updated) == (40, None, NOW)
    assert await catalog.publish_digest("u1", 0, 100, SHA_A)
    # A slower follower of the same epoch neither fails nor undoes the digest.
    assert await catalog.publish_digest("u1", 0, 60, None)
    upload = await catalog.get_upload("u1")
    assert (upload.hashed, upload.digest) == (100, SHA_A)


async def test_other_digests_go_to_the_link_if_they_are_of_its_content(catalog: Catalog) -> None:
    beside = {"md5": "m", "sha1": "s"}
    await covered(catalog)
    assert not await catalog.publish_digest("u1", 1, 100, SHA_A, {"sha256": SHA_A, **beside})
    assert (await catalog.get_upload("u1")).digests == {}
    assert await catalog.publish_digest("u1", 0, 100, SHA_A, {"sha256": SHA_A, **beside})
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    made = await catalog.complete_commit("u1", SHA_A, "a1", NOW, generation=0)
    assert made.digests == (await catalog.get_artifact("a1")).digests == beside
    noted = await catalog.note_digests("a1", {"sha256": SHA_A, "sha512": "t"})
    assert noted == await catalog.get_artifact("a1")
    assert noted.digests == {**beside, "sha512": "t"}
    for others in ({"sha256": SHA_B, "md5": "x"}, {"md5": "x"}):
        assert await catalog.note_digests("a1", others) == noted
    with pytest.raises(NotFound):
        await catalog.note_digests("gone", {"sha256": SHA_A})


async def test_an_empty_file_has_a_digest_at_once(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(size=0), UNLIMITED)
    assert await catalog.publish_digest("u1", 0, 0, EMPTY_SHA256)
    assert (await catalog.get_upload("u1")).digest == EMPTY_SHA256
    await catalog.begin_commit("u1", None, make_task(), NOW)
    assert (await catalog.complete_commit("u1", EMPTY_SHA256, "a1", NOW, generation=0)).size == 0


async def test_a_covered_upload_goes_all_the_way(catalog: Catalog) -> None:
    upload = make_upload(filename="a.iso", media_type="application/x-iso")
    await catalog.create_upload(upload, UNLIMITED)
    await record(catalog, 0, 100)
    task = make_task()
    assert await catalog.begin_commit("u1", SHA_A, task, later(1)) == task
    assert await catalog.list_committing() == ["u1"]
    upload = await catalog.get_upload("u1")
    assert (upload.state, upload.expected_sha256, upload.updated) == (UploadState.COMMITTING, SHA_A, later(1))
    made = await catalog.complete_commit("u1", SHA_A, "a1", later(2), generation=0)
    assert made == Artifact(
        id="a1",
        owner="ann",
        sha256=SHA_A,
        size=100,
        created=later(2),
        filename="a.iso",
        media_type="application/x-iso",
    )
    assert await catalog.get_artifact("a1") == made
    assert await catalog.has_artifact(SHA_A)
    assert await catalog.list_committing() == []
    upload = await catalog.get_upload("u1")
    assert (upload.state, upload.artifact_id, upload.sha256) == (UploadState.COMPLETED, "a1", SHA_A)
    assert upload.completed == later(2)
    assert await catalog.get_task("t1") == replace(task, state=TaskState.COMPLETED, finished=later(2), artifact_id="a1")
    assert await catalog.usage("ann") == Usage(reserved=0, stored=100, open_uploads=0, artifacts=1)


async def test_nothing_incomplete_commits(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    await record(catalog, 10, 10)
    await record(catalog, 50, 49)
    with pytest.raises(IncompleteUpload) as caught:
        await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    assert caught.value.missing == [ByteRange(0, 10), ByteRange(20, 30), ByteRange(99, 1)]
    assert caught.value.count == 3
    assert (await catalog.get_upload("u1")).state is UploadState.OPEN
    with pytest.raises(NotFound):
        await catalog.get_task("t1")


async def test_the_first_gaps_are_listed_and_all_counted(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(size=300), UNLIMITED)
    for offset in range(0, 300, 2):
        await record(catalog, offset, 1)
    with pytest.raises(IncompleteUpload) as caught:
        await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    assert (len(caught.value.missing), caught.value.count) == (100, 150)


async def test_an_unknown_size_does_not_commit(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(size=None), UNLIMITED)
    with pytest.raises(Conflict):
        await catalog.begin_commit("u1", SHA_A, make_task(), NOW)


async def test_without_a_digest_every_chunk_must_be_verified(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    await record(catalog, 0, 50, sha256=SHA_A, verified=True)
    await record(catalog, 50, 50, sha256=SHA_A)
    with pytest.raises(UnverifiedUpload):
        await catalog.begin_commit("u1", None, make_task(), NOW)
    await record(catalog, 50, 50, sha256=SHA_A, verified=True, replace=True)
    assert (await catalog.begin_commit("u1", None, make_task(), NOW)).id == "t1"


async def test_a_second_commit_joins_the_first_if_it_expects_the_same(catalog: Catalog) -> None:
    await covered(catalog)
    first = await catalog.begin_commit("u1", SHA_A, make_task("t1"), NOW)
    assert await catalog.begin_commit("u1", SHA_A, make_task("t2", created=later(1)), NOW) == first
    for other in (SHA_B, None):
        with pytest.raises(WrongState):
            await catalog.begin_commit("u1", other, make_task("t3"), NOW)
    assert (await catalog.list_tasks("ann")).count == 1


async def test_a_commit_that_is_rejected_for_lost_bytes_opens_the_upload_without_them(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    first, *rest = await catalog.list_chunks("u1")
    await catalog.reject_commit("u1", "lost", later(3), lost=[first.offset])
    upload = await catalog.get_upload("u1")
    assert (upload.state, upload.epoch, upload.received) == (UploadState.OPEN, 1, sum(chunk.size for chunk in rest))
    assert await catalog.list_chunks("u1") == rest
    assert (await catalog.get_task("t1")).state is TaskState.FAILED


async def test_a_rejected_commit_leaves_the_upload_open_and_intact(catalog: Catalog) -> None:
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_B, make_task(), NOW)
    before = await catalog.list_chunks("u1")
    await catalog.reject_commit("u1", "another digest", later(3), found_sha256=SHA_A)
    upload = await catalog.get_upload("u1")
    assert (upload.state, upload.expected_sha256, upload.epoch) == (UploadState.OPEN, None, 0)
    assert await catalog.list_chunks("u1") == before
    task = await catalog.get_task("t1")
    assert (task.state, task.error, task.finished) == (TaskState.FAILED, "another digest", later(3))
    assert task.found_sha256 == SHA_A
    with pytest.raises(WrongState):
        await catalog.reject_commit("u1", "again", NOW)
    again = await catalog.begin_commit("u1", SHA_A, make_task("t2", created=later(4)), NOW)
    assert again.id == "t2"
    assert await catalog.find_task("u1") == again
    await catalog.complete_commit("u1", SHA_A, "a1", NOW, generation=0)
    assert (await catalog.get_task("t1")).state is TaskState.FAILED


async def test_completing_again_gives_the_same_answer(catalog: Catalog) -> None:
    await covered(catalog)
    with pytest.raises(WrongState):
        await catalog.complete_commit("u1", SHA_A, "a1", NOW, generation=0)
    await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    with pytest.raises(Conflict):
        await catalog.complete_commit("u1", SHA_B, "a1", NOW, generation=0)
    first = await catalog.complete_commit("u1", SHA_A, "a1", later(1), generation=0)
    assert await catalog.complete_commit("u1", SHA_A, "a2", later(2), generation=0) == first
    assert (await catalog.list_artifacts(None)).count == 1
    with pytest.raises(WrongState):
        await catalog.complete_commit("u1", SHA_B, "a3", NOW, generation=0)
    with pytest.raises(WrongState):
        await catalog.begin_commit("u1", SHA_A, make_task("t2"), NOW)


async def test_an_internal_upload_ends_with_its_commit(catalog: Catalog) -> None:
    await catalog.create_upload(replace(make_upload(), internal=True), UNLIMITED)
    await record(catalog, 0, 100)
    task = await catalog.begin_commit("u1", SHA_A, make_task(), NOW)
    made = await catalog.complete_commit("u1", SHA_A, "a1", NOW, generation=0)
    for look in (catalog.get_upload, catalog.list_chunks):
        with pytest.raises(NotFound):
            await look("u1")
    assert await catalog.list_internal() == []
    done = await catalog.get_task(task.id)
    assert (done.state, done.artifact_id) == (TaskState.COMPLETED, made.id)
    assert await catalog.usage(made.owner) == Usage(reserved=0, stored=100, open_uploads=0, artifacts=1)


async def test_the_same_content_is_one_artifact_and_one_link_for_each_owner(catalog: Catalog) -> None:
    assert await committed(catalog, "u1", artifact_id="a1", filename="first") == "a1"
    assert await committed(catalog, "u2", artifact_id="a2", filename="second") == "a1"
    assert await committed(catalog, "u3", artifact_id="a3", owner="bob", filename="bob's") == "a3"
    assert (await catalog.get_artifact("a1")).filename == "first"
    assert (await catalog.get_upload("u2")).artifact_id == "a1"
    names = [(await catalog.get_upload(name)).artifact_filename for name in ("u1", "u2", "u3")]
    assert names == ["first", "first", "bob's"]
    assert (await catalog.get_task("t-u2")).artifact_id == "a1"
    assert await catalog.all_artifacts() == [(SHA_A, 100)]
    assert (await catalog.usage("ann")).stored == (await catalog.usage("bob")).stored == 100

    assert not await catalog.unlink_artifact("a1")
    assert await catalog.has_artifact(SHA_A)
    with pytest.raises(NotFound):
        await catalog.get_artifact("a1")
    assert (await catalog.get_upload("u1")).artifact_id == "a1"
    assert await catalog.unlink_artifact("a3")
    assert not await catalog.has_artifact(SHA_A)
    assert await catalog.all_artifacts() == []


async def test_content_that_the_owner_has_completes_at_once(catalog: Catalog) -> None:
    await committed(catalog, "u1")
    task = make_task("t9", "u9", created=later(1))

    assert await catalog.complete_instantly(make_upload("u9", owner="bob"), SHA_A, task, later(2)) is None
    assert await catalog.complete_instantly(make_upload("u9"), SHA_B, task, later(2)) is None
    assert await catalog.complete_instantly(make_upload("u9", size=99), SHA_A, task, later(2)) is None
    with pytest.raises(NotFound):
        await catalog.get_upload("u9")

    link = await catalog.complete_instantly(make_upload("u9", filename="again"), SHA_A, task, later(2))
    assert link == await catalog.get_artifact("a1")
    upload = await catalog.get_upload("u9")
    assert (upload.state, upload.artifact_id, upload.sha256) == (UploadState.COMPLETED, "a1", SHA_A)
    assert (upload.completed, upload.size, upload.artifact_filename) == (later(2), 100, link.filename)
    done = await catalog.find_task("u9")
    assert done == replace(task, state=TaskState.COMPLETED, artifact_id="a1", finished=later(2))


@pytest.mark.parametrize("failed", ["t0", "t9"])
@pytest.mark.parametrize("shift", [0, -5, 5])
async def test_the_task_of_an_upload_is_the_one_that_counts(catalog: Catalog, failed: str, shift: int) -> None:
    """Whatever the clock said, a repeated commit is not answered with a failure of before."""
    await covered(catalog)
    await catalog.begin_commit("u1", SHA_B, make_task(failed, created=later(10)), NOW)
    await catalog.reject_commit("u1", "another digest", later(11), found_sha256=SHA_A)
    running = await catalog.begin_commit("u1", SHA_A, make_task("t5", created=later(10 + shift)), NOW)
    assert await catalog.find_task("u1") == running
    assert await catalog.begin_commit("u1", SHA_A, make_task("t6", created=later(30)), NOW) == running
    await catalog.complete_commit("u1", SHA_A, "a1", NOW, generation=0)
    done = await catalog.find_task("u1")
    assert done is not None
    assert (done.id, done.state) == ("t5", TaskState.COMPLETED)


async def test_artifacts_are_found_by_long_names(catalog: Catalog) -> None:
    names = ["\U0001f4be" * 1023 + end for end in "ab"]
    await committed(catalog, "u1", artifact_id="a1", now=later(1), filename=names[0])
    await committed(catalog, "u2", artifact_id="a2", now=later(2), sha256=SHA_B, filename=names[1])
    for number, name in enumerate(names, 1):
        page = await catalog.list_artifacts("ann", filename=name)
        assert [artifact.id for artifact in page.items] == [f"a{number}"]
    assert (await catalog.list_artifacts("ann", filename=names[0][:-1])).items == []


async def test_artifacts_are_listed_by_owner_digest_and_name(catalog: Catalog) -> None:
    await committed(catalog, "u1", artifact_id="a1", now=later(1), filename="Ä.iso")
    await committed(catalog, "u2", artifact_id="a2", now=later(2), sha256=SHA_B, filename="b.img")
    await committed(catalog, "u3", artifact_id="a3", now=later(3), owner="bob")

    async def ids(owner: str | None, **arguments: object) -> list[str]:
        page = await catalog.list_artifacts(owner, **arguments)  # type: ignore[arg-type]
        return [artifact.id for artifact in page.items]

    assert await ids("ann") == ["a2", "a1"]
    assert await ids(None) == ["a3", "a2", "a1"]
    assert await ids(None, sha256=SHA_A) == ["a3", "a1"]
    assert await ids("bob", sha256=SHA_B) == []
    assert await ids("ann", search="ä.ISO") == ["a1"]
    assert await ids("ann", filename="Ä.iso") == await ids(None, filename="Ä.iso") == ["a1"]
    for name in ("ä.iso", "Ä.is", "", "b.img\0", "b" * 2000):
        assert await ids("ann", filename=name) == []
    assert await ids("bob", filename="b.img") == []
    page = await catalog.list_artifacts(None, offset=2, limit=5)
    assert ([artifact.id for artifact in page.items], page.count) == (["a1"], 3)
    assert await catalog.all_artifacts(limit=1) == [(SHA_A, 100)]
    assert await catalog.all_artifacts(after=SHA_A) == [(SHA_B, 100)]


async def test_tasks_are_listed_by_owner_and_outlive_their_uploads(catalog: Catalog) -> None:
    await committed(catalog, "u1")
    await committed(catalog, "u2", owner="bob", artifact_id="a2")
    assert [task.id for task in (await catalog.list_tasks("ann")).items] == ["t-u1"]
    page = await catalog.list_tasks(None, limit=1)
    assert ([task.id for task in page.items], page.count) == (["t-u2"], 2)
    await catalog.begin_delete("u1")
    await catalog.finish_delete("u1")
    task: Task = await catalog.get_task("t-u1")
    assert task.state is TaskState.COMPLETED
    assert (await catalog.get_artifact("a1")).owner == "ann"
