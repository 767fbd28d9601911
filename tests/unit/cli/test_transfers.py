from __future__ import annotations

import pytest

from partwise.cli.output import plain
from partwise.cli.transfers import _safe_name


@pytest.mark.parametrize(
    "name,safe",
    [
        ("disk.img", "disk.img"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\x.bin", "x.bin"),
        ("ünïcode 文件", "ünïcode 文件"),
        (".bashrc", None),
        ("..", None),
        ("dir/", None),
        ("a\x1b[2Jb", None),
        ("a\nb", None),
        ("a" * 300, None),
        ("", None),
        (None, None),
    ],
)
def test_a_servers_name_never_leaves_the_folder(name: str | None, safe: str | None) -> None:
    assert _safe_name(name) == safe


def test_nothing_from_elsewhere_reaches_the_terminal_as_a_command() -> None:
    assert plain("a\x1b[2J[bold]b\r\n").plain == "a\ufffd[2J[bold]b\ufffd\ufffd"
