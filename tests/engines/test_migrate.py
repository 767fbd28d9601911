"""``partwise migrate``: a local installation moves up, in as many runs as it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import Http, ServerProcess, sha256

pytestmark = pytest.mark.engines


def migrate(data: Path, catalog: str, storage: str, *, code: int = 0) -> tuple[list[dict[str, str]], dict[str, int]]:
    """Run the command; what it says of each artifact, and of all."""
    command = [sys.executable, "-m", "partwise.cli", "migrate", str(data), "--verify", "--json"]
    environment = os.environ | {"PARTWISE_CATALOG": catalog, "PARTWISE_STORAGE": storage}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code, done.stderr
    *artifacts, summary = [json.loads(line) for line in done.stdout.splitlines()]
    return artifacts, summary


def test_artifacts_links_and_tokens_move(tmp_path: Path, postgres_url: str, s3_url: str) -> None:
    contents = [os.urandom(3_000_001), b"", b"x", os.urandom(100)]
    data = tmp_path / "data"
    with ServerProcess(data) as server, Http(server.port) as http:
        for number, content in enumerate(contents):
            http.store(content, filename=f"{number}.iso")
        http.create(10)
    damaged = sha256(contents[3])
    path = data / "artifacts" / damaged[:2] / damaged[2:]
    path.chmod(0o600)
    path.write_bytes(bytes(100))
    subprocess.run(
        [sys.executable, "-m", "partwise.cli", "token", "create", "ann", "--data", str(data)], check=True, timeout=60
    )

    artifacts, summary = migrate(data, postgres_url, s3_url, code=4)
    outcomes = {artifact["sha256"]: artifact["outcome"] for artifact in artifacts}
    assert outcomes == {sha256(content): "damaged" if content is contents[3] else "copied" for content in contents}
    assert summary == {"copied": 3, "present": 0, "damaged": 1, "tokens": 1, "unfinished": 1}

    path.write_bytes(contents[3])
    _, summary = migrate(data, postgres_url, s3_url)
    assert summary == {"copied": 1, "present": 3, "damaged": 0, "tokens": 0, "unfinished": 1}

    with ServerProcess(tmp_path / "unused", catalog=postgres_url, storage=s3_url) as server, Http(server.port) as http:
        listed = http("GET", "/pulp/api/v3/artifacts/").json["results"]
        assert len(listed) == len(contents)
        for artifact in listed:
            content = next(content for content in contents if sha256(content) == artifact["sha256"])
            answer = http("GET", f"{artifact['pulp_href']}download/")
            assert answer.body == content
            assert f'filename="{contents.index(content)}.iso"' in answer.headers["Content-Disposition"]
