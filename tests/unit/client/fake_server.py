"""A server in a thread that keeps chunks in memory, by the rules that matter to clients, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from partwise.core.content_range import parse_content_range
from partwise.core.digests import parse_digest_field
from partwise.core.ranges import ByteRange, missing_ranges

ROOT = "/pulp/api/v3/"
#: What a fault may answer: a status, a body and headers.
Answer = tuple[int, dict[str, Any], dict[str, str]]


@dataclass
class FakeUpload:
    size: int
    filename: str | None = None
    chunks: dict[ByteRange, bytes] = field(default_factory=dict)
    artifact: str | None = None


@dataclass
class FakeServer:
    """What the server has, what it was asked, and how it misbehaves."""

    url: str = ""
    uploads: dict[str, FakeUpload] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    #: Called with method, path and body before each request; an answer from it is given instead. It may also raise
    #: ConnectionError, which cuts the connection.
    fault: Callable[[str, str, bytes], Answer | None] = lambda method, path, body: None
    #: Called on the bytes of a chunk before they are stored.
    damage: Callable[[ByteRange, bytes], bytes] = lambda span, data: data
    #: A commit answers 202 and its task completes when it was asked for this many times.
    commit_polls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, method: str, part: str = "") -> int:
        """How many requests with this method had ``part`` in their path."""
        return sum(1 for made, path in self.requests if made == method and part in path)


def problem(status: int, name: str, detail: str, headers: dict[str, str] | None = None) -> Answer:
    return status, {"type": f"/docs/errors#{name}", "status": status, "detail": detail}, headers or {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeServer

    def log_message(self, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        with self.fake.lock:
            self.fake.requests.append((self.command, self.path))
            self.fake.headers.append(dict(self.headers))
            try:
                answer = self.fake.fault(self.command, parts.path, body)
                answer = answer or self._answer(parts.path, parse_qs(parts.query), body)
            except ConnectionError:
                self.close_connection = True
                return
        self._send(*answer)

    do_GET = do_PUT = do_POST = do_DELETE = _serve

    def _send(self, status: int, body: dict[str, Any] | bytes, headers: dict[str, str]) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, path: str, query: dict[str, list[str]], body: bytes) -> Any:
        kind, _, rest = path.removeprefix(ROOT).partition("/")
        key, _, action = rest.partition("/")
        match self.command, kind, bool(key), action.rstrip("/"):
            case "POST", "uploads", False, _:
                return self._create(json.loads(body))
            case "GET", "artifacts", False, _:
                digests = query.get("sha256") or list(self.fake.artifacts)
                found = [self._artifact(digest) for digest in digests if digest in self.fake.artifacts]
                return 200, {"count": len(found), "results": found}, {}
            case "GET", "artifacts", True, "download" if key in self.fake.artifacts:
                return self._download(self.fake.artifacts[key])
            case "GET", "tasks", True, _:
                return self._task(key)
        upload = self.fake.uploads.get(key)
        if kind != "uploads" or upload is None:
            return problem(404, "not-found", "No such upload.")
        match self.command, action.rstrip("/"):
            case "GET", "":
                return 200, self._upload(key, upload, "true" in query.get("digests", [])), {}
            case "PUT", "":
                return self._chunk(key, upload, body)
            case "PUT", "commit":
                return self._commit(key, upload, json.loads(body)["sha256"])
            case "DELETE", "":
                del self.fake.uploads[key]
                return 204, b"", {}
        return problem(405, "method-not-allowed", "No.")

    def _create(self, wish: dict[str, Any]) -> Any:
        key = f"u{len(self.fake.uploads)}"
        self.fake.uploads[key] = FakeUpload(wish["size"], wish.get("filename"))
        return 201, self._upload(key, self.fake.uploads[key], False), {}

    def _chunk(self, key: str, upload: FakeUpload, body: bytes) -> Any:
        span = parse_content_range(self.headers["Content-Range"]).range
        digest = parse_digest_field(self.headers.get("Content-Digest", ""))
        body = self.fake.damage(span, body)
        if digest is not None and digest != hashlib.sha256(body).hexdigest():
            return problem(400, "chunk-digest-mismatch", "The chunk is damaged.")
        if any(span.overlaps(other) for other in upload.chunks if other != span):
            return problem(409, "chunk-overlap", "The range partly overlaps recorded chunks.")
        upload.chunks[span] = body
        return 200, self._upload(key, upload, False), {}

    def _commit(self, key: str, upload: FakeUpload, expected: str) -> Any:
        if list(missing_ranges(upload.size, sorted(upload.chunks))):
            return problem(409, "incomplete-upload", "The upload is incomplete.")
        data = b"".join(upload.chunks[span] for span in sorted(upload.chunks))
        actual = hashlib.sha256(data).hexdigest()
        if self.fake.commit_polls:
            self.fake.artifacts[actual] = data
            upload.artifact = actual
            return 202, {"task": f"{ROOT}tasks/{key}/"}, {}
        if actual != expected:
            return problem(400, "artifact-digest-mismatch", f"The file's SHA-256 is {actual}, not {expected}.")
        self.fake.artifacts[actual] = data
        upload.artifact = actual
        return 200, self._upload(key, upload, False), {}

    def _task(self, key: str) -> Any:
        self.fake.commit_polls -= 1
        state = "completed" if self.fake.commit_polls == 0 else "running"
        return 200, {"state": state, "progress_reports": [{"done": 50, "total": 100}], "error": None}, {}

    def _upload(self, key: str, upload: FakeUpload, digests: bool) -> dict[str, Any]:
        chunks: list[dict[str, Any]] = [{"offset": span.offset, "size": span.size} for span in upload.chunks]
        if digests:
            for chunk, data in zip(chunks, upload.chunks.values(), strict=True):
                chunk["sha256"] = hashlib.sha256(data).hexdigest()
        return {
            "pulp_href": f"{ROOT}uploads/{key}/",
            "size": upload.size,
            "state": "completed" if upload.artifact else "open",
            "chunks": chunks,
            "artifact": f"{ROOT}artifacts/{upload.artifact}/" if upload.artifact else None,
            "sha256": upload.artifact,
            "chunk_size": 1000,
            "parallel": 3,
        }

    def _artifact(self, digest: str) -> dict[str, Any]:
        size = len(self.fake.artifacts[digest])
        return {"pulp_href": f"{ROOT}artifacts/{digest}/", "sha256": digest, "size": size, "filename": "f.bin"}

    def _download(self, data: bytes) -> Any:
        asked = self.headers.get("Range")
        if asked is None:
            return 200, data, {}
        first = int(asked.removeprefix("bytes=").removesuffix("-"))
        return 206, data[first:], {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[FakeServer]:
    """A fake server that listens on loopback, over TLS if it is given a certificate."""
    fake = FakeServer()
    handler = type("Handler", (_Handler,), {"fake": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        fake.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
