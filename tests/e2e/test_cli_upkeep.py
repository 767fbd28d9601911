"""``partwise gc`` and ``partwise check`` beside a server that runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from tests.support.records import migrate_to
from tests.support.server import Http, ServerProcess, sha256


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One of its own: what other tests leave on a shared one is found here, too."""
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture
def damaged(server: ServerProcess, cli: Cli, make: Callable[[int], Path]) -> Path:
    """An artifact's file, one byte of which was changed."""
    file = make(100_000)
    cli("upload", file)
    digest = sha256(file.read_bytes())
    stored = server.data / "artifacts" / digest[:2] / digest[2:]
    stored.chmod(0o600)
    data = file.read_bytes()
    stored.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    return file


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_damage_is_reported_dropped_and_healed(server: ServerProcess, cli: Cli, damaged: Path) -> None:
    digest = sha256(damaged.read_bytes())
    finding, summary = lines(cli("check", "--data", server.data, "--json", code=4).out)
    assert finding == {"kind": "damaged-artifact", "name": digest, "removed": False}
    assert summary["wrong"] == 1
    dry = lines(cli("check", "--data", server.data, "--json", "--drop-damaged", "--dry-run", code=4).out)
    assert dry[0]["removed"] is False
    assert "nothing wrong" in cli("check", "--data", server.data, "--quick").err
    assert "removed" in cli("check", "--data", server.data, "--drop-damaged", code=4).out
    cli("upload", damaged, "--no-resume")
    assert "nothing wrong" in cli("check", "--data", server.data).err


def test_orphans_and_what_has_expired(server: ServerProcess, cli: Cli) -> None:
    leftover = server.data / "staging" / "0000"
    leftover.write_bytes(os.urandom(10))
    assert "would be removed" in cli("gc", "--data", server.data, "--dry-run").err
    assert leftover.exists()
    (finding,) = lines(cli("gc", "--data", server.data, "--json").out)
    assert finding == {"kind": "staging-file-without-upload", "name": "0000", "removed": True}
    assert not leftover.exists()
    assert "0 orphans removed" in cli("gc", "--data", server.data).err


def test_no_folder_is_made_by_a_mistyped_name(cli: Cli, tmp_path: Path) -> None:
    for command in (["check"], ["gc"], ["token", "list"], ["token", "revoke", "x"]):
        cli(*command, "--data", tmp_path / "typo", code=2)
    assert not (tmp_path / "typo").exists()


def tree(folder: Path) -> dict[str, tuple[int, int, str]]:
    """All names below a folder, with mode, time of the last change, and what is in them."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        stat = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_mtime_ns, content)
    return found


LOOKS = [
    ["gc", "--dry-run"],
    ["check", "--dry-run", "--repair", "--drop-damaged"],
    ["check"],
]


def leave_behind(server: ServerProcess) -> Path:
    """An artifact, an open upload, and what belongs to nothing. Returns the server's folder."""
    with Http(server.port) as http:
        http.store(b"x" * 1000)
        http.create(10)
    unrecorded = server.data / "artifacts" / "ab" / ("ab" * 31)
    unrecorded.write_bytes(b"?")
    (server.data / "staging" / "0000").write_bytes(b"?")
    return server.data


@pytest.mark.parametrize("look", LOOKS, ids=" ".join)
def test_a_look_changes_nothing(cli: Cli, tmp_path: Path, look: list[str]) -> None:
    with ServerProcess(tmp_path / "data") as server:
        data = leave_behind(server)
    before = tree(data)
    code = 0 if look[0] == "gc" else 4
    found = lines(cli(*look, "--json", "--data", data, code=code).out)
    assert [item["kind"] for item in found if "kind" in item] == [
        "staging-file-without-upload",
        "artifact-file-without-record",
    ]
    assert not any(item.get("removed") for item in found)
    assert tree(data) == before


@pytest.mark.parametrize("look", LOOKS, ids=" ".join)
def test_a_look_at_what_a_killed_server_left(cli: Cli, tmp_path: Path, look: list[str]) -> None:
    """Its last records are in the write-ahead log alone: they are read from there, and stay there."""
    server = ServerProcess(tmp_path / "data")
    server.start()
    data = leave_behind(server)
    server.kill()
    assert (data / "catalog.sqlite3-wal").stat().st_size > 0
    before = tree(data)
    out = cli(*look, "--data", data, code=0 if look[0] == "gc" else 4).out
    assert (out.count("staging-file-without-upload"), out.count("upload-without-staging-file")) == (1, 0)
    after = tree(data)
    # SQLite's shared memory: what it was mapped for is over.
    for snapshot in (before, after):
        del snapshot["catalog.sqlite3-shm"]
    assert after == before


def test_a_look_at_a_back_up_makes_no_folders(cli: Cli, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        data = leave_behind(server)
    for name in ("locks", "staging"):
        shutil.rmtree(data / name)
    before = tree(data)
    out = cli("check", "--dry-run", "--repair", "--data", data, code=4).out
    assert "artifact-file-without-record" in out
    assert "upload-without-staging-file" in out
    assert tree(data) == before


@pytest.mark.parametrize("look", LOOKS, ids=" ".join)
def test_a_look_at_older_records_says_what_comes_first(cli: Cli, tmp_path: Path, look: list[str]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    migrate_to(data / "catalog.sqlite3", "0002")
    before = tree(data)
    said = cli(*look, "--data", data, code=1).err
    assert "0003: " in said
    assert "0004: " in said
    assert "0002: " not in said
    assert tree(data) == before


@pytest.mark.parametrize("look", LOOKS, ids=" ".join)
def test_a_look_where_no_records_are(cli: Cli, tmp_path: Path, look: list[str]) -> None:
    assert "no metadata database" in cli(*look, "--data", tmp_path, code=1).err
    assert list(tmp_path.iterdir()) == []
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite3")) as connection:
        connection.execute("VACUUM")
    assert "metadata database is empty" in cli(*look, "--data", tmp_path, code=1).err
