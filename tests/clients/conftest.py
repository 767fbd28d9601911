"""Other projects' clients, installed as their users install them: beside the project, never into its environment."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import Http, ServerProcess

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
VENV = ROOT / ".venv-clients"


def _run(*command: str | Path) -> None:
    """Run a tool that installs; it has the network's time, and its output is shown if it fails."""
    environment = os.environ | {"UV_SYSTEM_CERTS": "true", "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def python_clients() -> Path:
    """The folder of the programs of pulp-cli, pulpcore-client and tuspy. Installed again only when the lock changes."""
    lock, stamp = HERE / "clients.lock", VENV / "installed.lock"
    uv = Path(sys.executable).parent / "uv"
    with (ROOT / ".venv-clients.lock").open("w") as guard:  # two test runs may begin at once
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, VENV)
            _run(uv, "pip", "install", "--quiet", "--require-hashes", "--python", VENV / "bin/python", "-r", lock)
            stamp.write_bytes(lock.read_bytes())
    return VENV / "bin"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server of two processes, as users run it, for all tests that do not kill it."""
    with ServerProcess(tmp_path_factory.mktemp("data"), workers=2) as process:
        yield process


@pytest.fixture
def http(server: ServerProcess) -> Iterator[Http]:
    """A connection to the server."""
    with Http(server.port) as connection:
        yield connection
