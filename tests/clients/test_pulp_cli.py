"""pulp-cli, the command of the Pulp project, unmodified."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Http, ServerProcess, sha256
from tests.support.tokens import make_token

pytestmark = pytest.mark.clients

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def pulp(python_clients: Path, server: ServerProcess, tmp_path: Path) -> Run:
    """Runs the command against the server, with a configuration and a cache of its own."""
    settings = tmp_path / "pulp.toml"
    settings.write_text(f'[cli]\nbase_url = "{server.url}"\n')

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python_clients / "pulp", "--config", settings, *arguments],
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_CONFIG_HOME": str(tmp_path / "config")},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def said(done: subprocess.CompletedProcess[str]) -> Any:
    """What a command that went well says."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def make_file(folder: Path, size: int) -> tuple[Path, bytes]:
    path, data = folder / "file.bin", os.urandom(size)
    path.write_bytes(data)
    return path, data


@pytest.mark.parametrize("chunk_size", ["1MB", "1048575B", "16MB", None])
def test_a_file_becomes_an_artifact(
    pulp: Run, http: Http, server: ServerProcess, tmp_path: Path, chunk_size: str | None
) -> None:
    """In chunks smaller than the file, larger, and without: then it comes in one form."""
    path, data = make_file(tmp_path, 5_000_000)
    option = ["--chunk-size", chunk_size] if chunk_size else []
    artifact = said(pulp("artifact", "upload", "--file", str(path), *option))
    assert (artifact["size"], artifact["sha256"]) == (len(data), sha256(data))
    assert http("GET", artifact["file"]).body == data


def test_what_is_there_is_not_sent_again(pulp: Run, http: Http, tmp_path: Path) -> None:
    path, _ = make_file(tmp_path, 2_000_000)
    first = said(pulp("artifact", "upload", "--file", str(path)))
    before = http.uploads()
    done = pulp("artifact", "upload", "--file", str(path), "--chunk-size", "1MB")
    assert said(done) == first
    assert "already exists" in done.stderr
    assert not http.uploads(100) - before


def test_show_and_list(pulp: Run, tmp_path: Path) -> None:
    path, data = make_file(tmp_path, 1_500_000)
    made = said(pulp("artifact", "upload", "--file", str(path), "--chunk-size", "1MB"))
    assert said(pulp("artifact", "show", "--sha256", sha256(data))) == made
    assert said(pulp("artifact", "show", "--href", made["pulp_href"])) == made
    assert said(pulp("artifact", "list", "--sha256", sha256(data))) == [made]
    assert made in said(pulp("artifact", "list", "--limit", "1000"))
    uploads = said(pulp("upload", "list", "--limit", "1000"))
    (upload,) = [upload for upload in uploads if upload["artifact"] == made["pulp_href"]]
    assert said(pulp("upload", "show", "--href", upload["pulp_href"]))["chunks"] == [
        {"offset": 0, "size": 1_000_000},
        {"offset": 1_000_000, "size": 500_000},
    ]
    assert pulp("upload", "destroy", "--href", upload["pulp_href"]).returncode == 0
    assert pulp("upload", "show", "--href", upload["pulp_href"]).returncode != 0
    assert said(pulp("artifact", "show", "--sha256", sha256(data))) == made


def test_status(pulp: Run) -> None:
    assert said(pulp("status"))["database_connection"] == {"connected": True}


def test_what_there_is_not_is_said(pulp: Run, http: Http) -> None:
    """Pulp's cleaning takes what no repository holds: here that would be every artifact, so there is no such call."""
    artifact = http.store(os.urandom(1000))["artifact"]
    done = pulp("orphan", "cleanup", "--protection-time", "0")
    assert done.returncode != 0
    assert "orphans_cleanup" in done.stderr
    assert http("GET", artifact).status == 200


def test_tasks_can_be_listed(pulp: Run, tmp_path: Path) -> None:
    path, _ = make_file(tmp_path, 1_100_000)
    said(pulp("artifact", "upload", "--file", str(path), "--chunk-size", "1MB"))
    tasks = said(pulp("task", "list", "--limit", "1"))
    assert [task["state"] for task in tasks] == ["completed"]
    assert said(pulp("task", "show", "--href", tasks[0]["pulp_href"])) == tasks[0]


def test_with_a_token_as_password(python_clients: Path, tmp_path: Path) -> None:
    """Basic auth with any user name; a wrong password gets nothing, and the command says so."""
    path, data = make_file(tmp_path, 2_500_000)
    with ServerProcess(tmp_path / "data", auth="token", workers=2) as server:
        token = make_token(server, "ann")

        def run(password: str, *arguments: str) -> subprocess.CompletedProcess[str]:
            settings = tmp_path / "pulp.toml"
            credentials = f'username = "any"\npassword = "{password}"\n' if password else ""
            settings.write_text(f'[cli]\nbase_url = "{server.url}"\n{credentials}')
            return subprocess.run(
                [python_clients / "pulp", "--config", settings, *arguments],
                env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_CONFIG_HOME": str(tmp_path)},
                capture_output=True,
                text=True,
                timeout=60,
            )

        for options in (["--chunk-size", "1MB"], ["--chunk-size", "16MB"], []):
            artifact = said(run(token, "artifact", "upload", "--file", str(path), *options))
            assert artifact["sha256"] == sha256(data)
            with Http(server.port) as http:
                header = {"Authorization": f"Bearer {token}"}
                assert http("DELETE", artifact["pulp_href"], **header).status == 204
        for password in ("guess", ""):
            assert run(password, "artifact", "upload", "--file", str(path)).returncode != 0
            assert said(run(password, "status"))["storage"] is None  # it sends none where none is needed
        assert said(run(token, "artifact", "list")) == []
