"""What shells complete, and the manual page."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from partwise.cli.app import app
from partwise.cli.man import manual
from tests.e2e.conftest import Cli
from tests.e2e.test_cli_docs import all_commands

Make = Callable[..., Path]


def completed(cli: Cli, words: str, **settings: str) -> list[str]:
    """What bash is given for the last of these words."""
    number = str(len(words.split(" ")) - 1)
    environment: dict[str, Any] = settings | {
        "_PARTWISE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": number,
    }
    ran = cli(**environment)
    assert ran.err == ""
    return ran.out.split()


def test_names_ids_and_digests_are_completed(cli: Cli, make: Make) -> None:
    up = cli("upload", make(10, "complete-me.bin"), "--chunk-size", "9", "--json").json
    cli("upload", make(11, "complete me.bin"))
    upload_id, sha256 = up["upload"].split("/")[-2], up["sha256"]
    assert completed(cli, "partwise download complete") == ["complete-me.bin"]
    assert completed(cli, f"partwise download {sha256[:10]}") == [sha256]
    assert completed(cli, f"partwise show {upload_id[:20]}") == [upload_id]
    assert {upload_id, sha256} <= set(completed(cli, "partwise rm "))
    # It is completed, and nobody can go on with it.
    assert completed(cli, f"partwise upload file --upload {upload_id}") == []
    assert completed(cli, f"partwise upload file --base {sha256[:10]}") == [sha256]
    assert completed(cli, "partwise downl") == ["download"]


def test_the_server_of_the_command_line_is_asked(cli: Cli, make: Make) -> None:
    sha256 = cli("upload", make(12, "there.bin"), "--json").json["sha256"]
    words = f"partwise show --server {cli.server} {sha256[:12]}"
    assert completed(cli, words, PARTWISE_SERVER="http://127.0.0.1:9") == [sha256]


def test_what_cannot_be_asked_completes_nothing(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert completed(cli, "partwise show ", PARTWISE_SERVER=url) == []
    assert completed(cli, "partwise show ", PARTWISE_SERVER=url) == []
    assert completed(cli, "partwise show ", PARTWISE_SERVER="ftp://nowhere") == []
    assert completed(cli, "partwise ls --profile ", XDG_CONFIG_HOME="/dev/null") == []


def test_profiles_are_completed(cli: Cli) -> None:
    cli("login", cli.server, "--profile", "workplace")
    assert completed(cli, "partwise ls --profile wo") == ["workplace"]


def test_the_manual_has_every_command_and_option() -> None:
    page = manual()
    for name, command in all_commands(typer.main.get_command(app)).items():
        assert f".SS partwise {name}".replace("-", "\\-") in page
        for param in command.params:
            assert all(name.replace("-", "\\-") in page for name in param.opts if name.startswith("--"))
    assert ".SH EXIT STATUS" in page


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_the_manual_is_well_formed() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww"], input=manual(), capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    # Bold and underlined letters are struck twice.
    assert "partwise upload [OPTIONS]" in re.sub(".\b", "", done.stdout)
