"""An interrupt (Ctrl-C) just after a small file was replaced raises KeyboardInterrupt, and no error of the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from partwise.cli.events import CursorFile
from partwise.client.journal import Journal
from partwise.client.profiles import Profile, write_profiles
from partwise.client.source import LocalFile


@pytest.fixture(autouse=True)
def _interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def replace_and_interrupt(source: str, target: str | Path) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace_and_interrupt)


def test_of_a_cursor(tmp_path: Path) -> None:
    with CursorFile(tmp_path / "cursor") as cursor:
        with pytest.raises(KeyboardInterrupt):
            cursor.write("5")
        assert cursor.read() == "5"


def test_of_the_profiles(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_profiles(tmp_path / "profiles.json", {"default": Profile("http://localhost")})
    assert [path.name for path in tmp_path.iterdir()] == ["profiles.json"]


def test_of_a_journal(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    with LocalFile(tmp_path / "file") as file, Journal("http://localhost", file, tmp_path / "journal") as journal:
        with pytest.raises(KeyboardInterrupt):
            journal.write("/uploads/1/")
        assert journal.read() == "/uploads/1/"
