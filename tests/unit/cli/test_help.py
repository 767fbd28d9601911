"""What ``--help`` shows."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from partwise.cli.app import app


@pytest.mark.parametrize(
    "command",
    [
        [],
        *([name] for name in ("serve", "upload", "download", "ls", "show", "rm", "config", "gc", "check", "admin")),
        ["token", "create"],
        ["events"],
    ],
)
def test_no_type_of_pythons_is_shown(command: list[str]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    for word in ("<bool>", "<str>", "<int>", "<list", "<path>", "<float>"):
        assert word not in shown.output
