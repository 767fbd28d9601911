"""The release recipe and the check of commit messages, each run on a clone of this repository."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    identity = {f"GIT_{who}_{what}": "t@t.example" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | identity | {"PYTHON": sys.executable}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def _commit(folder: Path, message: str) -> None:
    done = _run(folder, "git", "commit", "--quiet", "--allow-empty", "--all", "--message", message)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the last commit, with today's scripts."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone of the repository")
    folder = tmp_path / "partwise"
    assert _run(tmp_path, "git", "clone", "--quiet", f"file://{ROOT}", str(folder)).returncode == 0
    for script in ("release", "check-commits"):
        target = folder / "scripts" / script
        target.write_bytes((ROOT / "scripts" / script).read_bytes())
        target.chmod(0o755)
        assert _run(folder, "git", "add", str(target)).returncode == 0
    _commit(folder, "Take the scripts of today\n\nThey are what is tested.")
    return folder


def _prepare(clone: Path, version: str) -> None:
    package = clone / "src/partwise/__init__.py"
    package.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', package.read_text()))
    changelog = clone / "CHANGELOG.md"
    changelog.write_text(changelog.read_text() + f"\n## {version} — 2030-01-02\n")
    _commit(clone, f"Release {version}\n\nA test does it.")


def test_a_dry_run_builds_what_a_release_would_publish(clone: Path) -> None:
    _prepare(clone, "97.1.2")

    done = _run(clone, "scripts/release", "--dry-run", "97.1.2")

    assert done.returncode == 0, done.stderr
    wheel, sdist = clone / "dist/partwise-97.1.2-py3-none-any.whl", clone / "dist/partwise-97.1.2.tar.gz"
    expected = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in (wheel, sdist)]
    assert sorted((clone / "dist/SHA256SUMS").read_text().splitlines()) == sorted(expected)
    inside = zipfile.ZipFile(wheel).namelist()
    assert "partwise/web/page/index.html" in inside
    licenses = "partwise-97.1.2.dist-info/licenses"
    assert {f"{licenses}/LICENSE", f"{licenses}/src/partwise/web/licenses.txt"} <= set(inside)
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    for name in ("src/partwise/core/ranges.py", "web/src/main.tsx", "web/package-lock.json", "Makefile", "scripts/web"):
        assert f"partwise-97.1.2/{name}" in names
    assert _run(clone, "git", "tag").stdout == ""


def test_a_release_makes_its_tag_once(clone: Path) -> None:
    _prepare(clone, "97.1.2")

    assert _run(clone, "scripts/release", "97.1.2").returncode == 0
    assert _run(clone, "git", "tag").stdout == "v97.1.2\n"
    again = _run(clone, "scripts/release", "97.1.2")

    assert again.returncode != 0
    assert "the tag v97.1.2 exists" in again.stderr


@pytest.mark.parametrize(
    "version,spoil,said",
    [
        ("97.1", "", "name the version"),
        ("97.1.3", "", "set __version__"),
        ("97.1.2", "CHANGELOG.md", "has no heading"),
        ("97.1.2", "README.md", "not committed"),
    ],
)
def test_what_is_not_ready_is_refused(clone: Path, version: str, spoil: str, said: str) -> None:
    _prepare(clone, "97.1.2")
    if spoil == "CHANGELOG.md":
        changelog = clone / spoil
        changelog.write_text(changelog.read_text().replace("## 97.1.2 — 2030-01-02", ""))
        _commit(clone, "Forget the changelog\n\nA test does it.")
    elif spoil:
        (clone / spoil).write_text("changed")

    done = _run(clone, "scripts/release", version)

    assert done.returncode != 0
    assert said in done.stderr
    assert _run(clone, "git", "tag").stdout == ""


@pytest.mark.parametrize(
    "message,said",
    [
        ("Do this\n\nIt is needed.", None),
        ("x" * 72 + "\n\nIt is needed.", None),
        ("x" * 73 + "\n\nIt is needed.", "73 characters"),
        ("Do this.\n\nIt is needed.", "full stop"),
        ("Do this", "has no body"),
    ],
)
def test_commit_messages_are_checked(clone: Path, message: str, said: str | None) -> None:
    _commit(clone, message)

    done = _run(clone, "scripts/check-commits")

    assert (done.returncode == 0) == (said is None), done.stderr
    assert said is None or said in done.stderr


def test_each_commit_of_a_branch_is_checked(clone: Path) -> None:
    _commit(clone, "No body here")
    _commit(clone, "Do this\n\nIt is needed.")

    assert "No body here" in _run(clone, "scripts/check-commits").stderr


def test_the_licences_of_what_the_page_bundles_are_shipped() -> None:
    notices = (ROOT / "src/partwise/web/licenses.txt").read_text()
    for name in json.loads((ROOT / "web/package.json").read_text())["dependencies"]:
        assert f"\n{name}\n" in notices
        installed = ROOT / "web/node_modules" / name / "LICENSE"
        if installed.exists():
            assert installed.read_text().strip() in notices
