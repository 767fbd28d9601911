"""Workers are killed, stopped and starved at random while files are uploaded: every file arrives whole.

``PARTWISE_CHAOS_SECONDS`` is how long (20). In a long run ``/livez`` must never be silent for more than three seconds;
a short one may share its machine with other tests.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.server import API, Answer, ServerProcess, sha256

SECONDS = float(os.environ.get("PARTWISE_CHAOS_SECONDS", "20"))
LONGEST_SILENCE = 3.0 if SECONDS >= 300 else 20.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 3 * SECONDS)]

WORKERS = 4
CHUNK = 250_007
#: At most so many workers are held at once: a server of which nobody runs answers nobody.
HELD = 2


def request(
    port: int, method: str, path: str, body: bytes | None = None, timeout: float = 5, /, **headers: str
) -> Answer | None:
    """One request on a connection of its own; None when there was no answer, or one that says: later."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, fields)
        answer = Answer(connection.getresponse())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    assert answer.status != 500, answer.body
    return None if answer.status in (503, 408) else answer


def insist(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """The first answer."""
    deadline = time.monotonic() + 120
    while (answer := request(port, method, path, body, 5, **headers)) is None:
        assert time.monotonic() < deadline, f"no answer to {method} {path}"
    return answer


def upload_and_compare(port: int, data: bytes) -> None:
    created = insist(port, "POST", f"{API}uploads/", b'{"size": %d}' % len(data), Content_Type="application/json")
    href = created.json["pulp_href"]

    def put(offset: int) -> None:
        piece = data[offset : offset + CHUNK]
        span = f"bytes {offset}-{offset + len(piece) - 1}/{len(data)}"
        while True:
            answer = insist(port, "PUT", href, piece, Content_Range=span, Content_Type="application/octet-stream")
            if answer.status == 200:
                return
            # A request that is stopped in its worker still holds the range; a newer one takes over.
            assert answer.problem in ((409, "range-busy"), (409, "superseded")), answer.body

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(0, len(data), CHUNK)))
    body = b'{"sha256": "%b"}' % sha256(data).encode()
    while True:
        answer = insist(port, "PUT", f"{href}commit", body, Content_Type="application/json")
        if answer.status == 200:
            break
        assert answer.status == 202 or answer.problem == (409, "wrong-state"), answer.body
    while (downloaded := insist(port, "GET", f"{answer.json['artifact']}download/")).body != data:
        assert data.startswith(downloaded.body), "what came is right, as far as it came"


class Chaos:
    """Does one thing after the other to workers of one server, until the time is over."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._random = random.Random(7)
        self.counts = {"kill": 0, "stop": 0, "starve": 0}
        self._held: dict[int, float] = {}
        self._starved: set[int] = set()

    def _workers(self) -> list[int]:
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def run(self, until: float) -> None:
        turn = 0
        while time.monotonic() < until:
            turn += 1
            self._let_go(turn)
            if turn % 20 == 0:
                self._hurt()
            time.sleep(0.05)
        for pid in self._held:
            _signal(pid, signal.SIGCONT)

    def _let_go(self, turn: int) -> None:
        """End what is over; starved ones run every fourth turn."""
        for pid, end in list(self._held.items()):
            if time.monotonic() > end:
                del self._held[pid]
                self._starved.discard(pid)
                _signal(pid, signal.SIGCONT)
            elif pid in self._starved:
                _signal(pid, signal.SIGCONT if turn % 4 == 0 else signal.SIGSTOP)

    def _hurt(self) -> None:
        free = [pid for pid in self._workers() if pid not in self._held]
        what = self._random.choice(["kill", "kill", "stop", "starve"])
        if not free or (what != "kill" and len(self._held) >= HELD):
            return
        pid = self._random.choice(free)
        self.counts[what] += 1
        if what == "kill":
            _signal(pid, self._random.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT]))
            return
        self._held[pid] = time.monotonic() + self._random.uniform(0.5, 8.0)
        if what == "starve":
            self._starved.add(pid)
        else:
            _signal(pid, signal.SIGSTOP)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


class Probe:
    """Asks ``/livez`` again and again; ``longest`` is the longest time without an answer, in seconds."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.longest = 0.0
        self._last = time.monotonic()
        self.finished = threading.Event()

    def run(self) -> None:
        # Several at once: one may wait for a worker that was stopped just after it had taken the connection.
        with ThreadPoolExecutor(12) as pool:
            while not self.finished.wait(0.2):
                pool.submit(self._ask)

    def _ask(self) -> None:
        answer = request(self._port, "GET", "/livez", None, 2)
        if answer is not None and answer.status == 200:
            now = time.monotonic()
            self.longest = max(self.longest, now - self._last)
            self._last = max(self._last, now)


def test_uploads_survive_workers_that_are_killed_stopped_and_starved(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", workers=WORKERS, log=tmp_path / "log", shutdown_seconds=10) as server:
        chaos, probe = Chaos(server), Probe(server.port)
        end = time.monotonic() + SECONDS
        files = 0
        with ThreadPoolExecutor(2) as pool:
            probing, hurting = pool.submit(probe.run), pool.submit(chaos.run, end)
            try:
                while time.monotonic() < end or not files:
                    upload_and_compare(server.port, random.Random(files).randbytes(CHUNK * 24 - 7))
                    files += 1
                hurting.result()
            finally:
                probe.finished.set()
                probing.result()
        began = time.monotonic()
        status = server.stop()
        stopped = time.monotonic() - began
    print(f"{files} files, {chaos.counts}, longest silence {probe.longest:.2f} s, stop in {stopped:.2f} s")
    assert status == 0
    assert chaos.counts["kill"] > 0
    assert probe.longest < LONGEST_SILENCE
    assert stopped < 30 + LONGEST_SILENCE
