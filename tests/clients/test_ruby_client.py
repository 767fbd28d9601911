"""The Ruby client that Katello uses, generated as Pulp generates it and run on Faraday, in the order of its calls."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import HERE, write_file
from tests.support.server import API, Http, ServerProcess
from tests.support.tokens import make_token

pytestmark = pytest.mark.clients

#: Bytes of a chunk: Katello's page, foreman-ansible-modules, hammer.
CHUNKS = (1_048_575, 2 << 20, 2_500_000)


@pytest.fixture(scope="session")
def ruby_client(python_clients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the generated client."""
    for program, package in (("java", "default-jre-headless"), ("ruby", "ruby")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install {package}")
    loads = "require 'faraday'; Faraday.new { |connection| connection.request :multipart }"
    if subprocess.run(["ruby", "-e", loads], capture_output=True).returncode != 0:
        pytest.skip("Faraday 1 is not installed: apt-get install ruby-faraday (Debian 12)")
    folder = tmp_path_factory.mktemp("ruby") / "client"
    done = subprocess.run(
        [
            *(python_clients / "openapi-generator-cli", "generate", "--skip-validate-spec", "--strict-spec=false"),
            *("-g", "ruby", "--library", "faraday", "-i", HERE / "ruby" / "pulp.json", "-o", folder),
            "--additional-properties=gemName=pulpcore_client,moduleName=PulpcoreClient,gemVersion=3.105.4",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_file_in_katellos_chunks(
    ruby_client: Path, server: ServerProcess, http: Http, tmp_path: Path, chunk: int
) -> None:
    path, data = write_file(tmp_path, 20_000_000)

    said = _upload(ruby_client, server.url, path, chunk)

    digest = hashlib.sha256(data).hexdigest()
    assert (said["sha256"], said["state"], said["before"]) == (digest, "completed", 0)
    (artifact,) = said["artifacts"]
    assert artifact["sha256"] == digest
    assert said["resources"] == [artifact["href"]]
    assert said["whole"] == artifact["href"]  # the file in one form is the same artifact
    assert said["cancelled"] == 409  # what Katello expects of a task that is over
    assert http("GET", f"{artifact['href']}download/").body == data
    print(f"{chunk} bytes a chunk: {digest}")


def test_the_smart_proxys_user_and_password(ruby_client: Path, tmp_path: Path) -> None:
    path, data = write_file(tmp_path, 3_000_000)
    with ServerProcess(tmp_path / "data", auth="token") as server:
        token = make_token(server, "katello")

        said = _upload(ruby_client, server.url, path, CHUNKS[2], "admin", token)

        assert said["state"] == "completed"
        password = b64encode(f"x:{token}".encode()).decode()
        with Http(server.port) as http:
            listed = http("GET", f"{API}artifacts/", Authorization=f"Basic {password}").json
        assert [artifact["sha256"] for artifact in listed["results"]] == [hashlib.sha256(data).hexdigest()]


def _upload(client: Path, url: str, path: Path, chunk: int, *credentials: str) -> dict[str, Any]:
    hidden = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"}
    done = subprocess.run(
        ["ruby", "-I", client / "lib", HERE / "ruby" / "upload.rb", url, path, str(chunk), *credentials],
        env={name: value for name, value in os.environ.items() if name not in hidden},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said
