"""The measurements run, and every question has its rows; how fast anything was is not looked at."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import MEASURES
from bench.harness import QUICK
from bench.report import Series, at_least, at_most, size_text
from bench.servers import find_nginx

_ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: str, folder: Path) -> str:
    page = folder / "performance.md"
    command = [sys.executable, "-m", "bench", "--quick", "--folder", str(folder), "--output", str(page), *arguments]
    # A group of its own, so that a run that hangs ends with the servers it started.
    process = subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        _, said = process.communicate(timeout=280)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0, said
    assert [path.name for path in folder.iterdir()] == ["performance.md"], "the run left something behind"
    return page.read_text()


def _rows(page: str, title: str) -> list[str]:
    """First cells of the tables of a section."""
    section = page.partition(f"## {title}")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [line.split("|")[1].strip() for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(300)  # half a minute where it is alone; it starts a dozen processes
def test_yields_every_row(tmp_path: Path) -> None:
    page = _run(folder=tmp_path)

    assert len(_rows(page, "Inside a host application")) == 4
    lanes = _rows(page, "With plain curl as the client")
    assert {"partwise", "one curl to /dev/null from partwise"} <= set(lanes)
    if find_nginx():
        assert sum(row.startswith("nginx PUT") for row in lanes) == 2
        assert "one curl to /dev/null from nginx (sendfile)" in lanes
    verified = _rows(page, "From the first byte")
    for count in QUICK.connections:
        for form in ("raw", "form"):
            assert any(row.startswith(f"partwise, {form} bodies, {count} connection") for row in verified)
        if find_nginx():
            assert sum(row.startswith("nginx") and f", {count} connection" in row for row in verified) == 2
    assert {size_text(size) for size in QUICK.commits} <= set(_rows(page, "Commit after the last byte"))
    kinds = {f"{size_text(size)}, {kind}" for size in QUICK.memory_chunks for kind in ("raw", "form")}
    assert kinds <= set(_rows(page, "Bytes written, memory, disk"))
    growth = _rows(page, "Growth")
    assert {"connections", "uploads at once"} <= set(growth)
    assert len(growth) == 2 + len(QUICK.growth_connections) + len(QUICK.growth_uploads)
    assert "slow connections still open at the end" in _rows(page, f"A fast upload beside {QUICK.slow_clients} slow")
    assert {size_text(size) for size in QUICK.small_chunks} <= set(_rows(page, "Small chunks"))
    assert {"`partwise upload`", "`partwise download`"} <= set(_rows(page, "The command line against curl"))
    changed = _rows(page, "What changed of a file")
    assert {"`partwise upload`", "`partwise upload --no-delta`", "`partwise download --base`"} <= set(changed)
    assert changed.count("rsync, daemon") == (2 if shutil.which("rsync") else 0)
    if shutil.which("chromium"):
        assert {"the page, in chromium", "`partwise upload`"} <= set(_rows(page, "The upload page against"))
    assert {str(count) for count in QUICK.workers} <= set(_rows(page, "Server processes"))
    assert {"health", "metrics", "idle, of a core"} <= set(_rows(page, f"{QUICK.artifacts:,} artifacts"))
    assert len(_rows(page, "Targets")) > len(MEASURES) // 2


def test_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # The third round was slow for both: that says nothing about either.
    assert Series([1.0, 1.0, 9.0]).over(Series([2.0, 2.0, 18.0])) == 0.5


def test_target_is_met_at_its_bound_and_not_beyond() -> None:
    assert at_most("time", 1.1, 1.1).met
    assert not at_most("time", 1.11, 1.1).met
    assert at_least("speed", 0.7, 0.7).met
    assert not at_least("speed", 0.69, 0.7).met
