"""Data folders that will not do, or in which others have been at work: a sentence says what is wrong, or nothing is."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines import CATALOG, new_data_folder
from tests.support.server import API, Http, ServerProcess, sha256


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 16 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], check=False)
        if mounted.returncode:
            pytest.skip("no file systems may be mounted here")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> None:
    """Leave it no byte."""
    with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            continue


def complaint(data: Path, **environment: str) -> str:
    """What a server says that cannot start in ``data``; one sentence, and a status of its own."""
    run = subprocess.run(
        [sys.executable, "-m", "partwise.cli", "serve", "--port", "0", "--data", str(data)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode not in (0, 3), run.stderr
    assert "Traceback" not in run.stderr
    return run.stderr


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """While ``path`` is a read-only file, also for root."""
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", path, path], check=False).returncode:
        pytest.skip("no file systems may be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.parametrize("companion, migrate", [("", "true"), ("-wal", "false")], ids=["database", "companion"])
def test_records_that_may_not_be_written_are_named(tmp_path: Path, companion: str, migrate: str) -> None:
    """SQLite opens them, and a server would say that it is ready, and refuse all that is sent."""
    data = new_data_folder(tmp_path / "data")
    path = data / f"{CATALOG}{companion}"
    path.touch()
    with read_only(path):
        assert f"{path} may not be written" in complaint(data, PARTWISE_MIGRATE=migrate)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    said = complaint(tmp_path / "data")
    assert "data folder cannot be used" in said
    assert "Name another folder with --data" in said
    assert "[Errno" not in said


def test_a_disk_that_is_read_only_or_full(small_disk: Path) -> None:
    data = small_disk / "data"
    with ServerProcess(data, free_space_floor=0) as server, Http(server.port) as http:
        href = http.create(1000)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert str(data) in complaint(data)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    fill(small_disk)
    (data / "catalog.sqlite3-headroom").unlink()
    fill(small_disk)
    assert "Check that the disk is not full" in complaint(data)
    (small_disk / "filler").unlink()
    with ServerProcess(data, free_space_floor=0) as server, Http(server.port) as http:
        assert http.put(href, 0, bytes(1000)).status == 200
        assert http.commit(href, bytes(1000)).status == 200


def test_deleting_works_on_a_full_disk(small_disk: Path) -> None:
    """It is how one gets room. Also after a start on the full disk, and of whatever is deleted."""
    data = small_disk / "data"
    headroom = data / "catalog.sqlite3-headroom"
    server = ServerProcess(data, free_space_floor=0)
    with server, Http(server.port) as http:
        first, second, third = [http.create(size) for size in (3_000_000, 1_000_000, 1_000_000)]
        artifact = http.store(os.urandom(3_000_000))["artifact"]
        for href in (first, second):
            for offset in range(0, 50_000, 1000):
                assert http.put(href, offset, bytes(1000)).status == 200
        for href in (first, artifact):
            fill(small_disk)
            assert http("POST", f"{API}uploads/", {"size": 1}).problem == (507, "out-of-space")
            assert http("DELETE", href).status == 204
            deadline = time.monotonic() + 20
            while headroom.stat().st_size == 0:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        fill(small_disk)
    with server, Http(server.port) as http:
        assert http("DELETE", second).status == 204
        assert http.put(third, 0, bytes(1_000_000)).status == 200
        assert http.commit(third, bytes(1_000_000)).status == 200


def test_what_others_put_into_the_folder_is_left_alone_and_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"a secret")
    data = tmp_path / "data"
    with ServerProcess(data) as server, Http(server.port) as http:
        href = http.create(8)
        stored = http.store(b"an artifact")
    staging, folder = data / "staging", data / "artifacts"
    (staging / "11111111-1111-4111-8111-111111111111").symlink_to(secret)
    (staging / "22222222-1111-4111-8111-111111111111").mkdir()
    os.mkfifo(staging / "33333333-1111-4111-8111-111111111111")
    (folder / "ab" / ("c" * 62)).symlink_to(secret)
    with ServerProcess(data) as server, Http(server.port) as http:
        for path in (staging / href.split("/")[-2], folder / stored["sha256"][:2] / stored["sha256"][2:]):
            path.unlink()
            path.symlink_to(secret)
        assert http.put(href, 0, b"overthrow").status >= 400
        assert http("GET", f"{stored['artifact']}download/").problem == (500, "bytes-lost")
        assert http.store(sha256(b"x").encode())["state"] == "completed"
        assert http("GET", f"{API}status/").status == 200
    assert secret.read_bytes() == b"a secret"
    with ServerProcess(data) as server, Http(server.port) as http:
        # Something stands in the place of its file: it is not known to be lost, and its owner can give it up.
        assert http("GET", href).status == 200
        assert http("DELETE", href).status == 204
    assert secret.read_bytes() == b"a secret"


def test_two_servers_on_one_folder_are_one(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    with (
        ServerProcess(tmp_path) as first,
        ServerProcess(tmp_path) as second,
        Http(first.port) as one,
        Http(second.port) as other,
    ):
        href = one.create(len(content))
        assert other.put(href, 0, content[:100_000]).status == 200
        assert one.put(href, 100_000, content[100_000:]).status == 200
        assert other.commit(href, content).status == 200
        assert one("GET", href).json["state"] == "completed"
        assert one("DELETE", href).status == 204
        assert other("GET", href).status == 404


def test_uploads_go_on_under_limits_that_became_smaller(tmp_path: Path) -> None:
    content = os.urandom(10_000)
    with ServerProcess(tmp_path) as server, Http(server.port) as http:
        href = http.create(len(content))
        assert http.put(href, 0, content[:6000]).status == 200
    limits: dict[str, Any] = {"max_upload_size": 100, "quota": 100, "max_open_uploads": 1}
    with ServerProcess(tmp_path, **limits) as server, Http(server.port) as http:
        assert http("POST", f"{API}uploads/", {"size": 101}).problem == (413, "upload-too-large")
        assert http("POST", f"{API}uploads/", {"size": 1}).problem == (413, "too-many-uploads")
        assert http.put(href, 6000, content[6000:]).status == 200
        assert http.commit(href, content).json["sha256"] == sha256(content)
        assert http("POST", f"{API}uploads/", {"size": 1}).problem == (413, "quota-exceeded")


@pytest.mark.parametrize("state", ["is missing", "is empty"])
def test_a_used_folder_without_its_records_is_refused(tmp_path: Path, state: str) -> None:
    """A start makes no new ones: SQLite deletes the log of an empty database, which holds the newest records."""
    data = tmp_path / "data"
    with ServerProcess(data) as server, Http(server.port) as http:
        href = http.create(1000)
        server.kill()
    records, log, aside = (tmp_path / "data" / name for name in (CATALOG, f"{CATALOG}-wal", "aside"))
    newest = log.read_bytes()
    assert newest
    records.rename(aside)
    if state == "is empty":
        records.touch()
    said = complaint(data)
    assert f"{records} {state}" in said
    assert "Put the database back" in said
    assert log.read_bytes() == newest
    aside.rename(records)
    with ServerProcess(data) as server, Http(server.port) as http:
        assert http("GET", href).status == 200


@pytest.mark.parametrize("kept", [0, 5000], ids=["overwritten", "truncated"])
def test_damaged_records_are_called_so(tmp_path: Path, kept: int) -> None:
    data = new_data_folder(tmp_path / "data")
    records = data / CATALOG
    records.write_bytes(records.read_bytes()[:kept] or os.urandom(8192))
    damaged = records.read_bytes()
    said = complaint(data)
    assert "It is damaged. Restore a backup" in said
    assert "disk is not full" not in said
    assert records.read_bytes() == damaged


@pytest.mark.parametrize("suffix", ["", "-wal"], ids=["database", "log"])
def test_nothing_is_recorded_in_records_that_were_taken_away(tmp_path: Path, suffix: str) -> None:
    """SQLite goes on with the files that it opened; what it wrote there would be gone with the process."""
    data, log = tmp_path / "data", tmp_path / "log"
    records = data / f"{CATALOG}{suffix}"
    content = os.urandom(2000)
    with ServerProcess(data, log=log) as server, Http(server.port) as http:
        href = http.create(len(content))
        assert http.put(href, 0, content[:1000]).status == 200
        assert http("GET", "/readyz").status == 200
        records.rename(tmp_path / "aside")
        assert http.put(href, 1000, content[1000:]).status == 503
        answer = http("POST", f"{API}uploads/", {"size": 1})
        assert answer.status == 503
        assert str(tmp_path) not in answer.body.decode()
        assert http("GET", "/readyz").status == 503
        assert f"{records} is missing" in log.read_text()

        records.write_bytes((tmp_path / "aside").read_bytes())
        assert http("POST", f"{API}uploads/", {"size": 1}).status == 503
        assert http("GET", "/readyz").status == 503
        assert f"{records} was replaced while the server runs: restart the server" in log.read_text()

        (tmp_path / "aside").rename(records)
        assert http("GET", "/readyz").status == 200
        assert http.put(href, 1000, content[1000:]).status == 200
        assert http.commit(href, content).status == 200
        assert http("GET", href).json["state"] == "completed"
