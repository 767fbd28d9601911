"""What `AsyncClient` takes is what `Client` takes, and a type checker knows it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from partwise.client.aio import AsyncClient
from partwise.client.api import Client
from partwise.client.parameters import ClientOptions, DownloadOptions, ReadOptions, UploadOptions, WatchOptions

#: Not for callers of AsyncClient: they cancel the task.
OWN = "cancelled"


def keywords(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of its keyword arguments, by name."""
    hints = get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    return {each.name: hints[each.name] for each in parameters if each.kind is each.KEYWORD_ONLY and each.name != OWN}


@pytest.mark.parametrize(
    "options, function",
    [
        (ClientOptions, Client.__init__),
        (UploadOptions, Client.upload),
        (DownloadOptions, Client.download),
        (ReadOptions, Client.read),
        (WatchOptions, Client.stream),
    ],
)
def test_options_are_those_of_the_client(options: type, function: Callable[..., Any]) -> None:
    assert get_type_hints(options) == keywords(function)


@pytest.mark.parametrize("name", ["find_content", "uploads", "artifacts", "events"])
def test_other_methods_have_the_same_keywords(name: str) -> None:
    assert keywords(getattr(AsyncClient, name)) == keywords(getattr(Client, name))


def test_a_wrong_option_is_a_type_error(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        "from partwise import AsyncClient\n\n\n"
        "async def main() -> None:\n"
        "    async with AsyncClient(limit_rate=1000) as client:\n"
        "        await client.upload('a.bin', name='b.bin', parallel=4)\n"
        "        await client.upload('a.bin', parallels=4)\n"
        "        await client.download('a.bin', 'b.bin', overwrite='yes')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line.split(": ", 1)[0].rsplit(":", 1)[-1] for line in done.stdout.splitlines() if ": error:" in line]
    assert told == ["7", "8"], done.stdout + done.stderr
