"""The client and the command need neither the server's packages nor what Linux alone has."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from partwise.cli import SERVER_PACKAGES
from tests.support.server import ServerProcess, sha256

#: Run first in an interpreter: what Windows and macOS lack, and what only a server needs, cannot be had.
HIDE = f"""
import os, sys
for name in {("fcntl", "pwd", "grp", "resource", *SERVER_PACKAGES)!r}:
    sys.modules[name] = None
for name in (
    "pread", "preadv", "posix_fadvise", "posix_fallocate", "sendfile", "getuid", "geteuid",
    "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK",
):
    delattr(os, name)
"""

UPLOAD_AND_DOWNLOAD = """
from pathlib import Path
from partwise import Client
with Client(sys.argv[1]) as client:
    result = client.upload("source", chunk_size=100_000)
    stream = client.upload(iter([Path("source").read_bytes()[1:]]))
    client.download(result.sha256, "target")
    client.download(stream.sha256, "rest")
print(result.sha256)
"""

COMMAND = """
from partwise.cli import main
sys.argv = ["partwise", *sys.argv[1:]]
main()
"""


def run(program: str, *arguments: object, folder: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", HIDE + program, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"XDG_STATE_HOME": str(folder / "state"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_files_go_up_and_down(server: ServerProcess, tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    (tmp_path / "source").write_bytes(data)
    assert run(UPLOAD_AND_DOWNLOAD, server.url, folder=tmp_path).stdout.strip() == sha256(data)
    assert (tmp_path / "target").read_bytes() == data
    assert (tmp_path / "rest").read_bytes() == data[1:]


def test_the_command_works(server: ServerProcess, tmp_path: Path) -> None:
    data = os.urandom(1_000_000)
    (tmp_path / "source").write_bytes(data)
    assert sha256(data) in run(COMMAND, "upload", "source", "-s", server.url, folder=tmp_path).stdout
    run(COMMAND, "download", sha256(data), "-o", "target", "-s", server.url, folder=tmp_path)
    assert (tmp_path / "target").read_bytes() == data


@pytest.mark.parametrize("command", [["serve"], ["gc"], ["token", "list"], ["config"], ["upgrade"]], ids=" ".join)
def test_commands_of_the_server_say_what_to_install(tmp_path: Path, command: list[str]) -> None:
    done = run(COMMAND, *command, folder=tmp_path, code=1)
    assert "partwise: this command needs the server. Install it: pip install 'partwise[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_packages_of_the_server_are_those_of_its_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    named = {requirement.split(">")[0].replace("-", "_") for requirement in project["optional-dependencies"]["server"]}
    assert named == set(SERVER_PACKAGES)
