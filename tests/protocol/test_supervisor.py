"""The supervisor of several workers, with real processes: ends of all kinds, starts that fail or hang, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.server import API, Http, ServerProcess
from tests.support.until import wait_until

#: Workers hang while they start, as long as there is the file ``hang`` in the data folder.
_HANGING = """
import os, time
from partwise.server.run import serve
from partwise.server.settings import Settings
from partwise.storage.local import LocalStorage

settings, parent, start = Settings(), os.getpid(), LocalStorage.start

async def hang_and_start(self, **keywords):
    while os.getpid() != parent and (settings.data / "hang").exists():
        time.sleep(0.01)
    await start(self, **keywords)

LocalStorage.start = hang_and_start
serve(settings)
"""

#: A supervisor alone. Its workers serve, and do what their argument says.
_ALONE = """
import os, signal, sys, time
from partwise.server.causes import NUMBERS, WorkerFigures
from partwise.server.logs import configure
from partwise.server.shared_values import SharedMemory
from partwise.server.supervisor import ALIVE, READY, Supervisor

def work(pipe, region):
    os.write(1, b"pid %d\\n" % os.getpid())  # in one piece, beside another worker
    if sys.argv[1] == "fail":
        sys.exit(3)
    os.write(pipe, READY)
    while True:
        os.write(pipe, ALIVE)
        time.sleep(0.05)

configure("info", "json")
figures = WorkerFigures(SharedMemory(6, NUMBERS))
ready = lambda: print("ready", flush=True)
sys.exit(Supervisor(2, work, figures, 1.0, ready, lambda: None, silence_seconds=1.0, give_up_seconds=1.5).run())
"""


class Hanging(ServerProcess):
    program = ("-c", _HANGING)


def workers(server: ServerProcess) -> set[int]:
    """The processes of the workers."""
    return {int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()}


def events(log: Path, event: str) -> list[dict[str, Any]]:
    """The lines of a log with this event."""
    return [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == event]


def restarts(server: ServerProcess) -> dict[str, float]:
    """How many workers ended, by cause."""
    with Http(server.port) as http:
        figures = http.figures()
    name = "partwise_worker_restarts_total{cause="
    return {key.split('"')[1]: count for key, count in figures.items() if key.startswith(name) and count}


def ready(server: ServerProcess) -> float:
    with Http(server.port) as http:
        return http.figures()["partwise_workers_ready"]


def end(server: ServerProcess, pid: int, number: int = signal.SIGKILL) -> None:
    """End a worker, and wait until its supervisor has noticed."""
    before = sum(restarts(server).values())
    os.kill(pid, number)
    wait_until(lambda: sum(restarts(server).values()) > before, "the supervisor notices")


def test_dead_workers_are_logged_counted_and_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ServerProcess(tmp_path / "data", workers=2, log=log, log_format="json") as server:
        first, second = workers(server)
        end(server, first)
        end(server, second, signal.SIGABRT)
        wait_until(lambda: ready(server) == 2, "both are replaced")
        assert restarts(server) == {"SIGKILL": 1, "SIGABRT": 1}
    ended = events(log, "a worker process ended")
    assert [(line["pid"], line["cause"], line["served"]) for line in ended] == [
        (first, "SIGKILL", True),
        (second, "SIGABRT", True),
    ]


def test_a_worker_that_cannot_start_ends_nobody(tmp_path: Path) -> None:
    """The data folder is away for a while: the other worker goes on, and starts are tried again until one succeeds."""
    log, data = tmp_path / "log", tmp_path / "data"
    with ServerProcess(data, workers=2, log=log, log_format="json") as server:
        first, second = workers(server)
        data.rename(tmp_path / "away")
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(events(log, "a worker process ended")) >= 3, "starts fail")
        with Http(server.port) as http:
            assert http("GET", "/livez").status == 200
        assert second in workers(server)
        (tmp_path / "away").rename(data)
        wait_until(lambda: ready(server) == 2, "the worker is replaced")
        assert second in workers(server)
        assert restarts(server)["start-failed"] >= 2
        with Http(server.port) as http:
            http.store(b"x")
        assert server.stop() == 0
    pauses = [line["next_start_in_seconds"] for line in events(log, "a worker process ended")[1:]]
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0] or len(pauses) < 3


def test_a_worker_that_hangs_while_it_starts_delays_nobody(tmp_path: Path) -> None:
    with Hanging(tmp_path, workers=3, log=tmp_path / "log", log_format="json") as server:
        first, second, third = sorted(workers(server))
        (tmp_path / "hang").touch()
        end(server, first)
        wait_until(lambda: len(workers(server)) == 3, "another is started")
        (hanging,) = workers(server) - {second, third}
        os.kill(hanging, signal.SIGSTOP)  # it does not see that it may go on
        (tmp_path / "hang").unlink()
        end(server, second)
        wait_until(lambda: ready(server) == 2, "the other one is replaced meanwhile")
        assert {hanging, third} < workers(server)
        assert server.stop() == 0, "a stop does not wait for it either"
    assert not events(tmp_path / "log", "did not stop in time")


def test_a_worker_that_holds_the_write_lock_of_the_database_delays_no_start(tmp_path: Path) -> None:
    """As one does that is stopped in the middle of a transaction."""
    with ServerProcess(tmp_path, workers=2) as server, closing(sqlite3.connect(tmp_path / "catalog.sqlite3")) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        for worker in workers(server):
            end(server, worker)
        wait_until(lambda: ready(server) == 2, "both are replaced while it is held", seconds=25)
        other.execute("ROLLBACK")


def test_a_stop_before_any_worker_serves(tmp_path: Path) -> None:
    (tmp_path / "hang").touch()
    log = (tmp_path / "log").open("wb")
    environment = os.environ | {"PARTWISE_DATA": str(tmp_path), "PARTWISE_PORT": "0", "PARTWISE_WORKERS": "2"}
    process = subprocess.Popen([sys.executable, "-c", _HANGING], env=environment, stderr=log)
    log.close()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        # They hang once they use the folder, for which each has opened the port before.
        wait_until(lambda: len(children.read_text().split()) == 2, "workers start")
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_sighup_replaces_all_workers_and_refuses_nobody(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, workers=2) as server:
        before = workers(server)
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
            with Http(server.port) as http:
                href = http.create(10)
            head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n"
            slow.sendall(f"{head}Content-Range: bytes 0-9/10\r\n\r\n".encode())
            assert slow.recv(100).startswith(b"HTTP/1.1 100 ")
            os.kill(server.pid, signal.SIGHUP)

            def replaced() -> bool:
                with Http(server.port) as http:
                    assert http("GET", "/livez").status == 200
                return len(workers(server) - before) == 2

            wait_until(replaced, "two new workers")
            slow.sendall(b"0123456789")
            assert slow.recv(1000).startswith(b"HTTP/1.1 200 "), "a request in flight is finished"
        wait_until(lambda: not workers(server) & before and ready(server) == 2, "the old ones end")
        assert restarts(server) == {}, "nobody ended unasked"
        assert server.stop() == 0


def test_sighup_leaves_a_single_process_alone(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, Http(server.port) as http:
        os.kill(server.pid, signal.SIGHUP)
        assert http("GET", "/livez").status == 200
        assert http("GET", f"{API}uploads/").status == 200
        assert server.stop() == 0


def test_metrics_are_those_of_all_workers_the_dead_ones_included(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, workers=2) as server:

        def not_found() -> float:
            with Http(server.port) as http:
                return http.figures().get('partwise_problems_total{type="not-found"}', 0)

        def counted(number: int) -> bool:
            return not_found() >= number

        for number in range(1, 21):
            if number == 10:
                for worker in workers(server):
                    end(server, worker)
            with Http(server.port) as http:
                assert http("GET", f"{API}uploads/none/").status == 404
            # A request is counted a moment after its answer, by whichever worker had it.
            wait_until(partial(counted, number), "it is counted")
            assert not_found() == number
        with Http(server.port) as http:
            figures = http.figures()
        assert figures['partwise_request_seconds_count{method="GET"}'] > 40
        assert figures["partwise_requests_in_flight"] == 1, "this one; those of the dead are gone"


# A supervisor alone, with times of its own


@contextmanager
def alone(what: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _ALONE, what], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def next_pids(process: subprocess.Popen[str], count: int) -> list[int]:
    """The next workers that start."""
    assert process.stdout is not None
    found: list[int] = []
    while len(found) < count:
        line = process.stdout.readline()
        assert line, "the supervisor ended"
        if line.startswith("pid "):
            found.append(int(line[4:]))
    return found


def test_a_worker_that_falls_silent_is_replaced() -> None:
    with alone("serve") as process:
        first, second = next_pids(process, 2)
        os.kill(first, signal.SIGSTOP)
        (third,) = next_pids(process, 1)
        wait_until(lambda: not Path(f"/proc/{first}").exists(), "the silent one is ended")
        assert Path(f"/proc/{second}").exists()
        assert third not in (first, second)
        process.terminate()
        assert process.wait(30) == 0


def test_a_stop_reaches_workers_that_somebody_stopped() -> None:
    with alone("serve") as process:
        for pid in next_pids(process, 2):
            os.kill(pid, signal.SIGSTOP)
        process.terminate()
        assert process.wait(30) == 0


def test_it_gives_up_with_a_failure_when_no_worker_ever_serves() -> None:
    with alone("fail") as process:
        began = time.monotonic()
        assert process.wait(60) == 1
        assert time.monotonic() - began > 1.5, "it has tried for some time"


def test_a_single_thread_starts_the_workers(tmp_path: Path) -> None:
    """PR_SET_PDEATHSIG is tied to the thread that starts a process, and a fork of several threads may lock up."""
    with ServerProcess(tmp_path, workers=2) as server:
        assert os.listdir(f"/proc/{server.pid}/task") == [str(server.pid)]
