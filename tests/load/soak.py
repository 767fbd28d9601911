"""Clients that cut, retry, abort and finish at random, many at once; and what the server holds before and after."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.support.server import API, Http, ServerProcess, sha256

_SIZE = 300_000
_CHUNK = 60_000


@dataclass(frozen=True)
class Held:
    """What one server process holds."""

    descriptors: int
    threads: int
    #: Resident memory, in bytes.
    memory: int

    @classmethod
    def by(cls, pid: int) -> Held:
        """Of a process of this machine."""
        status = Path(f"/proc/{pid}/status").read_text().split("\n")
        fields = dict(line.split(":", 1) for line in status if ":" in line)
        memory = int(fields["VmRSS"].split()[0]) * 1024
        return cls(len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]), memory)


async def soak(server: ServerProcess, *, clients: int, seconds: float, seed: int) -> Counter[str]:
    """Let ``clients`` work for ``seconds``; returns how often each thing happened."""
    events: Counter[str] = Counter()
    until = time.monotonic() + seconds
    await asyncio.gather(*(_Client(server.port, random.Random(seed + n), events).run(until) for n in range(clients)))
    return events


class _Client:
    """One client: one upload after the other, with accidents."""

    def __init__(self, port: int, rng: random.Random, events: Counter[str]) -> None:
        self._port, self._rng, self._events = port, rng, events

    async def run(self, until: float) -> None:
        await asyncio.sleep(self._rng.random())
        while time.monotonic() < until:
            await self._one_upload()

    async def _one_upload(self) -> None:
        data = self._rng.randbytes(_SIZE)
        status, body = await self._request("POST", f"{API}uploads/", b'{"size": %d}' % _SIZE, "application/json")
        assert status == 201, body
        href = body.partition(b'"pulp_href":"')[2].partition(b'"')[0].decode()
        offsets = list(range(0, _SIZE, _CHUNK))
        self._rng.shuffle(offsets)
        while offsets:
            luck, offset = self._rng.random(), offsets[-1]
            piece = data[offset : offset + _CHUNK]
            field = f"Content-Range: bytes {offset}-{offset + len(piece) - 1}/{_SIZE}\r\n"
            if luck < 0.03:
                await self._request("DELETE", href)
                self._events["aborted"] += 1
                return
            if luck < 0.06:
                self._events["left"] += 1
                return
            if luck < 0.25:
                await self._cut(href, field, piece)
                self._events["cut"] += 1
                continue
            status, body = await self._request("PUT", href, piece, "application/octet-stream", field)
            assert status in {200, 409}, body
            self._events["chunks" if status == 200 else "refused"] += 1
            if status == 200:
                offsets.pop()
        commit = f'{{"sha256": "{sha256(data)}"}}'.encode()
        status, body = await self._request("PUT", f"{href}commit", commit, "application/json")
        while status == 202:
            await asyncio.sleep(0.1)
            status, body = await self._request("PUT", f"{href}commit", commit, "application/json")
        assert status == 200, body
        self._events["completed"] += 1
        artifact = body.partition(b'"artifact":"')[2].partition(b'"')[0].decode()
        if artifact:
            await self._request("DELETE", artifact)
        await self._request("DELETE", href)

    async def _cut(self, href: str, field: str, piece: bytes) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._head("PUT", href, len(piece), "application/octet-stream", field))
        writer.write(piece[: self._rng.randrange(len(piece))])
        await writer.drain()
        if self._rng.random() < 0.5:
            await asyncio.sleep(self._rng.random() * 0.3)
        writer.transport.abort()

    async def _request(
        self, method: str, path: str, body: bytes = b"", kind: str = "text/plain", field: str = ""
    ) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(self._head(method, path, len(body), kind, field) + body)
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.transport.abort()
        return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]

    def _head(self, method: str, path: str, size: int, kind: str, field: str) -> bytes:
        return (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {size}\r\n{field}\r\n"
        ).encode()


def remove_uploads(server: ServerProcess) -> None:
    """Delete what clients left behind, as expiry would."""
    with Http(server.port) as http:
        while uploads := http("GET", f"{API}uploads/?limit=100").json["results"]:
            for upload in uploads:
                assert http("DELETE", upload["pulp_href"]).status == 204


def locks_held(data: Path) -> int:
    """Kernel locks on files of the data folder, by any process."""
    files = [path for folder in ("staging", "locks") for path in (data / folder).iterdir()]
    inodes = {str(path.stat().st_ino) for path in files}
    lines = Path("/proc/locks").read_text().splitlines()
    return sum(line.split()[-3].rpartition(":")[2] in inodes for line in lines)
