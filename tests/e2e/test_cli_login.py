"""``partwise login``, ``logout`` and ``--profile``."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli, Ran
from tests.support.server import ServerProcess
from tests.support.tokens import make_token

PROGRAM = [sys.executable, "-m", "partwise.cli"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that wants tokens."""
    with ServerProcess(tmp_path_factory.mktemp("guarded"), auth="token") as process:
        yield process


@pytest.fixture(scope="module")
def token(guarded: ServerProcess) -> str:
    return make_token(guarded, "ann")


@pytest.fixture
def command(guarded: ServerProcess, tmp_path: Path) -> Cli:
    """The command with an empty folder for its profiles, and no server in its environment."""
    made = Cli(guarded.url, tmp_path / "state")
    del made.environment["PARTWISE_SERVER"]
    made.environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    return made


def login(command: Cli, *arguments: str, stdin: str = "", code: int = 0) -> Ran:
    done = subprocess.run(
        [*PROGRAM, "login", *arguments],
        env=command.environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def stored(command: Cli) -> Path:
    return Path(command.environment["XDG_CONFIG_HOME"]) / "partwise" / "profiles.json"


def test_a_login_serves_all_commands_until_the_logout(
    command: Cli, guarded: ServerProcess, server: ServerProcess, token: str, tmp_path: Path
) -> None:
    ran = login(command, guarded.url, "--token-stdin", stdin=f"{token}\n")
    assert f"Logged in to {guarded.url} as ann" in ran.out
    assert token not in ran.out + ran.err
    assert stored(command).stat().st_mode & 0o777 == 0o600
    (tmp_path / "file.bin").write_bytes(os.urandom(1000))  # the other server is shared, and must not have it
    up = command("upload", tmp_path / "file.bin", "--json").json
    assert command("show", up["sha256"], "--json").json["user"] == "ann"

    # A second profile, of a server that needs no token.
    assert "without a token" in login(command, server.url, "--profile", "open").out
    assert "No artifact" in command("show", up["sha256"], "--profile", "open", code=7).err
    assert "No artifact" in command("show", up["sha256"], code=7, PARTWISE_PROFILE="open").err
    command("show", up["sha256"], code=7, PARTWISE_SERVER=server.url)
    command("show", up["sha256"], "--profile", "default", PARTWISE_SERVER=server.url)
    assert "no profile 'open2'" in command("ls", "--profile", "open2", code=2).err

    assert "Removed the profile open" in command("logout", "--profile", "open").out
    assert list(json.loads(stored(command).read_text())["profiles"]) == ["default"]
    command("logout")
    assert "there is no profile default" in command("logout", code=2).err


def test_what_the_server_does_not_accept_is_not_stored(command: Cli, guarded: ServerProcess) -> None:
    ran = login(command, guarded.url, "--token-stdin", stdin="not-a-token\n", code=6)
    assert "not-a-token" not in ran.out + ran.err
    assert "is empty" in login(command, guarded.url, "--token-stdin", stdin="\n", code=2).err
    assert "--token-stdin" in login(command, guarded.url, code=2).err
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        login(command, f"http://127.0.0.1:{unused.getsockname()[1]}", code=3)
    assert not stored(command).exists()


def test_a_person_is_asked_and_the_token_is_not_shown(command: Cli, guarded: ServerProcess, token: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(PROGRAM[0], [*PROGRAM, "login", guarded.url], command.environment)
    shown = b""
    try:
        while b"(not shown):" not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, token.encode() + b"\n")
        while piece := _read(terminal):
            shown += piece
    finally:
        os.close(terminal)
        status = os.waitpid(pid, 0)[1]
    assert status == 0, shown
    assert b"as ann" in shown
    assert token.encode() not in shown
    assert json.loads(stored(command).read_text())["profiles"]["default"]["token"] == token


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux: the other side is closed
        return b""


@pytest.mark.parametrize("scope", ["upload", "read"])
def test_tokens_that_allow_less_can_log_in(command: Cli, guarded: ServerProcess, scope: str) -> None:
    less = make_token(guarded, f"less-{scope}", "--scope", scope)
    assert f"as less-{scope}" in login(command, guarded.url, "--token-stdin", stdin=less).out


def test_a_file_that_others_may_read_stops_the_command(command: Cli, guarded: ServerProcess, token: str) -> None:
    login(command, guarded.url, "--token-stdin", stdin=token)
    stored(command).chmod(0o644)
    ran = command("ls", code=2)
    assert "chmod 600" in ran.err
    assert token not in ran.err
    assert "chmod 600" in command("logout", code=1).err


def test_without_a_home_there_is_a_sentence(command: Cli, server: ServerProcess) -> None:
    code = (
        "import pathlib, sys\n"
        "def home(): raise RuntimeError\n"
        "pathlib.Path.home = home\n"
        "from partwise.cli import main\n"
        "main()"
    )
    environment = {name: value for name, value in command.environment.items() if name != "XDG_CONFIG_HOME"}
    done = subprocess.run(
        [sys.executable, "-c", code, "login", server.url],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "HOME is not set" in done.stderr
    assert "Traceback" not in done.stderr
