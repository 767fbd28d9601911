"""Tokens for tests, made the way that an operator makes them."""

from __future__ import annotations

import json
import os

from tests.support import forkserver
from tests.support.server import ServerProcess


def partwise_token(server: ServerProcess, *arguments: str, code: int = 0) -> str:
    """Run ``partwise token`` for a server, as on its machine; what it printed."""
    return run_partwise(server, "token", *arguments, code=code)


def run_partwise(server: ServerProcess, *arguments: str, code: int = 0) -> str:
    """Run a command that works on the records of a server, as on its machine; what it printed."""
    program = ("-m", "partwise.cli", *arguments, "--data", str(server.data))
    status, out, err = forkserver.run(program, os.environ | server.settings, timeout=30)
    assert status == code, err
    return out


def make_token(server: ServerProcess, name: str, *options: str) -> str:
    """A new token."""
    return str(json.loads(partwise_token(server, "create", name, "--json", *options))["token"])
