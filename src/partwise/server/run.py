"""Start the server: check the settings, listen, bring the metadata database up to date, and serve."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

import uvicorn
from prometheus_client.core import Metric
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError
from starlette.types import ASGIApp

from partwise import __version__
from partwise.catalog import CatalogMissing, CatalogTooNew, migrate, pending_migrations
from partwise.catalog.sqlite_errors import is_busy, is_damaged
from partwise.core.errors import OutOfSpace, PartwiseError, StorageFailed
from partwise.protocols import DIALECTS
from partwise.server.assembly import MissingPart, check_engines, make_engine
from partwise.server.causes import NUMBERS, WorkerFigures
from partwise.server.connection import BoundedProtocol
from partwise.server.guard import is_loopback
from partwise.server.lifecycle import Lifecycle
from partwise.server.limits import TooFewDescriptors, affordable_connections
from partwise.server.logs import configure
from partwise.server.notify import notify
from partwise.server.settings import CONFIG_VARIABLE, Settings, ignored_variables, local_catalog
from partwise.server.shared_values import SharedMemory, SharedRegistry, share_values
from partwise.server.supervisor import Supervisor
from partwise.server.worker import Server
from partwise.storage.place import MARKER

#: Connections that wait to be accepted.
_BACKLOG = 4096

_logger = logging.getLogger(__name__)


class CannotServe(Exception):
    """The server cannot start; ``str`` says why, and what to do."""


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. Raises CannotServe when it cannot start, SystemExit when it has to give up."""
    try:
        configure(settings.log_level, settings.log_format, settings.audit_file)
    except OSError as error:
        raise CannotServe(
            f"The audit file cannot be written: {_described(error)}. Allow this user to write there, or change the "
            "setting audit_file."
        ) from error
    for sentence in ignored_variables().values():
        _logger.warning(sentence)
    _check(settings)
    _check_identity(settings)
    _check_dialects(settings)
    # First the port: a second server by mistake must not touch what the first one has. Who connects waits meanwhile.
    with _listen(settings) as listener:
        prepare(settings, may_migrate=settings.migrate)
        asyncio.run(_try_out(settings))
        # prometheus_client would keep metrics in files there.
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
        announce = partial(_announce, settings, listener)
        if settings.workers == 1:
            lifecycle = Lifecycle()
            config = _config(settings, partial(make_app, settings, lifecycle))
            Server(config, lifecycle, settings.drain_seconds, on_ready=announce).serve_on(listener)
        else:
            _serve_with_workers(settings, listener, announce)


def _serve_with_workers(settings: Settings, listener: socket.socket, announce: Callable[[], None]) -> None:
    from partwise.server import app  # noqa: F401 (before workers are forked, which share it then)

    # Each worker, the one that takes its place at a restart, and some that still finish.
    with closing(SharedMemory(2 * settings.workers + 2, NUMBERS)) as memory:
        figures = WorkerFigures(memory)

        def work(pipe: int, region: int) -> None:
            lifecycle = Lifecycle()
            application = partial(make_app, settings, lifecycle, share_values(memory, region), figures.metrics)
            Server(_config(settings, application), lifecycle, settings.drain_seconds, pipe=pipe).serve_on(listener)

        supervisor = Supervisor(
            settings.workers,
            work,
            figures,
            stop_seconds=settings.drain_seconds + settings.shutdown_seconds,
            on_ready=announce,
            # Else new connections would wait in this process's queue, which nobody serves any more, until the end.
            on_stop=partial(_begin_to_stop, listener),
        )
        status = supervisor.run()
    if status:
        raise CannotServe("The server cannot start: no worker process became ready. The log gives the cause.")


def _begin_to_stop(listener: socket.socket) -> None:
    listener.close()
    notify("STOPPING=1")


def _check(settings: Settings) -> None:
    try:
        affordable_connections(settings.max_connections)
    except TooFewDescriptors as error:
        raise CannotServe(str(error)) from error
    if settings.auth == "none" and not is_loopback(settings.host):
        raise CannotServe(
            f"Cannot listen on {settings.host} without authentication: anyone who can reach this address could read "
            "and delete all files. Use --auth token and make a token for each user with 'partwise token create NAME', "
            "or use --host 127.0.0.1 and an SSH tunnel (ssh -L 24817:127.0.0.1:24817 …)."
        )


def _check_identity(settings: Settings) -> None:
    """Without any of these, anyone could claim to be anyone."""
    needs = {
        "proxy": ("proxy_user_header", "trusted_proxies"),
        "oidc": ("oidc_issuer", "oidc_audience", "oidc_jwks"),
    }.get(settings.auth, ())
    missing = [name for name in needs if not getattr(settings, name)]
    if missing:
        raise CannotServe(
            f"Cannot start with auth = {settings.auth}: the setting {missing[0]} is missing. Set it, or choose "
            "another auth."
        )
    if settings.auth == "oidc":
        try:
            import joserfc  # noqa: F401
        except ModuleNotFoundError as error:
            raise CannotServe(
                "Cannot start with auth = oidc: a package is missing. Run pip install 'partwise[oidc]'."
            ) from error


def _check_dialects(settings: Settings) -> None:
    unknown = [name for name in settings.dialect_names if name not in DIALECTS]
    if unknown:
        raise CannotServe(
            f"Unknown dialect {unknown[0]!r} in the setting dialects. Use some of: {', '.join(DIALECTS)}."
        )


def prepare(settings: Settings, *, may_migrate: bool = True) -> None:
    """Before any worker: the folder, and the records' schema, which is brought up to date if it may be."""
    if settings.storage is None or settings.catalog is None:
        try:
            settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CannotServe(
                f"The data folder cannot be used: {_described(error)}. Name another folder with --data, or allow this "
                "user to write there."
            ) from error
    _refuse_lost_records(settings)
    with usable_records(settings):
        check_engines(settings)  # what cannot be put together is told before anything is touched
        if may_migrate:
            migrate(settings.catalog_url)
            return
        steps = pending_migrations(settings.catalog_url, look_only=False)
    if steps:
        raise CannotServe(
            f"The metadata database has an older schema, and the setting migrate is off. Run 'partwise upgrade' first. "
            f"Its steps: {'; '.join(steps)}"
        )


def _refuse_lost_records(settings: Settings) -> None:
    """Raise CannotServe where a used folder has no records: new ones would hide that, and end what is left of them.

    SQLite deletes the write-ahead log of a database that is empty.
    """
    if settings.catalog is not None:
        return
    records = local_catalog(settings.data)
    log = records.with_name(f"{records.name}-wal")
    with suppress(OSError):  # it cannot be looked at: who opens it says why
        if records.exists() and records.stat().st_size:
            return
        if (settings.data / MARKER).exists() or (log.exists() and log.stat().st_size):
            state = "is empty" if records.exists() else "is missing"
            raise CannotServe(
                f"The metadata database {records} {state}, but the folder has been used. Put the database back, "
                "together with its -wal file if there is one, or restore a backup. To begin anew, name an empty "
                "folder with --data."
            )


def look(settings: Settings) -> None:
    """Before work that changes nothing: whether the records can be read as they are. CannotServe says why not."""
    with usable_records(settings):
        steps = pending_migrations(settings.catalog_url)
    if steps:
        raise CannotServe(
            "The metadata database was made by an older version, and this command is read-only. Start the server once, "
            f"or run 'partwise upgrade', to migrate it. The steps: {'; '.join(steps)}"
        )


@contextmanager
def usable_records(settings: Settings) -> Iterator[None]:
    """Translate errors of the metadata database into CannotServe."""
    try:
        yield
    except (CatalogTooNew, CatalogMissing, MissingPart, ValueError) as error:
        raise CannotServe(str(error)) from error
    except StorageFailed as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise CannotServe(f"The server cannot start: {error}{cause}") from error
    except (DBAPIError, sqlite3.Error) as error:
        raise _unusable(settings, error) from error
    except ModuleNotFoundError as error:
        raise CannotServe("PostgreSQL's driver is missing. Run pip install 'partwise[postgres]'.") from error


def _unusable(settings: Settings, error: DBAPIError | sqlite3.Error) -> CannotServe:
    """Return the message for an error of the metadata database's driver, with advice on its cause."""
    reason = error.orig if isinstance(error, DBAPIError) else error
    assert reason is not None
    place = "PostgreSQL" if settings.catalog is not None else settings.data.absolute()
    advice = "Check that the disk is not full and that this user may write there."
    if is_damaged(reason):
        advice = "It is damaged. Restore a backup, or rescue what can be read with 'sqlite3 catalog.sqlite3 .recover'."
    elif is_busy(reason):
        advice = "Another program holds its lock. End that program, for example a sqlite3 shell, and start again."
    return CannotServe(f"The metadata database in {place} cannot be used ({reason}). {advice}")


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
        if isinstance(error.__cause__, DBAPIError | sqlite3.Error):
            raise _unusable(settings, error.__cause__) from error
        place = settings.storage or settings.data.absolute()
        raise CannotServe(f"The server cannot use {place}: {_reason(error)}") from error


def _reason(error: PartwiseError) -> str:
    """Return the message of the error, with the system's reason and the path if there are any."""
    cause = error.__cause__
    return f"{error} ({_described(cause)})" if isinstance(cause, OSError) else str(error)


def _described(error: OSError) -> str:
    """Return the path and the system's reason, without the number of the error."""
    if not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotServe(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. Choose another "
            "--host or --port, or stop the program that uses it."
        ) from error
    return listener


def _config(settings: Settings, application: Callable[[], ASGIApp]) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        factory=True,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="debug" if settings.log_level == "debug" else "warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


def make_app(
    settings: Settings,
    lifecycle: Lifecycle,
    shared: SharedRegistry | None = None,
    workers: Callable[[], Iterable[Metric]] = tuple,
) -> ASGIApp:
    """The application in the process that serves it; ``shared`` and ``workers`` as ``Metrics`` takes them."""
    from partwise.server.app import create_app

    return create_app(settings, shared=shared, workers=workers, lifecycle=lifecycle)


def url_of(listener: socket.socket) -> str:
    """The URL that reaches a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def places(settings: Settings) -> dict[str, str]:
    """Return the locations of data and metadata for display, without passwords."""
    found = {}
    if settings.storage is None or settings.catalog is None:
        found["data"] = str(settings.data.absolute())
    if settings.storage is not None:
        found["bytes"] = settings.storage.partition("?")[0]
    if settings.catalog is not None:
        found["records"] = make_url(settings.catalog_url).render_as_string(hide_password=True).partition("?")[0]
    return found


def _client_url(settings: Settings, url: str) -> str:
    """The URL that clients are given; with the path of the API where that is not at its usual place."""
    if settings.public_url is not None:
        parts = urlsplit(settings.public_url)
        url = f"{parts.scheme}://{parts.netloc}"
    usual = not settings.base and settings.api_prefix == Settings.model_fields["api_prefix"].default
    return url if usual else url + settings.base + settings.api_prefix


def _access(settings: Settings) -> str:
    """Return a description of who may use the server, and how to get a token for it."""
    if settings.auth == "none":
        return "this machine only, without authentication"
    if settings.auth == "proxy":
        return f"whom a proxy at {settings.trusted_proxies} names in {settings.proxy_user_header}"
    if settings.auth == "oidc":
        return f"with a token of {settings.oidc_issuer}"
    command = "partwise token create NAME"
    if config := os.environ.get(CONFIG_VARIABLE):
        return f"with a token: {CONFIG_VARIABLE}={os.path.abspath(config)} {command}"
    if settings.catalog is not None:
        return f"with a token: {command} (with PARTWISE_CATALOG as here)"
    return f"with a token: {command} --data {settings.data.absolute()}"


def _announce(settings: Settings, listener: socket.socket) -> None:
    """Say on standard output that requests are served, and how to begin."""
    url = url_of(listener)
    processes = "1 process" if settings.workers == 1 else f"{settings.workers} processes"
    text = (
        f"partwise {__version__} is ready at {url}\n"
        + "".join(f"  {name:<8} {place}\n" for name, place in places(settings).items())
        + f"  serves   with {processes}\n"
        + f"  access   {_access(settings)}\n"
        + f"  try      partwise upload FILE --server {_client_url(settings, url)}\n"
        + f"  stop     {'Ctrl-C' if sys.stdin is not None and sys.stdin.isatty() else f'kill {os.getpid()}'}\n"
    )
    # It serves, whether or not anybody can be told: standard output may be a full disk or a pipe that is closed.
    with suppress(OSError, ValueError):
        sys.stdout.write(text)
        sys.stdout.flush()
    notify("READY=1")
