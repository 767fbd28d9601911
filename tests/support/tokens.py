"""Tokens for tests, made the way that an operator makes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def partwise_token(data: Path, *arguments: str, code: int = 0) -> str:
    """Run ``partwise token`` on a data folder; what it printed."""
    command = [sys.executable, "-m", "partwise.cli", "token", *arguments, "--data", str(data)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == code, ran.stderr
    return ran.stdout


def make_token(data: Path, name: str, *options: str) -> str:
    """A new token."""
    return str(json.loads(partwise_token(data, "create", name, "--json", *options))["token"])
