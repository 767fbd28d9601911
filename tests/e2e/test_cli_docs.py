"""What the pages say about the command line and the Python client is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

import partwise.client
from partwise.cli.app import app
from partwise.cli.exits import MEANINGS
from tests.support.server import ServerProcess

DOCS = Path(__file__).parents[2] / "docs"
CLI_PAGE = (DOCS / "cli.md").read_text()
CLIENT_PAGE = (DOCS / "python-client.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", CLIENT_PAGE, re.DOTALL)


def test_the_page_and_the_help_know_every_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", CLI_PAGE, re.MULTILINE)
    assert [(int(code), meaning) for code, meaning in rows] == [(int(code), text) for code, text in MEANINGS.items()]


def all_commands(group: Any, prefix: str = "") -> dict[str, Any]:
    """By what follows `partwise`; those of groups too."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        nested = hasattr(command, "commands")
        if not nested or command.invoke_without_command:
            found[f"{prefix}{name}"] = command
        if nested:
            found |= all_commands(command, f"{prefix}{name} ")
    return found


def test_every_command_and_option_is_on_the_page_and_every_one_on_the_page_exists() -> None:
    commands = all_commands(typer.main.get_command(app))
    options = {
        name for command in commands.values() for option in command.params for name in option.opts if name[:2] == "--"
    }
    for command in commands:
        assert f"partwise {command}" in CLI_PAGE or f", {command}" in CLI_PAGE
    named = set(re.findall(r"`(--[a-z-]+)", CLI_PAGE))
    hidden = {"--help"}
    assert options - named - hidden == set()
    assert named - options - {"--no-resume", "--no-delta"} == hidden & named


def test_every_error_is_on_the_page() -> None:
    for name in partwise.client.__all__:
        kind = getattr(partwise.client, name)
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert f"`{name}`" in CLIENT_PAGE


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"{number}" for number in range(len(EXAMPLES))])
def test_the_examples_run(example: str, server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PARTWISE_SERVER", server.url)
    monkeypatch.delenv("http_proxy", raising=False)
    Path("disk.img").write_bytes(b"content" * 1000)
    exec(compile(example, "python-client.md", "exec"), {"__name__": "example"})


def test_the_examples_have_the_types_that_they_say(tmp_path: Path) -> None:
    for number, example in enumerate(EXAMPLES):
        (tmp_path / f"example_{number}.py").write_text(example)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path / "cache")]
    done = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
