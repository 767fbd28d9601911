from __future__ import annotations

import os
from pathlib import Path

import pytest

from partwise.cli.folders import find_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name in ("b.iso", "a.iso", "notes.txt", "old/c.iso", "old/c.tmp", "old/deep/.hidden", "empty/"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.write_bytes(b"x")
    os.mkfifo(root / "pipe")
    (root / "link.iso").symlink_to(root / "b.iso")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to(root, target_is_directory=True)
    return root


def names(*paths: Path, **options: object) -> list[str]:
    return [name or str(path) for path, name in find_files(paths, recursive=True, **options)]  # type: ignore[arg-type]


def test_files_below_a_folder_are_named_by_their_path_from_it(tree: Path) -> None:
    wanted = ["a.iso", "b.iso", "link.iso", "notes.txt", "old/c.iso", "old/c.tmp", "old/deep/.hidden"]
    assert names(tree) == [f"images/{name}" for name in wanted]


def test_files_that_are_named_keep_their_own_name(tree: Path) -> None:
    assert names(tree / "notes.txt", tree / "none") == [str(tree / "notes.txt"), str(tree / "none")]


def test_the_current_folder_has_a_name_too(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "old")
    assert names(Path()) == ["old/c.iso", "old/c.tmp", "old/deep/.hidden"]


def test_patterns_choose_by_name_and_by_path(tree: Path) -> None:
    assert names(tree, include=["*.iso"]) == ["images/a.iso", "images/b.iso", "images/link.iso", "images/old/c.iso"]
    assert names(tree, include=["*.iso"], exclude=["old/*", "link*"]) == ["images/a.iso", "images/b.iso"]
    assert names(tree, exclude=["*"]) == []


def test_a_folder_is_refused_unless_it_is_meant(tree: Path) -> None:
    with pytest.raises(IsADirectoryError, match="--recursive"):
        list(find_files([tree], recursive=False))
