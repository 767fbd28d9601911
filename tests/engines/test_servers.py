"""Whole servers on real engines."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from partwise.server.run import CannotServe, serve
from partwise.server.settings import Settings
from tests.support.server import Http, ServerProcess, sha256

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
    with pytest.raises(CannotServe, match="cannot be reached"):
        serve(Settings(data=tmp_path, catalog="postgresql://postgres@127.0.0.1:1/partwise"))
