"""Whole servers on real engines."""

from __future__ import annotations

import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from partwise.server.run import CannotServe, serve
from partwise.server.settings import Settings
from tests.engines.seaweed import CREDENTIALS
from tests.support.server import API, Http, ServerProcess, sha256

pytestmark = pytest.mark.engines

PART = 1 << 20


def test_two_processes_upload_with_their_records_in_postgres(tmp_path: Path, postgres_url: str) -> None:
    data = os.urandom(16 * PART)
    with ServerProcess(tmp_path, workers=2, catalog=postgres_url) as server:
        with Http(server.port) as http:
            href = http.create(len(data))

        def put(index: int) -> int:
            with Http(server.port) as http:
                return http.put(href, index * PART, data[index * PART :][:PART], len(data)).status

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(put, reversed(range(16)))) == {200}
        with Http(server.port) as http:
            answer = http.commit(href, data)
            assert (answer.status, answer.json["sha256"]) == (200, sha256(data)), answer.body
            assert http("GET", f"{answer.json['artifact']}download/").body == data
    assert not (tmp_path / "catalog.sqlite3").exists()


def test_a_catalog_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match="cannot start"):
        serve(Settings(port=0, data=tmp_path, catalog="postgresql://postgres@127.0.0.1:1/partwise"))


def test_a_volume_that_is_not_mounted_costs_nothing(tmp_path: Path, postgres_url: str) -> None:
    """In its empty folder all uploads would look as if their files were lost."""
    volume, data = tmp_path / "volume", os.urandom(PART)
    with ServerProcess(volume, catalog=postgres_url) as server, Http(server.port) as http:
        href = http.create(2 * PART)
        assert http.put(href, 0, data).status == 200
    volume.rename(tmp_path / "elsewhere")
    with pytest.raises(CannotServe, match="not mounted"):
        serve(Settings(port=0, data=volume, catalog=postgres_url))
    with pytest.raises(CannotServe, match="knows chunks or artifacts"):
        serve(Settings(port=0, data=volume, catalog=postgres_url))
    assert list(volume.iterdir()) == []
    volume.rmdir()
    (tmp_path / "elsewhere").rename(volume)
    with ServerProcess(volume, catalog=postgres_url) as server, Http(server.port) as http:
        assert http("GET", href).json["received"] == PART


def test_two_processes_keep_bytes_in_an_object_store(tmp_path: Path, postgres_url: str, s3_url: str) -> None:
    data = os.urandom(16 * PART)
    with ServerProcess(tmp_path / "unused", workers=2, catalog=postgres_url, storage=s3_url) as server:
        with Http(server.port) as http:
            href = http.create(len(data), filename="a b.iso")

        def put(index: int) -> int:
            with Http(server.port) as http:
                content = data[index * PART :][:PART]
                if index % 2:
                    return http.put_form(href, index * PART, content, len(data)).status
                return http.put(href, index * PART, content, len(data)).status

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(put, reversed(range(16)))) == {200}
        with Http(server.port) as http:
            answer = http.commit(href, data)
            assert (answer.status, answer.json["sha256"]) == (200, sha256(data)), answer.body
            artifact = answer.json["artifact"]
            assert http("GET", f"{artifact}download/").body == data
            assert http("GET", f"{artifact}download/", Range="bytes=1048570-1048580").body == data[1048570:1048581]
            assert http("DELETE", artifact).status == 204
    assert not (tmp_path / "unused").exists()


def test_downloads_are_sent_to_the_store(tmp_path: Path, postgres_url: str, s3_url: str) -> None:
    data = os.urandom(PART)
    process = ServerProcess(tmp_path, catalog=postgres_url, storage=s3_url, redirect_seconds=60)
    with process as server, Http(server.port) as http:
        artifact = http.store(data, filename="a b.iso")["artifact"]
        answer = http("GET", f"{artifact}download/")
        assert answer.status == 307
        with urllib.request.urlopen(answer.headers["Location"]) as there:
            assert there.read() == data
            assert there.headers["Content-Disposition"] == 'attachment; filename="a b.iso"'
        head = http("HEAD", f"{artifact}download/")
        assert (head.status, head.headers["Content-Length"]) == (200, str(PART))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"storage": "s3://bucket"}, "PostgreSQL"),
        ({"storage": "file:///x", "catalog": "postgresql://127.0.0.1:1/x"}, "storage URL"),
        (
            {"storage": "s3://bucket?endpoint=http://127.0.0.1:1", "catalog": "postgresql://127.0.0.1:1/x"},
            "credentials",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_told(
    tmp_path: Path, settings: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    # Nor the credentials of who runs the tests.
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(CannotServe, match=message):
        serve(Settings(port=0, data=tmp_path, **settings))  # type: ignore[arg-type]


def test_characters_that_a_database_cannot_hold_are_no_fault_of_the_server(tmp_path: Path, postgres_url: str) -> None:
    with ServerProcess(tmp_path, catalog=postgres_url) as server, Http(server.port) as http:
        for name in ("%00", "a%00b", "%ff%fe", "%ed%a0%80"):
            for kind in (f"{API}uploads", f"{API}artifacts", f"{API}tasks", "/tus"):
                assert http("GET", f"{kind}/{name}/").status == 404
                assert http("DELETE", f"{kind}/{name}/").status in {404, 405, 412}
            for query in (
                "uploads/?search",
                "artifacts/?search",
                "uploads/?state",
                "tasks/?upload",
                "artifacts/?sha256",
            ):
                assert http("GET", f"{API}{query}={name}").status in {200, 400}
        assert http("POST", f"{API}artifacts/", {"upload": "\0"}).status == 400
        assert http("POST", f"{API}uploads/", {"size": 1, "filename": "a\0b"}).status == 400
        assert http("GET", f"{API}uploads/?offset=999999999999999&limit=9999").json["results"] == []
