"""The command line as its users run it: a process of its own against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import forkserver
from tests.support.server import ServerProcess


@dataclass
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


class Cli:
    """Runs ``partwise``."""

    def __init__(self, server: str, state: Path) -> None:
        self.server = server
        hidden = {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "PARTWISE_TOKEN", "PARTWISE_PROFILE"}
        self.environment = {name: value for name, value in os.environ.items() if name not in hidden}
        self.environment |= {"XDG_STATE_HOME": str(state), "XDG_CONFIG_HOME": str(state / "config")}
        self.environment |= {"PARTWISE_SERVER": server, "COLUMNS": "200"}

    def __call__(self, *arguments: object, code: int = 0, **environment: str) -> Ran:
        """Run it to its end, which must have this exit ``code``."""
        program = ("-m", "partwise.cli", *map(str, arguments))
        status, out, err = forkserver.run(program, self.environment | environment, timeout=60)
        assert status == code, f"exit code {status}\n{out}\n{err}"
        return Ran(status, out, err)

    def begin(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """Start it, as a program of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "partwise.cli", *map(str, arguments)],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self, process: subprocess.Popen[str], code: int = 0) -> Ran:
        """Wait for its end."""
        try:
            out, err = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
        return Ran(process.returncode, out, err)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for the tests that do it no harm."""
    with ServerProcess(tmp_path_factory.mktemp("data")) as process:
        yield process


@pytest.fixture
def cli(server: ServerProcess, tmp_path: Path) -> Cli:
    """The command, told of the server by the environment."""
    return Cli(server.url, tmp_path / "state")


@pytest.fixture
def make(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a file of random bytes."""

    def make(size: int, name: str = "data.bin") -> Path:
        path = tmp_path / name
        path.write_bytes(os.urandom(size))
        return path

    return make
