from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from partwise.client import FileChanged
from partwise.client.source import BLOCK, HASH_AHEAD_BYTES, FileHasher, LocalFile
from partwise.core.ranges import ByteRange


def test_blocks_and_digest_of_a_range(tmp_path: Path) -> None:
    data = os.urandom(2 * BLOCK + 7)
    path = tmp_path / "file"
    path.write_bytes(data)
    with LocalFile(path) as file:
        span = ByteRange(5, BLOCK + 1)
        assert b"".join(bytes(block) for block in file.blocks(span)) == data[5 : BLOCK + 6]
        assert file.sha256(span) == hashlib.sha256(data[5 : BLOCK + 6]).hexdigest()


def test_changes_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1234567890")
    with LocalFile(path) as file:
        file.check_unchanged()
        os.truncate(path, 4)
        with pytest.raises(FileChanged):
            file.check_unchanged()
        with pytest.raises(FileChanged):
            list(file.blocks(ByteRange(0, 10)))


def test_only_regular_files_are_taken(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError, match="regular file"):
            LocalFile(path)
    with pytest.raises(FileNotFoundError):
        LocalFile(tmp_path / "none")


def test_the_digest_waits_for_the_sending_and_then_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "file"
    size = HASH_AHEAD_BYTES + 8 * BLOCK
    with path.open("wb") as made:
        made.truncate(size)
    with LocalFile(path) as file:
        hasher = FileHasher(file)
        deadline = time.monotonic() + 30
        while hasher.hashed < HASH_AHEAD_BYTES and time.monotonic() < deadline:
            assert hasher.wait(0.01) is None
        assert hasher.wait(0.05) is None
        assert hasher.hashed == HASH_AHEAD_BYTES
        hasher.sending_reached(size)
        assert hasher.wait(30) == hashlib.sha256(bytes(size)).hexdigest()
        hasher.stop()


def test_a_waiting_hasher_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as made:
        made.truncate(HASH_AHEAD_BYTES + BLOCK)
    with LocalFile(path) as file:
        FileHasher(file).stop()
