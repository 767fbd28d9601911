"""The main job as a user sees it: a large random file, 8 curl processes at once, in random order, over 1 and 4 workers.

The file has PARTWISE_TEST_MIB mebibytes (default 256; 1024 is what the figures in the docs were taken with).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from partwise.core.content_range import format_content_range
from partwise.core.ranges import ByteRange, split
from tests.support.server import API, Http, ServerProcess

MIB = 1 << 20
SIZE = int(os.environ.get("PARTWISE_TEST_MIB", "256")) * MIB
PIECES = 64
CONNECTIONS = 8


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of random bytes, gone with the module."""
    path = tmp_path_factory.mktemp("source") / "file"
    with path.open("wb") as file:
        for _ in range(SIZE // MIB):
            file.write(os.urandom(MIB))
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def digest(source: Path) -> str:
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def pieces(source: Path) -> Iterator[list[tuple[ByteRange, Path]]]:
    """The file cut in pieces, as ``split`` does it."""
    cut = []
    with source.open("rb") as file:
        for number, span in enumerate(split(ByteRange(0, SIZE), SIZE // PIECES)):
            piece = source.parent / f"chunk{number:02}"
            piece.write_bytes(file.read(span.size))
            cut.append((span, piece))
    yield cut
    for _, piece in cut:
        piece.unlink()


def curl(url: str, span: ByteRange, piece: Path, form: bool) -> int:
    """Send one piece; the HTTP status, or 0 when there was no answer."""
    raw = ["-H", "Content-Type: application/octet-stream", "--data-binary", f"@{piece}"]
    body = ["-F", f"file=@{piece}"] if form else raw
    field = f"Content-Range: {format_content_range(span, SIZE)}"
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT", "-H", field, *body, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return int(done.stdout or 0)


class Watch:
    """What the server's processes use: bytes written, the largest resident memory, and the size of the data folder."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._written_before = self._written()
        self._used_before = self._used()
        self.disk = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _pids(self) -> list[int]:
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self._server.pid)], capture_output=True, text=True)
        return [self._server.pid, *(int(pid) for pid in children.stdout.split())]

    def _written(self) -> int:
        lines = [(Path("/proc") / str(pid) / "io").read_text() for pid in self._pids()]
        return sum(int(line.split("\nwrite_bytes: ")[1].split("\n")[0]) for line in lines)

    def _used(self) -> int:
        blocks = {}  # a file may have two names for a moment
        for folder, _, names in os.walk(self._server.data):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    status = (Path(folder) / name).lstat()
                    blocks[status.st_ino] = status.st_blocks
        return 512 * sum(blocks.values())

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.disk = max(self.disk, self._used() - self._used_before)

    def end(self) -> tuple[int, int]:
        """Bytes written since the start, and the peak resident memory of any process, in bytes."""
        self._over.set()
        self._thread.join()
        peaks = [(Path("/proc") / str(pid) / "status").read_text() for pid in self._pids()]
        peak = max(int(text.split("VmHWM:")[1].split()[0]) for text in peaks) * 1024
        return self._written() - self._written_before, peak


@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", [False, True], ids=["raw", "form"])
@pytest.mark.parametrize("workers", [1, 4])
def test_parallel_curl_in_random_order(
    tmp_path: Path, pieces: list[tuple[ByteRange, Path]], source: Path, digest: str, workers: int, form: bool
) -> None:
    shuffled = random.sample(pieces, len(pieces))
    with ServerProcess(tmp_path / "data", workers=workers) as server, Http(server.port) as http:
        watch = Watch(server)
        href = http.create(SIZE)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            statuses = list(pool.map(lambda item: curl(server.url + href, item[0], item[1], form), shuffled))
        assert statuses == [200] * len(pieces)
        if form:  # commit as Pulp's clients do, by POST and a task
            task = http("POST", f"{href}commit/", {"sha256": digest}).json["task"]
            deadline = time.monotonic() + 60
            while (state := http("GET", task).json["state"]) == "running":
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert state == "completed"
        else:
            answer = http("PUT", f"{href}commit", {"sha256": digest})
            assert answer.status in (200, 202), answer.body
        artifact = http("POST", f"{API}artifacts/", {"upload": href}).json
        assert (artifact["sha256"], artifact["size"]) == (digest, SIZE)
        written, memory = watch.end()
        download = subprocess.run(
            ["curl", "-sS", f"{server.url}{artifact['pulp_href']}download/", "-o", tmp_path / "out"], check=True
        )
        assert download.returncode == 0
        assert subprocess.run(["cmp", source, tmp_path / "out"]).returncode == 0
        # Each byte is written once; what is over is the records'.
        assert written + 64 * MIB >= SIZE
        assert written <= 1.02 * SIZE + 8 * MIB
        assert watch.disk <= 1.02 * SIZE + 8 * MIB
        assert memory < 120 * MIB


@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_the_chunk(tmp_path: Path, source: Path, digest: str) -> None:
    whole = [(span, source) for span in split(ByteRange(0, SIZE), SIZE)]
    with ServerProcess(tmp_path / "data") as server, Http(server.port) as http:
        for form in (False, True):
            watch = Watch(server)
            href = http.create(SIZE)
            assert curl(server.url + href, *whole[0], form) == 200
            assert http("PUT", f"{href}commit", {"sha256": digest}).status == 200
            _, memory = watch.end()
            assert memory < 120 * MIB


@pytest.mark.timeout(600)
def test_killed_ten_times_in_the_middle(tmp_path: Path, pieces: list[tuple[ByteRange, Path]], digest: str) -> None:
    """With four workers, of which all die at once: no chunk that was acknowledged is lost."""
    acknowledged: set[int] = set()
    server = ServerProcess(tmp_path / "data", workers=4)
    server.start()
    try:
        with Http(server.port) as http:
            href = http.create(SIZE)
        waiting = random.sample(pieces, len(pieces))
        for kill in range(11):
            if kill < 10:
                # On a slow machine all may be there before the tenth time: some are sent once more.
                batch = waiting[:8] or random.sample(pieces, 8)
                waiting = waiting[8:]
            else:
                batch, waiting = waiting, []
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                jobs = [(item, pool.submit(curl, server.url + href, *item, form=bool(kill % 2))) for item in batch]
                if kill < 10:
                    next(iter(jobs))[1].result()  # in the middle: the first is through, others are on their way
                    _kill_all(server)
            for item, job in jobs:
                if job.result() == 200:
                    acknowledged.add(item[0].offset)
                else:
                    waiting.append(item)
            if kill < 10:
                server.start()
            with Http(server.port) as http:
                upload = http("GET", href).json
            recorded = {chunk["offset"] for chunk in upload["chunks"]}
            assert acknowledged <= recorded
            waiting = [item for item in waiting if item[0].offset not in recorded]
        with Http(server.port) as http:
            assert http("PUT", f"{href}commit", {"sha256": digest}).status in (200, 202)
            artifact = http("POST", f"{API}artifacts/", {"upload": href})
            assert (artifact.status, artifact.json["sha256"]) == (201, digest)
    finally:
        server.stop()


def _kill_all(server: ServerProcess) -> None:
    """SIGKILL to the supervisor and its workers, none of which may clean up."""
    family = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server.pid)], capture_output=True, text=True).stdout
    for pid in family.split():
        os.kill(int(pid), signal.SIGKILL)
    server.kill()


@pytest.mark.timeout(300)
def test_the_command_killed_in_the_middle_goes_on(tmp_path: Path, source: Path, digest: str) -> None:
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
    with ServerProcess(tmp_path / "data") as server, Http(server.port) as http:
        command = [sys.executable, "-m", "partwise.cli", "upload", str(source), "--server", server.url, "--json"]
        command += ["--chunk-size", "4MiB"]
        first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            uploads = http("GET", f"{API}uploads/").json["results"]
            if uploads and len(http("GET", uploads[0]["pulp_href"]).json["chunks"]) >= 5:
                break
            assert time.monotonic() < deadline
            time.sleep(0.005)
        first.kill()
        first.wait()
        recorded = http("GET", uploads[0]["pulp_href"]).json["chunks"]
        second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=True)
        report = json.loads(second.stdout)
        assert report["sha256"] == digest
        assert report["chunks_skipped"] >= len(recorded) >= 5
        # Not counted in chunks: what came of a part that the kill cut is kept, and only its rest is sent.
        kept = sum(chunk["size"] for chunk in recorded)
        assert report["bytes_sent"] <= SIZE - kept
