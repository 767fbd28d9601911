"""``partwise upload -``."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from partwise.client import Client
from tests.e2e.conftest import Cli, Ran
from tests.support.server import ServerProcess, sha256
from tests.support.until import wait_until

DATA = os.urandom(1_500_000)


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.url) as made:
        yield made


@contextmanager
def running(cli: Cli, *arguments: object, stdin: Any = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "partwise.cli", "upload", *map(str, arguments)]
    process = subprocess.Popen(
        command, env=cli.environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def upload(cli: Cli, *arguments: object, data: bytes = b"", stdin: Any = subprocess.PIPE, code: int = 0) -> Ran:
    with running(cli, *arguments, stdin=stdin) as process:
        out, err = process.communicate(data if stdin is subprocess.PIPE else None, timeout=60)
        assert process.returncode == code, err
        return Ran(process.returncode, out.decode(), err.decode())


def test_what_comes_is_uploaded(cli: Cli, client: Client) -> None:
    ran = upload(cli, "-", "--name", "foo.img", "--json", data=DATA)
    assert (ran.json["file"], ran.json["name"], ran.json["size"]) == ("-", "foo.img", len(DATA))
    assert client.artifact(sha256(DATA)).filename == "foo.img"


def test_a_redirected_file_has_a_size(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA[1:])
    with open(tmp_path / "file", "rb") as file:
        ran = upload(cli, "-", stdin=file)
    assert "stdin: 1.4 MiB in" in ran.out
    assert sha256(DATA[1:]) in ran.out


def test_empty_input_is_an_empty_artifact_and_that_is_said(cli: Cli) -> None:
    ran = upload(cli, "-", data=b"")
    assert sha256(b"") in ran.out
    assert "standard input was empty" in ran.err


def test_a_terminal_is_refused(cli: Cli) -> None:
    terminal, other = pty.openpty()
    try:
        assert "standard input is a terminal" in upload(cli, "-", stdin=other, code=2).err
    finally:
        os.close(terminal)
        os.close(other)


def test_what_cannot_be_read_is_said(cli: Cli, tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        file.write(b"for writing only")
        file.flush()
        assert "Cannot read the data: OSError: [Errno 9]" in upload(cli, "-", stdin=file, code=2).err


@pytest.mark.parametrize(
    "arguments",
    [["-", "file"], ["-", "--skip-existing"], ["-", "--dry-run"], ["-", "--base", "x"], ["-", "--upload", "x"]],
    ids=" ".join,
)
def test_what_does_not_go_with_it_is_a_usage_error(cli: Cli, arguments: list[str]) -> None:
    assert "standard input" in cli("upload", *arguments, code=2).err


def test_an_interrupt_removes_it_and_says_so(cli: Cli, client: Client) -> None:
    with running(cli, "-", "--name", "interrupted") as process:
        assert process.stdin is not None
        process.stdin.write(DATA)
        process.stdin.flush()
        wait_until(lambda: any(upload.filename == "interrupted" for upload in client.uploads()))
        process.send_signal(signal.SIGINT)
        # Standard input stays open: it must not be waited for.
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert b"interrupted. What was sent of standard input is removed" in process.stderr.read()
    assert not any(upload.filename == "interrupted" for upload in client.uploads())


def test_a_refusal_is_told_while_standard_input_gives_nothing(cli: Cli, tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", max_upload_size=1_000_000) as server:
        cli.environment["PARTWISE_SERVER"] = server.url
        with running(cli, "-") as process:
            assert process.stdin is not None
            process.stdin.write(DATA)
            process.stdin.flush()
            assert process.wait(30) == 5
            assert process.stderr is not None
            assert b"1000000" in process.stderr.read()


@pytest.mark.parametrize("known", [False, True])
def test_the_rate_is_limited(cli: Cli, tmp_path: Path, known: bool) -> None:
    data = os.urandom(1_500_000)
    (tmp_path / "file").write_bytes(data)
    options = ("-", "--name", "limited", "--limit-rate", "1M", "--json")
    with open(tmp_path / "file", "rb") as file:
        ran = upload(cli, *options, stdin=file) if known else upload(cli, *options, data=data)
    assert ran.json["seconds"] >= 0.7
