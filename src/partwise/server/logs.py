"""Logs on standard error: lines for people on a terminal, JSON for everything else. The audit trail also in a file."""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Literal

import structlog
from structlog.typing import Processor

from partwise.engine.audit import AUDIT

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


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _configure_audit(shared: list[Processor], path: Path | None) -> None:
    audit = logging.getLogger(AUDIT)
    audit.setLevel(logging.INFO)  # who did what is told, whatever else is not
    for old in audit.handlers[:]:
        audit.removeHandler(old)
        old.close()
    if path is None:
        return
    # Opened anew when it was rotated away; each line is one write at the end, from however many processes.
    handler = WatchedFileHandler(path, encoding="utf-8", errors="backslashreplace")
    render: list[Processor] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=render))
    audit.addHandler(handler)


def configure(level: str, format_: Format, audit_file: Path | None = None) -> None:
    """Send the logs of this process to standard error. ``auto``: for people if that is a terminal, else JSON.

    ``audit_file`` gets the audit trail, too. Raises OSError when it cannot be written.
    """
    open_standard_streams()
    shared = _shared()
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
    _configure_audit(shared, audit_file)
    # What the libraries say of each step of theirs is for their own developers.
    for library in ("uvicorn", "alembic", "sqlalchemy", "asyncio", "aiobotocore", "botocore"):
        logging.getLogger(library).setLevel(logging.WARNING)
