"""``partwise serve`` as a process of its own, and an HTTP client that sends exactly what it is told."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.support.engines import new_data_folder
from tests.support.forkserver import ForkedProcess
from tests.support.leaks import SERVERS
from tests.support.until import wait_until

API = "/pulp/api/v3/"
_START_SECONDS = 90.0


class ServerProcess:
    """A server on a free port of 127.0.0.1 with its data in ``data``; ``settings`` are as in PARTWISE_… variables.

    Its standard error goes to the file ``log`` if one is given.
    """

    #: What Python runs.
    program: tuple[str, str] = (
        "-c",
        "from partwise.server.run import serve; from partwise.server.settings import Settings; serve(Settings())",
    )

    #: Whether it is forked from a process that has imported the server, and not begun as a new program.
    forked = True

    #: Makes settings that every server has unless it is told otherwise: where its records and bytes are.
    engines: Callable[[], dict[str, str]] = dict

    def __init__(
        self, data: Path, *, workers: int = 1, port: int = 0, log: Path | None = None, **settings: object
    ) -> None:
        self._log = log
        self.data = data
        self.workers = workers
        self.port = port
        settings = type(self).engines() | settings
        # Most tests mean no first start, which takes as long as three others.
        if self.forked and "catalog" not in settings and (not data.exists() or not any(data.iterdir())):
            new_data_folder(data)
        #: What its environment says; for commands beside it, too.
        self.settings = {f"PARTWISE_{name.upper()}": str(value) for name, value in settings.items()}
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process that was started (the supervisor, with several workers)."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Without a final slash."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        if self.port and self.workers > 1:
            # Those of a supervisor that was killed end a moment after it.
            wait_until(lambda: _is_free(self.port), "an end of its former workers")
        environment = (
            os.environ
            | self.settings
            | {
                "PYTHONTRACEMALLOC": "",  # for the tests' own leaks, where it is on; it makes servers slow
                "PARTWISE_PORT": str(self.port),
                "PARTWISE_DATA": str(self.data),
                "PARTWISE_WORKERS": str(self.workers),
            }
        )
        with contextlib.ExitStack() as stack:
            stderr = stack.enter_context(self._log.open("ab")) if self._log else None
            # Coverage is measured in processes that Python started.
            if self.forked and "COVERAGE_PROCESS_START" not in os.environ:
                self._process = ForkedProcess(self.program, environment, stderr)
            else:
                command = [sys.executable, *self.program]
                self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr)
        SERVERS[self] = self._process.pid
        assert self._process.stdout is not None
        said = b""
        deadline = time.monotonic() + _START_SECONDS
        while not (found := re.search(rb"ready at http://127\.0\.0\.1:(\d+)\n", said)):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self._process.stdout.fileno(), 4096) if ready else b""
            if not piece:
                self.kill()
                raise RuntimeError(f"the server did not start; it said: {said!r}")
            said += piece
        self.port = int(found[1])

    def stop(self) -> int:
        """End it as an operator does; its exit status. It is killed if it does not end."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL."""
        return self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        process = self._process
        assert process is not None
        SERVERS.pop(self, None)
        assert process.stdout is not None
        process.send_signal(number)
        try:
            return process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Answer:
    """An HTTP answer that has been read whole."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def problem(self) -> tuple[int, str]:
        """Status and name of the type of a problem."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        assert self.json["status"] == self.status
        return self.status, self.json["type"].partition("#")[2]


class Http:
    """One connection that is made again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """``body`` bytes or an iterable of bytes are sent as they are, anything else as JSON; ``_`` in names of
        header fields becomes ``-``."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, dict | list | str | int):
            body = json.dumps(body).encode()
            fields.setdefault("Content-Type", "application/json")
        self._connection.request(method, path, body, fields)
        return Answer(self._connection.getresponse())

    def figures(self, **headers: str) -> dict[str, float]:
        """What ``/metrics`` says, by name and labels."""
        answer = self("GET", "/metrics", **headers)
        assert answer.status == 200, answer.body
        found = re.findall(r"^([a-z_]+(?:{[^}]*})?) (\S+)$", answer.body.decode(), re.MULTILINE)
        return {name: float(value) for name, value in found}

    def uploads(self, newest: int = 1000) -> set[str]:
        """The paths of the newest uploads.

        Ask for all before and for fewer after a request that must leave none: one of another test that ends meanwhile
        brings an older one into the list, and is no new one.
        """
        answer = self("GET", f"{API}uploads/?limit={newest}&fields=pulp_href")
        return {upload["pulp_href"] for upload in answer.json["results"]}

    def create(self, size: int, **members: object) -> str:
        """A new upload's path."""
        answer = self("POST", f"{API}uploads/", {"size": size, **members})
        assert answer.status == 201, answer.body
        return str(answer.json["pulp_href"])

    def put(self, href: str, offset: int, data: bytes, total: int | str = "*", **headers: str) -> Answer:
        """A chunk as raw bytes."""
        span = f"bytes {offset}-{offset + len(data) - 1}/{total}"
        return self("PUT", href, data, Content_Range=span, Content_Type="application/octet-stream", **headers)

    def put_form(self, href: str, offset: int, data: bytes, total: int | str = "*", **fields: str) -> Answer:
        """A chunk as a form's file."""
        content, kind = form(data, **fields)
        span = f"bytes {offset}-{offset + len(data) - 1}/{total}"
        return self("PUT", href, content, Content_Range=span, Content_Type=kind)

    def commit(self, href: str, data: bytes | None = None) -> Answer:
        """PUT commit, with the digest of ``data``; again while a busy machine leaves it running."""
        answers: list[Answer] = []

        def is_done() -> bool:
            wish = {} if data is None else {"sha256": sha256(data)}
            answers.append(self("PUT", f"{href}commit", wish))
            return answers[-1].status != 202

        wait_until(is_done, "the commit")
        return answers[-1]

    def ended(self, task: str) -> Any:
        """The task, once it has ended."""
        wait_until(lambda: self("GET", task).json["state"] not in ("waiting", "running"), "the end of a task")
        return self("GET", task).json

    def store(self, data: bytes, **members: object) -> dict[str, Any]:
        """Upload ``data`` as one chunk and commit it; the upload."""
        href = self.create(len(data), **members)
        if data:
            assert self.put(href, 0, data, len(data)).status == 200
        answer = self.commit(href, data)
        assert answer.status == 200, answer.body
        return dict(answer.json)


def form(data: bytes, name: str = "file", **fields: str) -> tuple[bytes, str]:
    """A multipart form with a file and other fields after it, and its Content-Type."""
    boundary = "4f3b7a0c"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n'.encode()
        + b"Content-Type: text/csv\r\n\r\n"
        + data
    ]
    for key, value in fields.items():
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}'.encode())
    return b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def exchange(port: int, request: bytes, *, half_close: bool = False, timeout: float = 10.0) -> bytes:
    """Send ``request`` on a connection of its own and read until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer
