from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from partwise.client import AlreadyRunning
from partwise.client.journal import Journal, default_folder
from partwise.client.source import LocalFile

SERVER = "http://127.0.0.1:1/pulp/api/v3/"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_what_one_run_writes_the_next_reads(path: Path, tmp_path: Path) -> None:
    for expected in (None, "/uploads/1/"):
        with LocalFile(path) as file, Journal(SERVER, file, tmp_path / "j") as journal:
            assert journal.read() == expected
            journal.write("/uploads/1/")


def test_nothing_is_left_behind_when_forgotten(path: Path, tmp_path: Path) -> None:
    with LocalFile(path) as file, Journal(SERVER, file, tmp_path / "j") as journal:
        journal.write("/uploads/1/")
        journal.forget()
    assert entries(tmp_path / "j") == []


def test_another_server_another_path_and_a_changed_file_have_other_entries(path: Path, tmp_path: Path) -> None:
    def read(server: str, path: Path) -> str | None:
        with LocalFile(path) as file, Journal(server, file, tmp_path / "j") as journal:
            return journal.read()

    with LocalFile(path) as file, Journal(SERVER, file, tmp_path / "j") as journal:
        journal.write("/uploads/1/")
    assert read("http://other/", path) is None
    link = tmp_path / "link"
    os.link(path, link)
    assert read(SERVER, link) is None
    assert read(SERVER, path) == "/uploads/1/"
    os.utime(path, ns=(0, 0))
    assert read(SERVER, path) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"upload"', b"\xff\xfe", b"null"])
def test_a_damaged_entry_counts_as_none(path: Path, tmp_path: Path, damage: bytes) -> None:
    with LocalFile(path) as file, Journal(SERVER, file, tmp_path / "j") as journal:
        journal.write("/uploads/1/")
        (entry,) = (tmp_path / "j").glob("*.json")
        entry.write_bytes(damage)
        assert journal.read() is None


def test_a_second_run_is_told_that_the_first_goes_on(path: Path, tmp_path: Path) -> None:
    with (
        LocalFile(path) as file,
        Journal(SERVER, file, tmp_path / "j"),
        pytest.raises(AlreadyRunning, match="another process"),
    ):
        Journal(SERVER, file, tmp_path / "j").__enter__()
    with LocalFile(path) as file, Journal(SERVER, file, tmp_path / "j"):
        pass


def test_the_lock_goes_with_a_killed_process(path: Path, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from partwise.client.journal import Journal; from partwise.client.source import LocalFile\n"
        f"Journal({SERVER!r}, LocalFile(sys.argv[1]), Path(sys.argv[2])).__enter__().write('/uploads/9/')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, path, tmp_path / "j"], timeout=30, check=False)
    assert killed.returncode == -9
    with LocalFile(path) as file, Journal(SERVER, file, tmp_path / "j") as journal:
        assert journal.read() == "/uploads/9/"


def test_old_entries_are_cleared_away(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "j"
    folder.mkdir()
    (folder / "old.json").write_text("{}")
    os.utime(folder / "old.json", (0, 0))
    (folder / "new.json").write_text("{}")
    with LocalFile(path) as file, Journal(SERVER, file, folder):
        pass
    assert entries(folder) == ["new.json"]


def test_the_folder_follows_xdg_and_ignores_a_relative_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert default_folder() == Path("/somewhere/partwise/uploads")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_folder() == Path.home() / ".local/state/partwise/uploads"


def test_what_others_clear_away_meanwhile_is_no_error(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "journals"
    folder.mkdir()
    (folder / "other.lock").touch()
    listed = [*folder.iterdir()]
    (folder / "other.lock").unlink()
    monkeypatch.setattr(Path, "iterdir", lambda _self: iter(listed))
    with LocalFile(path) as file, Journal("http://s/", file, folder):
        pass


def test_a_folder_that_cannot_be_cleared_keeps_no_lock(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(_self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with LocalFile(path) as file:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "iterdir", denied)
            with pytest.raises(PermissionError), Journal("http://s/", file, tmp_path / "journals"):
                pass
        with Journal("http://s/", file, tmp_path / "journals"):
            pass
