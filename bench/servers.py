"""The servers that are measured: each a process of its own, with its data below the run's folder, ended by its pid."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load import Connection, Pace, Put, Refused, Span, send_all, split
from bench.procfs import family

API = "/pulp/api/v3/"
_START_SECONDS = 30.0
_STOP_SECONDS = 40.0


class Source:
    """The file that is sent: bytes that no server can compress or find twice."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._digests: dict[Span, str] = {}
        block = bytearray(os.urandom(min(size, 16 << 20)))
        with path.open("wb") as file:
            for number in range(0, size, len(block)):
                block[:8] = number.to_bytes(8, "big")
                file.write(block[: size - number])
        self.fd = os.open(path, os.O_RDONLY)

    def sha256(self, span: Span) -> str:
        """Of a part of it; computed once."""
        if span not in self._digests:
            self._digests[span] = sha256_of(self.fd, span)
        return self._digests[span]

    def cut(self, span: Span, path: Path) -> None:
        """Make a part of it a file of its own."""
        with path.open("wb") as file:
            done = 0
            while done < span.size:
                done += os.sendfile(file.fileno(), self.fd, span.offset + done, span.size - done)

    def close(self) -> None:
        os.close(self.fd)


def sha256_of(fd: int, span: Span) -> str:
    """By OpenSSL (hashlib's sha256), in blocks of 1 MiB: the fastest that a single pass over a file gets."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(1 << 20))
    offset = span.offset
    while offset < span.end:
        count = os.preadv(fd, [block[: min(len(block), span.end - offset)]], offset)
        if not count:
            raise Refused("the file is shorter than it was")
        digest.update(block[:count])
        offset += count
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Uploaded:
    """One upload: seconds from the first request to the answer of the commit, and of the commit alone."""

    seconds: float
    commit_seconds: float
    artifact: str


class Server:
    """A started process."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
        self.process = process
        self.port = port
        self.folder = folder

    @property
    def pids(self) -> list[int]:
        return family(self.process.pid)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Partwise(Server):
    """``partwise serve``, and uploads to it as a client without tricks would do them."""

    #: The path of the API.
    api = API

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def create(self, size: int) -> str:
        """A new upload's path."""
        with Connection(self.port) as connection:
            return str(self._json(connection, "POST", f"{self.api}uploads/", {"size": size}, 201)["pulp_href"])

    def puts(self, href: str, span: Span, chunk: int, *, form: bool = False) -> list[Put]:
        """The requests that send ``span`` of the source file as a file of its own, in chunks."""
        return [
            Put(
                href,
                Span(span.offset + piece.offset, piece.size),
                (f"Content-Range: bytes {piece.offset}-{piece.end - 1}/{span.size}",),
                form,
            )
            for piece in split(span.size, chunk)
        ]

    def upload(
        self,
        source: Source,
        span: Span,
        chunk: int,
        connections: int,
        *,
        form: bool = False,
        backwards: bool = False,
        pace: float | None = None,
    ) -> Uploaded:
        """Create, send, commit; ``pace`` in bytes a second. Raises Refused unless the artifact has the right digest."""
        expected = source.sha256(span)
        started = time.monotonic()
        href = self.create(span.size)
        puts = self.puts(href, span, chunk, form=form)
        if backwards:
            puts.reverse()
        send_all(self.port, source.fd, puts, connections, pace=Pace(pace) if pace else None)
        sent = time.monotonic()
        artifact = self.commit(href, expected)
        ended = time.monotonic()
        return Uploaded(ended - started, ended - sent, artifact)

    def commit(self, href: str, sha256: str) -> str:
        """Commit and wait until it is done; the artifact's path."""
        with Connection(self.port) as connection:
            answer = self._json(connection, "PUT", f"{href}commit", {"sha256": sha256}, 200, 202)
            while "task" in answer:
                time.sleep(0.01)
                task = self._json(connection, "GET", answer["task"], None, 200)
                if task["state"] == "completed":
                    answer = self._json(connection, "GET", href, None, 200)
                elif task["state"] != "running":
                    raise Refused(f"the commit failed: {task['error']}")
            if answer["sha256"] != sha256:
                raise Refused(f"the artifact's digest is {answer['sha256']}, not {sha256}")
            return str(answer["artifact"])

    def delete(self, href: str) -> None:
        """Delete an artifact or an upload."""
        with Connection(self.port) as connection:
            self._json(connection, "DELETE", href, None, 204)

    @staticmethod
    def _json(connection: Connection, method: str, path: str, members: object, *expected: int) -> dict[str, str]:
        body = b"" if members is None else json.dumps(members).encode()
        status, answer = connection.request(method, path, body, ("Content-Type: application/json",) if body else ())
        if status not in expected:
            raise Refused(f"{method} {path} answered {status}: {answer[:500]!r}")
        return dict(json.loads(answer)) if answer else {}


class Nginx(Server):
    """nginx with its WebDAV module: it stores each piece as a file, and verifies nothing."""

    def store(self, source: Source, span: Span, chunk: int, connections: int) -> list[Path]:
        """PUT the pieces; the files they became, in order."""
        pieces = split(span.size, chunk)
        puts = [
            Put(f"/{number:06}", Span(span.offset + piece.offset, piece.size)) for number, piece in enumerate(pieces)
        ]
        send_all(self.port, source.fd, puts, connections, expect=201)
        return [self.folder / "files" / put.path[1:] for put in puts]


@contextmanager
def partwise(folder: Path, workers: int = 1, **settings: object) -> Iterator[Partwise]:
    """A server on a free port; ``settings`` as in its PARTWISE_… variables."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {f"PARTWISE_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "partwise.cli", "serve"]
    command += ["--port", "0", "--data", str(folder), "--workers", str(workers)]
    # The log, with a line for each request as operators have it, goes beside the data, which is measured.
    with folder.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log)
    server = Partwise(process, 0, folder)
    try:
        try:
            server.port = _announced_port(process)
        except Refused as refused:
            raise Refused(f"{refused}; its log: {folder.with_suffix('.log').read_text()[-2000:]}") from None
        yield server
    finally:
        server.stop()


class Embedded(Partwise):
    """partwise below a path of a host application."""

    api = f"/files{API}"


_HOST = """\
import socket
import sys

import uvicorn
from fastapi import FastAPI

from partwise.embed import BoundedProtocol, Partwise, Settings

files = Partwise(Settings.of(data=sys.argv[1]), base_path="/files", identity=lambda request: "ann")
app = FastAPI(lifespan=files.lifespan)
app.mount("/files", files.app)
listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
print(f"ready at http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
http = BoundedProtocol if sys.argv[2] == "bypass" else "httptools"
uvicorn.Server(uvicorn.Config(app, http=http, loop="uvloop", log_level="warning")).run([listener])
"""


@contextmanager
def embedded(folder: Path, *, bypass: bool) -> Iterator[Embedded]:
    """A host application on a free port, with or without the socket bypass."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-c", _HOST, str(folder), "bypass" if bypass else "plain"]
    with folder.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
    server = Embedded(process, 0, folder)
    try:
        server.port = _announced_port(process)
        yield server
    finally:
        server.stop()


def _announced_port(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    said = b""
    deadline = time.monotonic() + _START_SECONDS
    while not (found := re.search(rb"ready at http://127\.0\.0\.1:(\d+)\n", said)):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(process.stdout.fileno(), 4096) if ready else b""
        if not piece:
            raise Refused(f"partwise did not start; it said {said!r}")
        said += piece
    return int(found[1])


_NGINX = """\
worker_processes {workers};
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/unused; fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused; scgi_temp_path {folder}/unused;
    keepalive_requests 1000000;
    {buffers}
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        dav_methods PUT;
    }}
}}
"""


@contextmanager
def nginx(folder: Path, *, buffer: str | None = None, workers: int = 2) -> Iterator[Nginx]:
    """nginx with bodies buffered in its default way, or in buffers of the size ``buffer``."""
    (folder / "files").mkdir(parents=True)
    port = _free_port()
    configuration = _NGINX.format(
        workers=workers,
        folder=folder,
        port=port,
        user="user root;" if os.geteuid() == 0 else "",
        buffers=f"client_body_buffer_size {buffer};" if buffer else "",
    )
    (folder / "nginx.conf").write_text(configuration)
    command = [str(find_nginx()), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    server = Nginx(subprocess.Popen(command), port, folder)
    try:
        _wait_for_port(server)
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def rsync(folder: Path) -> Iterator[Server]:
    """An rsync daemon with the module ``files``, which is the folder of that name in ``folder``."""
    (folder / "files").mkdir(parents=True)
    port, configuration = _free_port(), folder / "rsyncd.conf"
    configuration.write_text(
        f"use chroot = no\nuid = {os.getuid()}\ngid = {os.getgid()}\n[files]\npath = {folder}/files\nread only = no\n"
    )
    command = ["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}", f"--config={configuration}"]
    server = Server(subprocess.Popen(command), port, folder)
    try:
        _wait_for_port(server)
        yield server
    finally:
        server.stop()


def _wait_for_port(server: Server) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise Refused("a server did not start") from None
            time.sleep(0.01)


def find_nginx() -> str | None:
    """Where nginx is; Debian keeps it off the path of ordinary users."""
    return shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


def sha256_of_files(files: Sequence[Path]) -> str:
    """The SHA-256 of files one behind the other."""
    digest = hashlib.sha256()
    block = memoryview(bytearray(1 << 20))
    for path in files:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(block):
                digest.update(block[:count])
    return digest.hexdigest()
