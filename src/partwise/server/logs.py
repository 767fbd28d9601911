"""Logs on standard error: lines for people on a terminal, JSON for everything else."""

from __future__ import annotations

import logging
import os
import sys
from typing import Literal

import structlog
from structlog.typing import Processor

#: The name of the log of requests.
ACCESS = "partwise.access"

Format = Literal["auto", "console", "json"]


def open_standard_streams() -> None:
    """Give a process that was started with closed standard streams (``serve >&-``) some that lead nowhere.

    Else the next files and sockets would get their numbers, and what is printed would go there.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def configure(level: str, format_: Format) -> None:
    """Send the logs of this process to standard error. ``auto``: for people if that is a terminal, else JSON."""
    open_standard_streams()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    for_people = format_ == "console" or (format_ == "auto" and sys.stderr.isatty())
    render: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if for_people
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # What the libraries say of each step of theirs is for their own developers.
    for library in ("uvicorn", "alembic", "sqlalchemy", "asyncio", "aiobotocore", "botocore"):
        logging.getLogger(library).setLevel(logging.WARNING)
