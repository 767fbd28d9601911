"""Releasing an artifact: whose file it is after each step, and after a crash between two of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from partwise.core.errors import Conflict, NotFound
from partwise.core.events import EventType
from partwise.core.records import Principal
from partwise.engine import artifacts
from partwise.engine.artifacts import get_artifact, store_file
from partwise.engine.context import no_failpoint
from partwise.engine.engine import Engine
from partwise.engine.release import release
from partwise.testing.memory import MemoryStorage
from tests.support.bodies import BytesBody, sha256
from tests.support.engines import new_data_folder, open_engine

ALICE, BOB, ADMIN = Principal("alice"), Principal("bob"), Principal("root", admin=True)
DATA = b"what was uploaded" * 100


class Died(BaseException):
    """The process ends here."""


@asynccontextmanager
async def running(data: Path, failpoint: Callable[[str], None] = no_failpoint) -> AsyncIterator[Engine]:
    if not data.exists():
        new_data_folder(data)
    engine = open_engine(data, failpoint=failpoint)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def stored(engine: Engine, who: Principal = ALICE, data: bytes = DATA) -> str:
    return (await store_file(engine, who, BytesBody(data), bound=len(data))).id


def file_of(data: Path, content: bytes = DATA) -> Path:
    digest = sha256(content)
    return data / "artifacts" / digest[:2] / digest[2:]


async def test_the_file_is_the_applications_alone(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as engine:
        artifact_id, path = await stored(engine), tmp_path / "out"
        inode = file_of(tmp_path / "data").stat().st_ino
        released = await release(engine, ALICE, artifact_id, str(path))
        assert (released.sha256, released.size) == (sha256(DATA), len(DATA))
        found = path.stat()
        assert (found.st_ino, found.st_nlink, found.st_mode & 0o777) == (inode, 1, 0o600)
        assert path.read_bytes() == DATA
        assert not file_of(tmp_path / "data").exists()
        with pytest.raises(NotFound):
            await get_artifact(engine, ALICE, artifact_id)
        assert (await engine.catalog.usage("alice")).stored == 0
        page = await engine.catalog.list_events(None, after=None)
        assert [event.type for event in page.events] == [EventType.UPLOAD_COMPLETED, EventType.ARTIFACT_RELEASED]
        # The same again, the same content again, and what the application does with its file.
        assert await release(engine, ALICE, artifact_id, str(path)) == released
        path.write_bytes(b"changed")
        again = await stored(engine)
        assert await engine.storage.verify_artifact(sha256(DATA))
        assert await release(engine, ALICE, artifact_id, str(path)) == released
        assert (await get_artifact(engine, ALICE, again)).sha256 == sha256(DATA)
        assert path.read_bytes() == b"changed"
        with pytest.raises(Conflict, match="another path"):
            await release(engine, ALICE, artifact_id, str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("point", ["release.linked", "release.recorded", "release.unlinked"])
async def test_after_a_crash_the_same_call_goes_on(tmp_path: Path, point: str) -> None:
    def die(name: str) -> None:
        if name == point:
            raise Died

    path = tmp_path / "out"
    async with running(tmp_path / "data", die) as engine:
        artifact_id = await stored(engine)
        with pytest.raises(Died):
            await release(engine, ALICE, artifact_id, str(path))
    async with running(tmp_path / "data") as engine:
        if point == "release.linked":
            assert (await get_artifact(engine, ALICE, artifact_id)).sha256 == sha256(DATA)
        released = await release(engine, ALICE, artifact_id, str(path))
        assert released.sha256 == sha256(DATA)
        assert (path.read_bytes(), path.stat().st_nlink) == (DATA, 1)
        assert path.stat().st_mode & 0o777 == 0o600
        assert not file_of(tmp_path / "data").exists()
        page = await engine.catalog.list_events(None, after=None)
        assert [event.type for event in page.events] == [EventType.UPLOAD_COMPLETED, EventType.ARTIFACT_RELEASED]


async def test_not_while_another_owner_has_the_content(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as engine:
        mine, theirs = await stored(engine), await stored(engine, BOB)
        with pytest.raises(Conflict, match="another user"):
            await release(engine, ALICE, mine, str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()
        await artifacts.delete_artifact(engine, BOB, theirs)
        await release(engine, ALICE, mine, str(tmp_path / "out"))
        assert (tmp_path / "out").read_bytes() == DATA


async def test_another_owner_who_comes_in_between_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count that is looked at first may be out of date: the transaction decides."""
    async with running(tmp_path / "data") as engine:
        mine, _theirs = await stored(engine), await stored(engine, BOB)

        async def one(_sha256: str) -> int:
            return 1

        monkeypatch.setattr(engine.catalog, "count_links", one)
        with pytest.raises(Conflict, match="another user"):
            await release(engine, ALICE, mine, str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()
        assert file_of(tmp_path / "data").stat().st_nlink == 1
        assert await engine.storage.verify_artifact(sha256(DATA))


async def test_others_artifacts_are_not_there(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as engine:
        artifact_id = await stored(engine)
        with pytest.raises(NotFound):
            await release(engine, BOB, artifact_id, str(tmp_path / "out"))
        await release(engine, ADMIN, artifact_id, str(tmp_path / "out"))
        with pytest.raises(NotFound):
            await release(engine, BOB, artifact_id, str(tmp_path / "out"))


def _is_other(folder: str, path: Path) -> bool:
    """Whether there is such a folder, on another file system."""
    return os.path.isdir(folder) and os.stat(folder).st_dev != path.stat().st_dev


async def test_paths_that_cannot_be_used(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as engine:
        artifact_id, taken = await stored(engine), tmp_path / "taken"
        taken.write_bytes(b"mine")
        (tmp_path / "link").symlink_to(taken)
        for path, said in [
            (taken, "file already exists at the path"),
            (tmp_path / "link", "file already exists at the path"),
            (tmp_path, "file already exists at the path"),
            (tmp_path / "none" / "x", "no such folder"),
            (taken / "x", "no such folder"),
            (tmp_path / ("x" * 300), "too long"),
            *([(Path("/dev/shm/partwise-x"), "another file system")] if _is_other("/dev/shm", tmp_path) else []),
        ]:
            with pytest.raises(Conflict, match=said):
                await release(engine, ALICE, artifact_id, str(path))
        assert taken.read_bytes() == b"mine"
        assert await engine.storage.verify_artifact(sha256(DATA))


async def test_not_while_an_upload_has_the_file(tmp_path: Path) -> None:
    """A commit that was cut between the link and its record: the upload's file is the artifact's."""
    async with running(tmp_path / "data") as engine:
        artifact_id = await stored(engine)
        staged = tmp_path / "data" / "staging" / "as-a-commit-left-it"
        os.link(file_of(tmp_path / "data"), staged)
        with pytest.raises(Conflict, match="being committed"):
            await release(engine, ALICE, artifact_id, str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()
        staged.unlink()


async def test_a_storage_without_files_releases_nothing(tmp_path: Path) -> None:
    new_data_folder(tmp_path / "data")
    engine = open_engine(tmp_path / "data", storage=MemoryStorage())
    await engine.start()
    artifact_id = await stored(engine)
    with pytest.raises(Conflict, match="object store"):
        await release(engine, ALICE, artifact_id, str(tmp_path / "out"))
    await engine.stop()
