"""Several files in one command: side by side, past failures, and with bars."""

from __future__ import annotations

import os
import pty
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import Cli
from tests.support.proxy import Proxy
from tests.support.server import ServerProcess

MIB = 1024 * 1024
PROGRAM = [sys.executable, "-m", "partwise.cli"]
Make = Callable[..., Path]


def test_many_files_go_up_and_come_back_side_by_side(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.bin").write_bytes(b"%d of many" % number)
    ran = cli("upload", "-r", folder)
    assert "30 of 30 files uploaded" in ran.err
    lines = ran.out.splitlines()
    assert len(lines) == 90
    # The lines of a result stay together.
    assert {line[:10] for line in lines[1::3]} == {"  sha256  "}
    (tmp_path / "back").mkdir()
    names = [f"many/{number}.bin" for number in range(30)]
    ran = cli("download", *names, "-o", tmp_path / "back", "--jobs", "3")
    assert "30 of 30 files downloaded" in ran.err
    for path in folder.iterdir():
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()


def test_a_second_name_of_the_same_content_is_not_lost_in_silence(cli: Cli, make: Make, tmp_path: Path) -> None:
    first = make(500, "first-name.bin")
    assert "kept as" not in cli("upload", first).out
    second = tmp_path / "second-name.bin"
    second.write_bytes(first.read_bytes())
    assert "kept as   first-name.bin" in cli("upload", second).out
    assert cli("upload", second, "--json").json["kept_as"] == "first-name.bin"
    assert cli("upload", first, "--json").json["kept_as"] is None


def test_downloads_of_one_name_do_not_replace_each_other(cli: Cli, make: Make, tmp_path: Path) -> None:
    digests = [cli("upload", make(size, "twins.bin"), "--no-delta", "--json").json["sha256"] for size in (100, 200)]
    (tmp_path / "both").mkdir()
    ran = cli("download", *digests, "-o", tmp_path / "both", "--force", code=2)
    assert "two of these artifacts" in ran.err
    assert "1 of 2 files downloaded" in ran.err
    assert "1 failed" in ran.err


def test_a_server_that_is_gone_ends_all_files_at_once(cli: Cli, make: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        paths = [make(10, f"gone-{number}") for number in range(20)]
        ran = cli("upload", *paths, "--server", url, "--patience", "0", "--jobs", "2", code=3)
    assert "0 of 20 files uploaded" in ran.err
    assert "not tried" in ran.err


def test_ctrl_c_ends_several_transfers(cli: Cli, server: ServerProcess, make: Make) -> None:
    with Proxy(server.port) as proxy:
        proxy.hold_after(100_000)
        process = cli.begin("upload", *(make(MIB, f"slow-{number}") for number in range(3)), PARTWISE_SERVER=proxy.url)
        proxy.wait_until_held(60)
        process.send_signal(signal.SIGINT)
        ran = cli.end(process, code=130)
    assert ran.err.count("interrupted") == 1
    assert "Traceback" not in ran.err


def test_a_terminal_shows_a_bar_for_all_files_and_one_for_each(cli: Cli, server: ServerProcess, make: Make) -> None:
    with Proxy(server.port) as proxy:
        paths = [str(make(MIB, f"shown-{number}")) for number in range(2)]
        proxy.hold_after(500_000)
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(PROGRAM[0], [*PROGRAM, "upload", *paths], cli.environment | {"PARTWISE_SERVER": proxy.url})
        shown = b""
        try:
            while not (b"0 of 2 files" in shown and b"uploading shown-" in shown):
                shown += os.read(terminal, 4096)
            proxy.release()
            while piece := _read(terminal):
                shown += piece
        finally:
            os.close(terminal)
            status = os.waitpid(pid, 0)[1]
    assert status == 0
    assert b"2 of 2 files uploaded" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux: the other side is closed
        return b""


def test_a_limited_rate_is_kept(cli: Cli, make: Make, tmp_path: Path) -> None:
    path = make(MIB, "limited")
    # Lower bounds alone: how long a busy machine takes says nothing.
    assert cli("upload", path, "--limit-rate", "1M", "--json").json["seconds"] >= 0.7
    assert cli("download", "limited", "-o", tmp_path / "down", "--limit-rate", "1M", "--json").json["seconds"] >= 0.7
    assert "not a size" in cli("upload", path, "--limit-rate", "fast", code=2).err
