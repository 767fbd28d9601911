"""Servers and commands as forks of a process that has imported all of partwise once.

A start of ``partwise`` spends most of its CPU time on imports, and the suite starts hundreds of servers and commands.
Each is still a process of its own, with its own environment and descriptors; that it works from its first line is what
tests that begin a program of their own show.

Run as a program this module is that process. A request on its standard input is a message in JSON: what Python is to
run, the environment, and the folder. It comes with two descriptors, standard output and error, and is answered by the
new process's id. A request that is a number asks for the exit status of the process that has this id, and has ended.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from typing import IO

_LONGEST = 1 << 20


class ForkedProcess:
    """One process, as ``subprocess.Popen`` shows it; ``stdout`` is a pipe."""

    def __init__(self, program: Sequence[str], environment: dict[str, str], stderr: IO[bytes] | None) -> None:
        """``program`` is ``("-c", code)`` or ``("-m", module)``, and what else ``sys.argv`` has."""
        reader, writer = os.pipe()
        try:
            self.pid = _forkserver().start(program, environment, writer, 2 if stderr is None else stderr.fileno())
        finally:
            os.close(writer)
        self.stdout: IO[bytes] = open(reader, "rb", buffering=0)  # noqa: SIM115 (who has the process closes it)
        self.returncode: int | None = None
        self._pidfd = os.pidfd_open(self.pid)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Its exit status once it has ended, negative for a signal."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit status. Raises subprocess.TimeoutExpired."""
        status = self._wait(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("a forked server", timeout or 0)
        return status

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._pidfd], [], [], timeout)[0]:
            self.returncode = _forkserver().status(self.pid)
            os.close(self._pidfd)
        return self.returncode


def run(program: Sequence[str], environment: dict[str, str], *, timeout: float) -> tuple[int, str, str]:
    """Run a program to its end: its exit status, and what it wrote to standard output and error."""
    with tempfile.TemporaryFile() as stderr:
        process = ForkedProcess(program, environment, stderr)
        watchdog = threading.Timer(timeout, process.kill)
        watchdog.start()
        try:
            out = process.stdout.readall()  # type: ignore[attr-defined]
            status = process.wait(timeout)
        finally:
            watchdog.cancel()
            watchdog.join()
            process.stdout.close()
        stderr.seek(0)
        return status, out.decode(), stderr.read().decode()


class _Forkserver:
    """The process that forks, from the side of the tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen([sys.executable, "-m", __name__], stdin=theirs.fileno())
        self._socket = ours
        self.pid = self._process.pid

    def start(self, program: Sequence[str], environment: dict[str, str], stdout: int, stderr: int) -> int:
        """Fork a process; its id."""
        return self._ask(json.dumps([program, environment, os.getcwd()]), [stdout, stderr])

    def status(self, pid: int) -> int:
        """The exit status of a process that has ended."""
        return self._ask(json.dumps(pid), [])

    def _ask(self, message: str, descriptors: list[int]) -> int:
        with self._lock:
            socket.send_fds(self._socket, [message.encode()], descriptors)
            return int(self._socket.recv(_LONGEST))

    def stop(self) -> None:
        """End it; servers that it forked go on."""
        self._socket.close()
        self._process.wait(30)


_current: list[_Forkserver] = []


def _forkserver() -> _Forkserver:
    if not _current:
        _current.append(_Forkserver())
        atexit.register(_current[0].stop)
    return _current[0]


def pid() -> int | None:
    """Of the process that forks, whose children are the servers; None where none was needed yet."""
    return _current[0].pid if _current else None


def _main() -> None:
    ended: list[int] = []
    atexit.register(_leave_at_once, ended)  # before all others, so it is called after them
    program = _fork_as_told()
    if program is None:
        return
    kind, name, *arguments = program
    sys.argv[1:] = arguments
    try:
        if kind == "-m":
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            exec(name, {"__name__": "__main__"})
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            ended.append(error.code or 0)
        raise
    ended.append(0)


def _leave_at_once(ended: list[int]) -> None:
    """End a forked process whose program is over, with its status; what else it ends with is left to Python.

    Python would take all modules apart first. That touches, and so copies, all memory that the process shares with the
    one it was forked from, and takes as long as a server's start.
    """
    if not ended:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # of which Python tells in its own way
    os._exit(ended[0] & 0xFF)


def _fork_as_told() -> list[str] | None:
    """Answer requests until there are no more. In each process that was forked: what it runs."""
    import alembic.command  # noqa: F401
    import botocore.session
    import uvloop  # noqa: F401

    from partwise import client  # noqa: F401
    from partwise.cli import app as commands  # noqa: F401
    from partwise.cli import listings, transfers  # noqa: F401
    from partwise.server import app, run  # noqa: F401
    from partwise.storage.s3 import store  # noqa: F401
    from tests.support.aws import share_descriptions

    share_descriptions()
    botocore.session.Session().create_client("s3", region_name="us-east-1").close()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=0) as control:
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, _LONGEST, 2)
            if not message:
                return None
            asked = json.loads(message)
            if isinstance(asked, int):
                _, status = os.waitpid(asked, 0)
                answer = os.waitstatus_to_exitcode(status)
            else:
                program, environment, folder = asked
                answer = os.fork()
                if answer == 0:
                    _become(environment, folder, descriptors)
                    return list(program)
                for descriptor in descriptors:
                    os.close(descriptor)
            control.send(b"%d" % answer)


def _become(environment: dict[str, str], folder: str, descriptors: list[int]) -> None:
    """Look as a process does that was started with these."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # What they remember is of the descriptors of before.
    sys.stdout = open(1, "w", encoding="utf-8", errors="strict", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    _main()
