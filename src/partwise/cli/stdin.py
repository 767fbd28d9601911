"""``partwise upload -``: standard input, whose end nobody knows beforehand."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, BinaryIO

import typer

from partwise.cli.exits import Exit
from partwise.cli.output import ProgressView, emit, exit_with_message, say
from partwise.cli.transfers import report
from partwise.client import Client

DEFAULT_NAME = "stdin"
_HINT = "What was sent of standard input is removed, because it cannot be read again."
#: Seconds between two looks whether the upload has failed while standard input gives nothing.
_LOOK_SECONDS = 0.2
_BLOCK = 1024 * 1024


def check(settings: dict[str, Any], *, alone: bool) -> None:
    """Raise BadParameter where standard input cannot be uploaded, or not by these settings of an upload."""
    if not alone:
        raise typer.BadParameter("standard input is uploaded by itself. Give - alone.", param_hint="FILE")
    for option in ("base", "upload", "delta"):
        if settings[option]:
            raise typer.BadParameter("does not work with standard input. Give a file.", param_hint=f"--{option}")
    if sys.stdin is None or sys.stdin.closed:
        raise typer.BadParameter("standard input is closed. Give a file.", param_hint="FILE")
    if sys.stdin.isatty():
        raise typer.BadParameter(
            "standard input is a terminal. Send data to it, such as: tar c FOLDER | partwise upload - --name NAME.tar",
            param_hint="FILE",
        )


def upload_stdin(client: Client, settings: dict[str, Any], *, as_json: bool, quiet: bool) -> int:
    """Upload standard input to its end; the exit code."""
    name = settings["name"] or DEFAULT_NAME
    with exit_with_message(_HINT), ProgressView(quiet) as view:
        view.begin(name)
        result = client.upload(_source(), observer=view, **(settings | {"name": name}))
    if as_json:
        emit({"file": "-", **asdict(result)})
    else:
        report(result)
    if result.size == 0 and not quiet:
        say(f"{name}: standard input was empty, and so is the artifact.", "yellow")
    return Exit.OK


def _source() -> BinaryIO | Iterator[bytes]:
    """A redirected file, whose size is known; else what comes, as it comes."""
    fd = sys.stdin.fileno()
    return sys.stdin.buffer if stat.S_ISREG(os.fstat(fd).st_mode) else _blocks(fd)


def _blocks(fd: int) -> Iterator[bytes]:
    """Yield the bytes of a descriptor, and b"" now and then, so that a failed upload is noticed."""
    while True:
        if os.name == "posix" and not select.select([fd], [], [], _LOOK_SECONDS)[0]:
            yield b""
            continue
        block = os.read(fd, _BLOCK)
        if not block:
            return
        yield block
