"""``partwise gc`` and ``partwise check`` beside a server that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from tests.support.server import ServerProcess, sha256


@pytest.fixture
def damaged(server: ServerProcess, cli: Cli, make: Callable[[int], Path]) -> Path:
    """An artifact's file, one byte of which was changed."""
    file = make(100_000)
    cli("upload", file)
    digest = sha256(file.read_bytes())
    stored = server.data / "artifacts" / digest[:2] / digest[2:]
    stored.chmod(0o600)
    stored.write_bytes(b"?" + file.read_bytes()[1:])
    return file


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_damage_is_reported_dropped_and_healed(server: ServerProcess, cli: Cli, damaged: Path) -> None:
    digest = sha256(damaged.read_bytes())
    finding, summary = lines(cli("check", "--data", server.data, "--json", code=4).out)
    assert finding == {"kind": "damaged-artifact", "name": digest, "removed": False}
    assert summary["wrong"] == 1
    dry = lines(cli("check", "--data", server.data, "--json", "--drop-damaged", "--dry-run", code=4).out)
    assert dry[0]["removed"] is False
    assert "nothing wrong" in cli("check", "--data", server.data, "--quick").err
    assert "removed" in cli("check", "--data", server.data, "--drop-damaged", code=4).out
    cli("upload", damaged, "--no-resume")
    assert "nothing wrong" in cli("check", "--data", server.data).err


def test_orphans_and_what_has_expired(server: ServerProcess, cli: Cli) -> None:
    leftover = server.data / "staging" / "0000"
    leftover.write_bytes(os.urandom(10))
    assert "would be removed" in cli("gc", "--data", server.data, "--dry-run").err
    assert leftover.exists()
    (finding,) = lines(cli("gc", "--data", server.data, "--json").out)
    assert finding == {"kind": "staging-file-without-upload", "name": "0000", "removed": True}
    assert not leftover.exists()
    assert "0 orphans removed" in cli("gc", "--data", server.data).err


def test_no_folder_is_made_by_a_mistyped_name(cli: Cli, tmp_path: Path) -> None:
    for command in (["check"], ["gc"], ["token", "list"], ["token", "revoke", "x"]):
        cli(*command, "--data", tmp_path / "typo", code=2)
    assert not (tmp_path / "typo").exists()
