"""Standard output and error as a command needs them: they can be written, whatever the environment made of them."""

from __future__ import annotations

import io
import os
import sys


def make_usable() -> None:
    """Let closed streams take all and keep nothing, and letters that the locale lacks be written as escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever began this process
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (for as long as the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
