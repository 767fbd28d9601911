from __future__ import annotations

import subprocess
import sys

import pytest

#: What only a server needs, and what only a transfer needs. (pydantic is in neither: the option parser uses it.)
SERVER_SIDE = {"starlette", "uvicorn", "sqlalchemy", "alembic", "uvloop", "structlog", "partwise.server"}
CLIENT_SIDE = {"urllib3", "partwise.client"}

PROGRAM = """
import sys
from partwise.cli import main
sys.argv = ["partwise", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
sys.stderr.write(" ".join(sys.modules))
"""


@pytest.mark.parametrize(
    "arguments,needless",
    [
        (["--help"], SERVER_SIDE | CLIENT_SIDE),
        (["upload", "--help"], SERVER_SIDE | CLIENT_SIDE),
        (["--version"], SERVER_SIDE | CLIENT_SIDE | {"typer", "rich", "asyncio"}),
        (["ls", "--help"], {"asyncio"}),
        (["ls", "--server", "http://127.0.0.1:9"], SERVER_SIDE),
    ],
)
def test_commands_import_only_what_they_need(arguments: list[str], needless: set[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=30, check=True
    )
    loaded = set(ran.stderr.split())
    assert "partwise.cli" in loaded
    assert loaded & needless == set()


def test_an_interruption_during_the_imports_shows_no_traceback() -> None:
    program = """
import sys, types
class Interrupted(types.ModuleType):
    def __getattr__(self, name):
        raise KeyboardInterrupt
sys.modules["partwise.cli.app"] = Interrupted("partwise.cli.app")
from partwise.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")
