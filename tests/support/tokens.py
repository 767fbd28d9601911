"""Tokens for tests, made the way that an operator makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.support.server import ServerProcess


def partwise_token(server: ServerProcess, *arguments: str, code: int = 0) -> str:
    """Run ``partwise token`` for a server, as on its machine; what it printed."""
    return run_partwise(server, "token", *arguments, code=code)


def run_partwise(server: ServerProcess, *arguments: str, code: int = 0) -> str:
    """Run a command that works on the records of a server, as on its machine; what it printed."""
    command = [sys.executable, "-m", "partwise.cli", *arguments, "--data", str(server.data)]
    environment = os.environ | server.settings
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
    assert ran.returncode == code, ran.stderr
    return ran.stdout


def make_token(server: ServerProcess, name: str, *options: str) -> str:
    """A new token."""
    return str(json.loads(partwise_token(server, "create", name, "--json", *options))["token"])
