"""``partwise events`` as its users run it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from partwise.client import AnswerError, AsyncClient, Client
from tests.e2e.conftest import Cli
from tests.support.server import Http, ServerProcess
from tests.support.until import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def lines(path: Path) -> list[Any]:
    """The JSON objects that a hook has written."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def here(server: ServerProcess) -> str:
    with Client(server.url) as client:
        return client.events(after="now").cursor


def test_events_are_printed(server: ServerProcess, cli: Cli, make: Callable[[int], Path]) -> None:
    start = here(server)
    cli("upload", make(1000))
    ran = cli("events", "--after", start)
    assert ran.json["type"] == "upload.completed"
    assert (ran.json["data"]["size"], ran.json["data"]["filename"]) == (1000, "data.bin")
    assert cli("events", "--after", ran.json["cursor"]).out == ""
    assert cli("events", "--after", start, "--type", "upload.failed", "--type", "upload.removed").out == ""


def test_a_cursor_file_is_gone_on_from(server: ServerProcess, cli: Cli, tmp_path: Path) -> None:
    cursor = tmp_path / "new" / "cursor"
    cli("events", "--after", "now", "--cursor", cursor)
    with Http(server.port) as http:
        http.store(os.urandom(10))
    assert cli("events", "--cursor", cursor).json["type"] == "upload.completed"
    assert cli("events", "--cursor", cursor).out == ""
    assert cursor.read_text().strip() == here(server)


def test_a_hook_that_fails_gets_the_same_event_again(server: ServerProcess, cli: Cli, tmp_path: Path) -> None:
    cursor, out = tmp_path / "cursor", tmp_path / "out"
    cursor.write_text(here(server))
    with Http(server.port) as http:
        for _ in range(2):
            http.store(os.urandom(10))
    hook = f"cat >> {shlex.quote(str(out))}; exit 3"
    ran = cli("events", "--cursor", cursor, "--exec", hook, code=1)
    assert "ended with 3" in ran.err
    cli("events", "--cursor", cursor, "--exec", f"cat >> {shlex.quote(str(out))}")
    ids = [event["id"] for event in lines(out)]
    assert (len(ids), ids[0], len(set(ids))) == (3, ids[1], 2)


def test_follow_runs_a_hook_until_it_succeeds_and_outlasts_the_server(cli: Cli, tmp_path: Path) -> None:
    """The hook fails at first; the follower is killed, and the server restarted: no event is missed."""
    out, good = tmp_path / "out", tmp_path / "good"
    hook = f"cat >> {shlex.quote(str(out))}; test -e {shlex.quote(str(good))}"
    with ServerProcess(tmp_path / "data") as server, Http(server.port) as http:
        arguments = ("events", "--follow", "--cursor", tmp_path / "cursor", "--exec", hook, "--server", server.url)
        follower = cli.begin(*arguments)
        http.store(b"one")
        wait_until(lambda: len(lines(out)) >= 2, "the hook ran twice")
        follower.send_signal(signal.SIGKILL)
        follower.communicate()
        good.touch()
        follower = cli.begin(*arguments)
        wait_until((tmp_path / "cursor").exists, "the first event is done")
        cli(*arguments, code=2)  # one process at a time
        server.stop()
        server.start()
        with Http(server.port) as again:
            again.store(b"two")
        wait_until(lambda: len({event["id"] for event in lines(out)}) == 2, "the second event came")
        follower.send_signal(signal.SIGINT)
        cli.end(follower, 130)
    uploads = [event["data"]["size"] for event in lines(out)]
    assert uploads[-1] == 3


def test_what_makes_no_sense_is_refused(cli: Cli) -> None:
    assert "--cursor" in cli("events", "--exec", "true", code=2).err
    assert "cursor" in cli("events", "--after", "what", code=1).err


async def test_the_client_reads_the_feed(server: ServerProcess) -> None:
    async with AsyncClient(server.url) as client:
        start = (await client.events(after="now")).cursor
        with Http(server.port) as http:
            for _ in range(3):
                http.store(os.urandom(10))
        batch = await client.events(after=start, limit=2)
        assert (len(batch.events), batch.more) == (2, True)
        batch = await client.events(after=batch.cursor, types=["upload.completed"])
        assert (len(batch.events), batch.more) == (1, False)
        with pytest.raises(AnswerError) as caught:
            await client.events(after="99999999")
    assert caught.value.status == 410


def test_the_example_of_the_page_runs(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    with Http(server.port) as http:
        http.store(os.urandom(10), filename="example.bin")
    [example] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(compile(example, "events.md", "exec"), {"server": server.url})
    assert "example.bin" in capsys.readouterr().out
