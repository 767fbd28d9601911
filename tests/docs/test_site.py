"""`make docs` builds the site without a warning, with the pages that are made from code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import partwise.client
import partwise.embed
from tests.docs.markdown import ROOT


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", f"{tmp_path}/trees", "-c", "docs", "."]
    done = subprocess.run([*command, f"{tmp_path}/site"], cwd=ROOT, capture_output=True, text=True, timeout=240)

    assert done.returncode == 0, done.stderr
    assert "--chunk-size" in (tmp_path / "site/docs/reference/commands.html").read_text()
    assert "partwise.client.Client.upload" in (tmp_path / "site/docs/reference/python-api.html").read_text()
    assert (tmp_path / "site/index.html").exists()


@pytest.mark.parametrize("module", [partwise.client, partwise.embed])
def test_the_reference_has_each_public_name(module: ModuleType) -> None:
    text = (ROOT / "docs/reference/python-api.md").read_text()
    assert [name for name in module.__all__ if f":: {module.__name__}.{name}\n" not in text] == []
