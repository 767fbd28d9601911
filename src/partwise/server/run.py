"""Start the server: look at the settings, bring the records up to date, listen, and keep the workers running."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory

import uvicorn
from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from partwise import __version__
from partwise.catalog import CatalogMissing, CatalogTooNew, migrate, pending_migrations
from partwise.core.errors import OutOfSpace, PartwiseError, StorageFailed
from partwise.protocols import DIALECTS
from partwise.server.assembly import MissingPart, check_engines, make_engine
from partwise.server.connection import BoundedProtocol
from partwise.server.guard import is_loopback
from partwise.server.logs import configure
from partwise.server.settings import Settings

_READY_TIMEOUT_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1

_ACCESS = {
    "none": "this machine only, without authentication",
    "token": "with a token: partwise token create NAME",
}


class CannotServe(Exception):
    """The server cannot start; ``str`` says why, and what to do."""


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises CannotServe when it cannot start."""
    configure(settings.log_level, settings.log_format)
    _check(settings)
    _check_dialects(settings)
    prepare(settings)
    asyncio.run(_try_out(settings))
    listener = _listen(settings)
    with listener, _shared_figures(settings.workers):
        config = _config(settings)
        if settings.workers == 1:
            _OneProcess(config, settings).run([listener])
        else:
            _Workers(config, [listener], settings).run()


@contextmanager
def _shared_figures(workers: int) -> Iterator[None]:
    """A folder for the figures of several workers, for as long as they run. See ``metrics.py``."""
    if workers == 1:
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        yield
        return
    with TemporaryDirectory(prefix="partwise-metrics-", ignore_cleanup_errors=True) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield


def _check(settings: Settings) -> None:
    if settings.auth == "none" and not is_loopback(settings.host):
        raise CannotServe(
            f"Anyone who reaches {settings.host} could read and delete everything: without authentication partwise "
            "listens on this machine only. Use --auth token, and make a token for each user with 'partwise token "
            "create NAME'; or --host 127.0.0.1 and an SSH tunnel (ssh -L 24817:127.0.0.1:24817 …)."
        )


def _check_dialects(settings: Settings) -> None:
    unknown = [name for name in settings.dialect_names if name not in DIALECTS]
    if unknown:
        raise CannotServe(f"There is no dialect {unknown[0]!r}. Those that can be switched on: {', '.join(DIALECTS)}.")


def prepare(settings: Settings) -> None:
    """Before any worker: the folder, and the records' schema."""
    if settings.storage is None or settings.catalog is None:
        try:
            settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CannotServe(f"The data folder cannot be used: {error}.") from error
    with _usable_records(settings):
        check_engines(settings)  # what cannot be put together is told before anything is touched
        migrate(settings.catalog_url)


def look(settings: Settings) -> None:
    """Before work that changes nothing: whether the records can be read as they are. CannotServe says why not."""
    with _usable_records(settings):
        steps = pending_migrations(settings.catalog_url)
    if steps:
        raise CannotServe(
            "The records are an older version's. A server of this one, or a command that may change something, "
            f"brings them up to date first, and only then there is something to look at: {'; '.join(steps)}"
        )


@contextmanager
def _usable_records(settings: Settings) -> Iterator[None]:
    """What goes wrong with the records becomes a sentence, as CannotServe."""
    try:
        yield
    except (CatalogTooNew, CatalogMissing, MissingPart, ValueError) as error:
        raise CannotServe(str(error)) from error
    except StorageFailed as error:
        raise CannotServe(f"The server cannot start: {error.__cause__ or error}") from error
    except (DBAPIError, sqlite3.Error) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        place = "PostgreSQL" if settings.catalog is not None else settings.data.absolute()
        raise CannotServe(
            f"The records in {place} cannot be used: {reason}. Is the disk full, or may this user not write there?"
        ) from error
    except ModuleNotFoundError as error:
        raise CannotServe("PostgreSQL needs its driver: pip install 'partwise[postgres]'.") from error


async def _try_out(settings: Settings) -> None:
    """Before any worker: open everything once, so that what is wrong with the place is said in one sentence.

    Each worker opens it in the same way; ``discard_unsynced`` alone is for this one time.
    """
    engine, _tokens = make_engine(settings)
    try:
        try:
            await engine.open(discard_unsynced=settings.distrust_unsynced)
        finally:
            await engine.stop()
    except (StorageFailed, OutOfSpace) as error:
        place = settings.storage or settings.data.absolute()
        raise CannotServe(f"The server cannot use {place}: {_reason(error)}") from error


def _reason(error: PartwiseError) -> str:
    """What stood in the way, and where."""
    cause = error.__cause__
    return f"{error} ({cause})" if isinstance(cause, OSError) else str(error)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.set_inheritable(True)
    except OSError as error:
        listener.close()
        raise CannotServe(f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}.") from error
    return listener


def _config(settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        partial(make_app, settings, os.getpid()),
        factory=True,
        workers=settings.workers,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="debug" if settings.log_level == "debug" else "warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=4096,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        # A worker that is busy is not hung: one is replaced only when it has been silent for this long.
        timeout_worker_healthcheck=30,
    )


def make_app(settings: Settings, parent: int) -> ASGIApp:
    """The application in its worker process, or in process ``parent`` itself when there is one process only."""
    from partwise.server.app import create_app

    if os.getpid() != parent:
        _end_with(parent)
        configure(settings.log_level, settings.log_format)
    return create_app(settings)


def _end_with(parent: int) -> None:
    """Have the kernel end this worker when its parent dies: an orphan would hold the port and the data for ever."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before that
        sys.exit(1)


class _OneProcess(uvicorn.Server):
    """Serves in this process, and says so when it does."""

    def __init__(self, config: uvicorn.Config, settings: Settings) -> None:
        super().__init__(config)
        self._settings = settings

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            await asyncio.to_thread(_announce, self._settings, sockets[0])


class _Workers(Multiprocess):
    """uvicorn's supervisor, which replaces workers that die; says so when all serve."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], settings: Settings) -> None:
        super().__init__(config, sockets)
        self._settings = settings

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(_READY_TIMEOUT_SECONDS) for process in self.processes):
            _announce(self._settings, self.sockets[0])

    def terminate_all(self) -> None:
        # Else new connections would wait in this process's queue, which nobody serves any more, until the end.
        for listener in self.sockets:
            listener.close()
        super().terminate_all()


def url_of(listener: socket.socket) -> str:
    """The URL that reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _announce(settings: Settings, listener: socket.socket) -> None:
    """Say on standard output that requests are served, and how to begin."""
    url = url_of(listener)
    processes = "1 process" if settings.workers == 1 else f"{settings.workers} processes"
    sys.stdout.write(
        f"partwise {__version__} is ready at {url}\n"
        f"  data     {settings.data.absolute()}  ({processes})\n"
        f"  access   {_ACCESS[settings.auth]}\n"
        f"  try      partwise upload FILE --server {url}\n"
        f"  stop     Ctrl-C\n"
    )
    sys.stdout.flush()
