"""Other projects' clients against partwise inside a host application, with tickets and with the host's own keys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.conftest import NPM, Program, write_file
from tests.embed.conftest import EXAMPLES, hosted
from tests.support.server import Http, sha256

pytestmark = pytest.mark.clients

SIZE, CHUNK = 3_000_001, 400_000
KEY = {"x-api-key": "key-of-ann"}
FILES = "/files/pulp/api/v3/"


def test_tus_js_client_sends_a_file_with_a_ticket(node: Path, tmp_path: Path) -> None:
    file, data = write_file(tmp_path, SIZE)
    with hosted(EXAMPLES / "starlette", "app", tmp_path / "host") as port, Http(port) as http:
        made = http("POST", "/uploads", {"size": SIZE, "name": "a.bin", "tus": True}, X_API_Key=KEY["x-api-key"]).json
        options = {
            "file": str(file),
            "uploadUrl": f"http://127.0.0.1:{port}{made['tus']}",
            "headers": {"Authorization": f"Bearer {made['ticket']}"},
            "chunkSize": CHUNK,
        }
        with Program(node, NPM / "tus_upload.mjs", json.dumps(options)) as program:
            program.until("done")
        shown = http("GET", f"{FILES}uploads/{made['upload']}/", X_API_Key=KEY["x-api-key"]).json
        assert (shown["state"], shown["sha256"], shown["user"]) == ("completed", sha256(data), "ann")


def test_tus_js_client_creates_below_the_hosts_path(node: Path, tmp_path: Path) -> None:
    file, data = write_file(tmp_path, SIZE)
    with hosted(EXAMPLES / "starlette", "app", tmp_path / "host", "hypercorn") as port, Http(port) as http:
        endpoint = f"http://127.0.0.1:{port}/files/tus/"
        options = {"file": str(file), "endpoint": endpoint, "headers": KEY, "chunkSize": CHUNK, "parallelUploads": 2}
        with Program(node, NPM / "tus_upload.mjs", json.dumps(options)) as program:
            assert program.until("done")["url"].startswith(endpoint)
        listed = http("GET", f"{FILES}artifacts/?sha256={sha256(data)}", X_API_Key=KEY["x-api-key"]).json
        assert listed["count"] == 1
