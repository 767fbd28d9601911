"""Local storage on a folder of the test, and other processes that use the same folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from partwise.storage.local import LocalStorage
from tests.support.folders import make_data_folder

#: What every other process begins with: ``storage`` on the folder that it was given.
_PRELUDE = """
import asyncio, sys
from partwise.core.errors import PartwiseError
from partwise.core.ranges import ByteRange
from partwise.storage.local import LocalStorage

storage = LocalStorage(sys.argv[1])

def say(word):
    print(word, flush=True)

async def main():
    await storage.start()
"""

Spawn = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data_folder(tmp_path / "data")


@pytest.fixture
async def storage(data: Path) -> AsyncIterator[LocalStorage]:
    storage = LocalStorage(data, patience=5)
    await storage.start()
    yield storage
    await storage.stop()


@pytest.fixture
def spawn(data: Path) -> Iterator[Spawn]:
    """Runs the body of a coroutine in another process, which talks by lines; killed in the end if it still runs."""
    with ExitStack() as stack:

        def start(body: str) -> subprocess.Popen[str]:
            indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
            program = f"{_PRELUDE}{indented}    await storage.stop()\n\nasyncio.run(main())\n"
            process = subprocess.Popen(
                [sys.executable, "-c", program, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def heard(process: subprocess.Popen[str]) -> str:
    """The next line that the process says; empty when it has ended."""
    assert process.stdout is not None
    return process.stdout.readline().strip()
