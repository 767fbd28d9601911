"""Snippets are code: marked ones run against one server, all others are parsed, and their commands exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from partwise.cli.app import app
from tests.docs.markdown import PAGES, ROOT, Snippet, snippets
from tests.support.server import ServerProcess

ALL = [snippet for page in PAGES for snippet in snippets(page)]
RUNNABLE = sorted({snippet.page for snippet in ALL if snippet.run})
SHELL = [snippet for snippet in ALL if snippet.language in ("sh", "bash", "console")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("snippets") / "data") as server:
        yield server


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_marked_snippets_run(page: Path, server: ServerProcess, tmp_path: Path) -> None:
    """In their order, in one shell; files of 200 MiB are of 20 MiB here."""
    script = "".join(snippet.text for snippet in snippets(page) if snippet.run)
    script = script.replace("24817", str(server.port)).replace("209715200", "20971520")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PARTWISE_SERVER": server.url,
        "PARTWISE_DATA": str(server.data),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tutorial_and_guides_have_snippets_that_run() -> None:
    assert {"tutorial.md", "tokens.md", "ci.md", "migrations.md"} <= {page.name for page in RUNNABLE}


@pytest.mark.parametrize("snippet", [one for one in ALL if one.language == "python"], ids=str)
def test_python_compiles(snippet: Snippet) -> None:
    compile(snippet.text, str(snippet), "exec", flags=0x2000)  # top-level await is allowed (PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("snippet", [one for one in ALL if one.language in ("json", "toml")], ids=str)
def test_data_is_read(snippet: Snippet) -> None:
    if snippet.language == "toml":
        tomllib.loads(snippet.text)
    else:
        json.loads(snippet.text)


def script_of(snippet: Snippet) -> str:
    if snippet.language != "console":
        return snippet.text
    return "".join(line[2:] for line in snippet.text.splitlines(keepends=True) if line.startswith("$ "))


def test_shell_snippets_are_shell() -> None:
    for snippet in SHELL:
        done = subprocess.run(["bash", "-n"], input=script_of(snippet), capture_output=True, text=True)
        assert done.returncode == 0, f"{snippet}: {done.stderr}"


def options_of(words: list[str]) -> set[str] | None:
    """The options of the command that the words begin with; None where there is no such command."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands") or word.startswith("-"):
            break
        if word not in command.commands:
            return None
        command = command.commands[word]
    return {"--help", "-h", "--version"} | {name for p in command.params for name in [*p.opts, *p.secondary_opts]}


def test_commands_and_options_exist() -> None:
    wrong = []
    for snippet in SHELL:
        script = script_of(snippet).replace("\\\n", " ")
        for found in re.finditer(r"(?:^|[\s$(]|bin/)partwise ([a-z][^|;&#)\n]*)", script):
            words = found[1].split()
            known = options_of(words)
            options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            if known is None or not options <= known:
                wrong.append(f"{snippet}: partwise {found[1]}")
    assert wrong == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.compile(r"(?:^|\$ )make ([a-z-]+)", re.MULTILINE)
    assert {(str(one), name) for one in SHELL for name in named.findall(one.text) if name not in targets} == set()
