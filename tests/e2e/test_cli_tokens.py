"""``partwise token`` where it is run by mistake, and what a server announces about itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ServerProcess


def token(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``partwise token``."""
    hidden = {name: value for name, value in os.environ.items() if not name.startswith("PARTWISE_")}
    return subprocess.run(
        [sys.executable, "-m", "partwise.cli", "token", *arguments],
        env=hidden | environment | {"COLUMNS": "400"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_in_the_wrong_folder_no_server_is_made(tmp_path: Path) -> None:
    done = token("create", "ann", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no such folder" in done.stderr
    assert "--data" in done.stderr
    assert os.listdir(tmp_path) == []
    # Whoever names the folder means it: tokens may come before the first start.
    assert token("create", "ann", "--data", "new", cwd=tmp_path).returncode == 0
    assert (tmp_path / "new" / "catalog.sqlite3").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_leaves_nothing_in_the_folder_of_a_servers_user(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    os.chown(data, 65534, 65534)
    done = token("create", "ann", "--data", str(data), cwd=tmp_path)
    assert done.returncode == 2
    assert "sudo -u" in done.stderr
    assert os.listdir(data) == []


class Announced(ServerProcess):
    """Keeps what it says on standard output in a file."""

    program = (
        "-c",
        "import os, sys; from partwise.server.run import serve; from partwise.server.settings import Settings\n"
        "class Both:\n"
        "    def __init__(self, out): self.out = out\n"
        "    def write(self, text): open(os.environ['SAID'], 'a').write(text); return self.out.write(text)\n"
        "    def flush(self): self.out.flush()\n"
        "sys.stdout = Both(sys.stdout)\n"
        "serve(Settings())",
    )


def test_the_announced_command_makes_a_token_of_this_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    with Announced(tmp_path / "data", auth="token"):
        said = (tmp_path / "said").read_text()
        (command,) = re.findall(r"partwise token create (.*)", said)
        done = token("create", *command.replace("NAME", "ann").split(), cwd=tmp_path / "data" / "..")
        assert done.returncode == 0, done.stderr
        listed = token("list", "--data", str(tmp_path / "data"), cwd=tmp_path)
        assert "ann" in listed.stdout
    assert f"data     {tmp_path / 'data'}" in said


@pytest.mark.engines
def test_what_is_announced_of_a_cluster_is_true(
    tmp_path: Path, postgres_url: str, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    url = postgres_url.replace("postgres@", "postgres:secret@")
    with Announced(tmp_path / "data", catalog=url, storage=s3_url):
        said = (tmp_path / "said").read_text()
    assert "data     " not in said, "there is no data folder"
    assert f"bytes    {s3_url.partition('?')[0]}\n" in said
    assert "records  postgresql://postgres:***@127.0.0.1" in said
    assert "secret" not in said
    assert not (tmp_path / "data").exists()
