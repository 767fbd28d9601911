from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from sqlalchemy import Connection, make_url

from partwise.catalog.headroom import SIZE, Headroom
from partwise.catalog.sqlite import SqliteRunner
from partwise.core.errors import OutOfSpace


def test_room_is_kept_given_once_and_taken_back(tmp_path: Path) -> None:
    headroom = Headroom(str(tmp_path / "room"))
    assert not headroom.give()
    for _ in range(2):
        assert headroom.keep()
        assert (tmp_path / "room").stat().st_blocks * 512 >= SIZE
        assert headroom.give()
        assert (tmp_path / "room").stat().st_blocks == 0
        assert not headroom.give()


def test_without_room_nothing_is_kept_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allocate = os.posix_fallocate

    def full(fd: int, offset: int, size: int) -> None:
        allocate(fd, offset, size // 2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not Headroom(str(tmp_path / "room")).keep()
    assert (tmp_path / "room").stat().st_size == 0


def test_a_folder_that_is_not_there_or_a_link_is_no_failure(tmp_path: Path) -> None:
    assert not Headroom(str(tmp_path / "none" / "room")).keep()
    (tmp_path / "else").write_bytes(b"secret")
    (tmp_path / "room").symlink_to(tmp_path / "else")
    assert not Headroom(str(tmp_path / "room")).keep()
    assert (tmp_path / "else").read_bytes() == b"secret"


async def test_room_that_did_not_suffice_is_taken_back_all_the_same(tmp_path: Path) -> None:
    runner = SqliteRunner(make_url(f"sqlite:///{tmp_path / 'records'}"))
    room = tmp_path / "records-headroom"
    await runner.start()

    async def kept() -> None:
        while not (room.exists() and room.stat().st_size == SIZE):
            await asyncio.sleep(0.01)

    found = []

    def refuse(_: Connection) -> None:
        found.append(room.stat().st_size)
        raise OutOfSpace("The disk is full.")

    await asyncio.wait_for(kept(), 10)
    with pytest.raises(OutOfSpace):
        await runner.free(refuse)
    assert found == [SIZE, 0]
    await asyncio.wait_for(kept(), 10)
    await runner.stop()
