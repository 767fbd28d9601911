"""Uploads that are cut, killed, damaged or overtaken, and what running the same command again makes of them."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Cli
from tests.support.proxy import Proxy
from tests.support.server import Http, ServerProcess

MIB = 1024 * 1024
SIZE = 24 * MIB + 99
CHUNKS = 25
Make = Callable[..., Path]


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[Proxy]:
    with Proxy(server.port) as made:
        yield made


@pytest.fixture
def slow(proxy: Proxy, tmp_path: Path) -> Cli:
    """The command, with the proxy between."""
    return Cli(proxy.url, tmp_path / "state")


def arguments(path: Path) -> tuple[object, ...]:
    return ("upload", path, "--chunk-size", "1MiB", "--parallel", "3", "--json")


def chunks_on_server(server: ServerProcess, name: str) -> list[dict[str, Any]]:
    """Of the one open upload with this name."""
    with Http(server.port) as http:
        listed = http("GET", "/pulp/api/v3/uploads/?state=open&limit=1000").json["results"]
        (found,) = (upload for upload in listed if upload["filename"] == name)
        return list(http("GET", found["pulp_href"]).json["chunks"])


def whole(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_after_sigkill_only_what_is_missing_is_sent(server: ServerProcess, slow: Cli, proxy: Proxy, make: Make) -> None:
    path = make(SIZE, "killed.bin")
    proxy.hold_after(10 * MIB)
    process = slow.begin(*arguments(path))
    proxy.wait_until_held()
    process.kill()
    process.communicate()
    proxy.cut()
    proxy.release()
    result = slow(*arguments(path)).json
    assert result["resumed"] is True
    assert result["chunks_skipped"] >= 5
    # Of a chunk that was cut, what had arrived is one, and the rest is another: at most one for each connection.
    assert CHUNKS <= result["chunks_sent"] + result["chunks_skipped"] <= CHUNKS + 3
    assert result["bytes_sent"] < SIZE - 5 * MIB
    assert result["sha256"] == whole(path)


def test_ctrl_c_says_how_to_go_on_and_keeps_what_was_sent(
    server: ServerProcess, slow: Cli, proxy: Proxy, make: Make
) -> None:
    path = make(SIZE, "interrupted.bin")
    proxy.hold_after(8 * MIB)
    process = slow.begin(*arguments(path))
    proxy.wait_until_held()
    process.send_signal(signal.SIGINT)
    ran = slow.end(process, 130)
    assert "Run the same command again" in ran.err
    proxy.cut()
    proxy.release()
    result = slow(*arguments(path)).json
    assert result["chunks_skipped"] >= 3
    assert result["bytes_sent"] < SIZE - 3 * MIB
    assert result["sha256"] == whole(path)
    # Of a chunk that was cut, what had arrived is one, and the rest is another: at most one for each connection.
    assert CHUNKS <= result["chunks_sent"] + result["chunks_skipped"] <= CHUNKS + 3


def test_a_second_run_at_the_same_time_is_refused(slow: Cli, proxy: Proxy, make: Make) -> None:
    path = make(SIZE, "twice.bin")
    proxy.hold_after(4 * MIB)
    first = slow.begin(*arguments(path))
    proxy.wait_until_held()
    second = slow(*arguments(path), code=1)
    assert "another process" in second.err
    proxy.release()
    assert slow.end(first).json["sha256"] == whole(path)


def test_a_server_killed_and_restarted_in_the_middle_costs_a_pause(tmp_path: Path, make: Make) -> None:
    path = make(SIZE, "restarted.bin")
    with ServerProcess(tmp_path / "data") as server, Proxy(server.port) as proxy:
        slow = Cli(proxy.url, tmp_path / "state")
        proxy.hold_after(10 * MIB)
        process = slow.begin(*arguments(path))
        proxy.wait_until_held()
        server.kill()
        proxy.release()
        server.start()
        ran = slow.end(process)
        assert ran.json["sha256"] == whole(path)
        assert ran.json["retries"] >= 1
        assert "Trying again" in ran.err


def test_a_command_that_starts_while_the_server_is_restarted_waits_for_it(tmp_path: Path, make: Make) -> None:
    first, second = make(1000, "first.bin"), make(1000, "second.bin")
    with ServerProcess(tmp_path / "data") as server:
        early = Cli(server.url, tmp_path / "state")
        early("upload", first)
        server.kill()
        up = early.begin("upload", second, "--json")
        down = early.begin("download", "first.bin", "-o", tmp_path / "back", "--json")
        for process in (up, down):
            assert process.stderr is not None
            assert "Trying again for up to 300 s" in process.stderr.readline()
        server.start()
        assert early.end(up).json["sha256"] == whole(second)
        assert early.end(down).json["sha256"] == whole(first)


def test_a_server_that_is_busy_at_first_contact_is_asked_again(slow: Cli, proxy: Proxy, make: Make) -> None:
    busy = [b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"] * 2
    proxy.instead = lambda piece: busy.pop() if busy else None
    ran = slow("upload", make(1000, "busy.bin"), "--json")
    assert ran.json["retries"] == 2
    assert "503" in ran.err


def test_a_chunk_damaged_on_the_way_is_found_and_sent_again(slow: Cli, proxy: Proxy, make: Make) -> None:
    path = make(SIZE, "damaged.bin")
    flip = Flip(b"Content-Range: bytes 5242880-")
    proxy.mangle = flip
    ran = slow(*arguments(path))
    assert flip.done
    assert ran.json["chunks_repaired"] == 1
    assert ran.json["chunks_sent"] == CHUNKS + 1
    assert ran.json["sha256"] == whole(path)
    assert "5242880-6291455" in ran.err


def test_a_damaged_chunk_is_refused_on_arrival_when_verified(slow: Cli, proxy: Proxy, make: Make) -> None:
    path = make(SIZE, "refused.bin")
    proxy.mangle = Flip(b"Content-Range: bytes 5242880-")
    result = slow(*arguments(path), "--verify-chunks").json
    assert (result["retries"], result["chunks_repaired"]) == (1, 0)


class Flip:
    """Flips one bit of the body, once, of the request whose head holds ``marker``."""

    def __init__(self, marker: bytes) -> None:
        self.marker = marker
        self.done = False
        self._armed: int | None = None
        self._lock = threading.Lock()

    def __call__(self, connection: int, data: bytes) -> bytes:
        with self._lock:
            begin = 0
            if self.marker in data:
                self._armed = connection
                begin = data.index(b"\r\n\r\n", data.index(self.marker)) + 4
            if self.done or self._armed != connection or begin == len(data):
                return data
            self.done = True
            return data[:-1] + bytes([data[-1] ^ 1])


def test_a_file_changed_meanwhile_is_not_committed(server: ServerProcess, slow: Cli, proxy: Proxy, make: Make) -> None:
    path = make(SIZE, "changed.bin")
    proxy.hold_after(6 * MIB)
    process = slow.begin(*arguments(path))
    proxy.wait_until_held()
    with path.open("r+b") as file:
        file.seek(20 * MIB)
        file.write(b"changed")
    proxy.release()
    ran = slow.end(process, 4)
    assert "changed during" in ran.err
    with Http(server.port) as http:
        listed = http("GET", "/pulp/api/v3/uploads/?search=changed.bin").json
        assert listed["count"] == 0, "nobody goes on with it, and it reserves room"
        assert http("GET", "/pulp/api/v3/artifacts/?filename=changed.bin").json["count"] == 0


def test_an_upload_deleted_meanwhile_is_begun_anew(server: ServerProcess, slow: Cli, proxy: Proxy, make: Make) -> None:
    path = make(SIZE, "deleted.bin")
    proxy.hold_after(6 * MIB)
    process = slow.begin(*arguments(path))
    proxy.wait_until_held()
    process.kill()
    process.communicate()
    proxy.cut()
    proxy.release()
    with Http(server.port) as http:
        listed = http("GET", "/pulp/api/v3/uploads/?state=open&limit=1000").json["results"]
        (found,) = (upload for upload in listed if upload["filename"] == "deleted.bin")
        assert http("DELETE", found["pulp_href"]).status == 204
    ran = slow(*arguments(path))
    assert "starting anew" in ran.err
    assert ran.json["chunks_sent"] == CHUNKS


def test_a_cut_download_goes_on_where_it_was(server: ServerProcess, cli: Cli, make: Make, tmp_path: Path) -> None:
    path = make(SIZE, "downloaded.bin")
    sha256 = cli("upload", path, "--json").json["sha256"]
    part = tmp_path / f"back.{sha256[:12]}.part"
    part.write_bytes(path.read_bytes()[: 10 * MIB])
    result = cli("download", sha256, "-o", tmp_path / "back", "--json").json
    assert result["bytes_received"] == SIZE - 10 * MIB
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert not part.exists()


def test_a_part_file_with_wrong_bytes_is_thrown_away(cli: Cli, make: Make, tmp_path: Path) -> None:
    path = make(3 * MIB, "rotten.bin")
    sha256 = cli("upload", path, "--json").json["sha256"]
    part = tmp_path / f"back.{sha256[:12]}.part"
    part.write_bytes(os.urandom(MIB))
    cli("download", sha256, "-o", tmp_path / "back", code=4)
    assert not part.exists()
    assert not (tmp_path / "back").exists()
    cli("download", sha256, "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
