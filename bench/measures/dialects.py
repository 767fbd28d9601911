"""What the protocols of other systems cost, against raw bodies with the digest of the whole file in SHA-256."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable

from bench.harness import Bench
from bench.load import Connection, Put, Refused, Span, send_all, split
from bench.procfs import cpu_seconds, read_bytes
from bench.report import Section, Series, Table, at_most, size_text, spread
from bench.servers import Partwise, Source

_RAW, _BOX, _FINE, _DRF = "raw bodies", "Box, SHA-1", "Fine Uploader, forms", "drf-chunked-upload, forms, MD5"

#: How much more of the server's processor time than raw bodies each may take.
_TARGETS = {_BOX: 1.15, _FINE: 1.3, _DRF: 1.3}


class _Client:
    """Sends the source file over one connection after the other, as clients of each protocol do by default."""

    def __init__(self, bench: Bench, server: Partwise) -> None:
        self._source, self._port, self._server = bench.source, server.port, server
        self._size, self._chunk = bench.whole.size, bench.scale.chunk
        self._pieces = split(self._size, self._chunk)
        self._digests = {name: _digest(bench.source, bench.whole, name) for name in ("sha1", "md5")}
        self._sha1s = [_digest(bench.source, piece, "sha1") for piece in self._pieces]
        self._sha256 = bench.source.sha256(bench.whole)

    def raw(self) -> str:
        """PUT with Content-Range, and a commit with the SHA-256; the artifact's path."""
        return self._server.upload(self._source, Span(0, self._size), self._chunk, 1).artifact

    def box(self) -> None:
        """A session, its parts with their SHA-1, and a commit with the SHA-1 of the file."""
        with Connection(self._port) as connection:
            wanted = {"folder_id": "0", "file_name": "f", "file_size": self._size}
            path = f"/box/2.0/files/upload_sessions/{_json(connection, '/box/2.0/files/upload_sessions', wanted)['id']}"
            puts = [
                Put(path, piece, (self._range(piece), f"Digest: sha={_base64(sha1)}"))
                for piece, sha1 in zip(self._pieces, self._sha1s, strict=True)
            ]
            send_all(self._port, self._source.fd, puts, 1)
            digest = f"Digest: sha={_base64(self._digests['sha1'])}"
            _json(connection, f"{path}/commit", {"parts": []}, digest)

    def fine(self) -> None:
        """Parts as forms, the last of which makes the file."""
        name = str(uuid.uuid4())
        puts = [
            Put("/fine/", piece, (), True, "POST", self._fields(name, number, piece), "qqfile")
            for number, piece in enumerate(self._pieces)
        ]
        send_all(self._port, self._source.fd, puts, 1)

    def drf(self) -> None:
        """Chunks as forms, and the MD5 of the file."""
        with Connection(self._port) as connection:
            path = "/drf/"
            for piece in self._pieces:
                put = Put(path, piece, (self._range(piece),), True, fields=(("filename", "f"),))
                status, answer = connection.put(self._source.fd, put)
                if status != 200:
                    raise Refused(f"PUT {path} answered {status}: {answer[:500]!r}")
                path = f"/drf/{json.loads(answer)['id']}/"
            _json(connection, path, {"md5": self._digests["md5"]})

    def check(self, artifact: str = "") -> None:
        """Delete the one artifact, whose content must be that of the source file. Raises Refused."""
        with Connection(self._port) as connection:
            _status, answer = connection.request("GET", "/pulp/api/v3/artifacts/")
            found = json.loads(answer)["results"]
        if [one["sha256"] for one in found] != [self._sha256]:
            raise Refused(f"the server has the artifacts {found}")
        self._server.delete(artifact or found[0]["pulp_href"])

    def _range(self, piece: Span) -> str:
        return f"Content-Range: bytes {piece.offset}-{piece.end - 1}/{self._size}"

    def _fields(self, name: str, number: int, piece: Span) -> tuple[tuple[str, str], ...]:
        return (
            ("qqpartindex", str(number)),
            ("qqpartbyteoffset", str(piece.offset)),
            ("qqchunksize", str(piece.size)),
            ("qqtotalparts", str(len(self._pieces))),
            ("qqtotalfilesize", str(self._size)),
            ("qqfilename", "f"),
            ("qquuid", name),
        )


def run(bench: Bench) -> Section:
    size = bench.scale.size
    with bench.partwise(dialects="pulp,box,fine,drf") as server:
        client = _Client(bench, server)
        processor: dict[str, Series] = {}
        reads: dict[str, Series] = {}

        def measured(name: str, upload: Callable[[], str | None]) -> float:
            pids = server.pids
            before = cpu_seconds(pids), read_bytes(pids)
            started = time.monotonic()
            artifact = upload()
            elapsed = time.monotonic() - started
            pids = server.pids
            processor.setdefault(name, Series()).append(cpu_seconds(pids) - before[0])
            reads.setdefault(name, Series()).append((read_bytes(pids) - before[1]) / size)
            client.check(artifact or "")
            return elapsed

        client.raw()  # the process that hashes is started by the first upload
        client.check()
        found = bench.in_turn(
            {
                _RAW: lambda: measured(_RAW, client.raw),
                _BOX: lambda: measured(_BOX, client.box),
                _FINE: lambda: measured(_FINE, client.fine),
                _DRF: lambda: measured(_DRF, client.drf),
            }
        )
    return _section(bench, found, processor, reads)


def _section(bench: Bench, found: dict[str, Series], processor: dict[str, Series], reads: dict[str, Series]) -> Section:
    section = Section(
        "Protocols of other systems",
        f"{size_text(bench.scale.size)} in chunks of {size_text(bench.scale.chunk)} over one connection, "
        f"{bench.scale.rounds} rounds. The server checks the SHA-1 of each of Box's parts and of the file, and the MD5 "
        "of drf's file, beside the SHA-256. Bytes read are those of read calls, which the bodies of large requests are "
        "not among.",
    )
    head = ("", "seconds", "× of raw", "server processor seconds", "× of raw", "bytes read / size")
    rows = []
    for name, seconds in found.items():
        cost = processor[name]
        ratios = f"{seconds.over(found[_RAW]):.2f}", f"{cost.over(processor[_RAW]):.2f}"
        rows.append((name, spread(seconds), ratios[0], spread(cost), ratios[1], f"{reads[name].median:.2f}"))
    section.tables.append(Table(head, rows))
    for name, bound in _TARGETS.items():
        section.targets.append(at_most(f"{name}, seconds against {_RAW}", found[name].over(found[_RAW]), bound))
    return section


def _digest(source: Source, span: Span, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for piece in split(span.size, 1 << 20):
        digest.update(os.pread(source.fd, piece.size, span.offset + piece.offset))
    return digest.hexdigest()


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()


def _json(connection: Connection, path: str, members: object, *headers: str) -> dict[str, str]:
    body = json.dumps(members).encode()
    status, answer = connection.request("POST", path, body, ("Content-Type: application/json", *headers))
    if status not in (200, 201):
        raise Refused(f"POST {path} answered {status}: {answer[:500]!r}")
    return dict(json.loads(answer))
