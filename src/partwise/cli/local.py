"""Helpers of commands that work on the data folder and the metadata database, with or without a running server."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from partwise.cli.exits import Exit

if TYPE_CHECKING:
    from partwise.catalog import SqlCatalog
    from partwise.engine.engine import Engine
    from partwise.engine.ports import Tokens
    from partwise.server.settings import Settings

T = TypeVar("T")

Data = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Data folder of the server. (default: from the server's settings)")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per item on stdout.")]


def settings_for(data: Path | None) -> Settings:
    """The server's settings, with another data folder if one is given."""
    from partwise.cli.settings import load

    return load({"data": data})


def with_tokens(
    data: Path | None, work: Callable[[Tokens], Awaitable[T]], *, first: bool = False, look_only: bool = False
) -> T:
    """Do something with a server's tokens, as ``with_catalog``."""
    return with_catalog(data, work, first=first, look_only=look_only)


def with_catalog(
    data: Path | None, work: Callable[[SqlCatalog], Awaitable[T]], *, first: bool = False, look_only: bool = False
) -> T:
    """Do something with a server's records alone. What goes wrong becomes a sentence and an exit code.

    ``first``: this may be the first that is done with the server at all, so that its folder is made if need be.
    ``look_only``: nothing is changed, and an older schema is left as it is.
    """
    settings = settings_for(data)
    if settings.catalog is None:
        # A folder that someone named may be a new server's; the default name in some folder is a mistake.
        if not first or "data" not in settings.model_fields_set:
            _require_folder(settings)
        _require_owner(settings)

    async def run(settings: Settings) -> T:
        from partwise.catalog import open_catalog

        catalog = open_catalog(settings.catalog_url)
        await catalog.start(look_only=look_only)
        try:
            return await work(catalog)
        finally:
            await catalog.stop()

    return run_with([settings], run, look_only=look_only)


def with_engine(data: Path | None, work: Callable[[Engine], Awaitable[T]], *, look_only: bool = False) -> T:
    """Do something with a server's records and bytes, beside whatever servers run.

    ``look_only``: no file is made or changed, and older records are not brought up to date.
    """
    settings = settings_for(data)
    if settings.storage is None:
        _require_folder(settings)

    async def run(settings: Settings) -> T:
        from partwise.server.assembly import MissingPart, make_engine
        from partwise.server.run import CannotServe

        try:
            engine, _ = make_engine(settings)
        except (MissingPart, ValueError) as error:
            raise CannotServe(str(error)) from error
        await engine.open(look_only=look_only)
        try:
            return await work(engine)
        finally:
            await engine.stop()

    return run_with([settings], run, look_only=look_only)


def audit(data: Path | None, action: str, **fields: object) -> None:
    """Write a line into the server's audit file, if it has one, about what was done on its machine."""
    settings = settings_for(data)
    if settings.audit_file is None:
        return
    from partwise.engine.audit import record
    from partwise.server.logs import configure

    configure("critical", "json", settings.audit_file)
    logging.getLogger("partwise.audit").propagate = False  # standard error is the operator's, who knows
    record(action, user=f"{_user_name(os.getuid())} (on the server's machine)", **fields)


def _require_folder(settings: Settings) -> None:
    """A mistyped name is a mistake, not a new folder."""
    from partwise.cli.output import say

    if not settings.data.is_dir():
        say(
            f"partwise: {settings.data}: there is no such folder. Name the server's data folder with --data, or its "
            "settings file with PARTWISE_CONFIG.",
            "red",
        )
        raise SystemExit(Exit.USAGE)


def _require_owner(settings: Settings) -> None:
    """Root would make files that the server's own user cannot write."""
    from partwise.cli.output import say

    if os.geteuid() != 0 or not settings.data.is_dir():
        return
    owner = settings.data.stat().st_uid
    if owner != 0:
        say(
            f"partwise: {settings.data} belongs to {_user_name(owner)}, and the server could not write to files made "
            f"by root. Use sudo -u {_user_name(owner)} partwise …",
            "red",
        )
        raise SystemExit(Exit.USAGE)


def _user_name(uid: int) -> str:
    import pwd  # which Windows does not have

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def run_with(all_settings: list[Settings], work: Callable[[Settings], Awaitable[T]], *, look_only: bool = False) -> T:
    """Prepare what each of the settings names, and do something with the last of them."""
    import asyncio

    from partwise.cli.output import say
    from partwise.core.errors import NotFound, PartwiseError
    from partwise.server.run import CannotServe, look, prepare

    async def run() -> T:
        return await work(all_settings[-1])

    try:
        for settings in all_settings:
            look(settings) if look_only else prepare(settings, may_migrate=settings.migrate)
        return asyncio.run(run())
    except (PartwiseError, CannotServe) as error:
        say(f"partwise: {error}", "red")
        raise SystemExit(Exit.NOT_FOUND if isinstance(error, NotFound) else Exit.FAILED) from None
    except KeyboardInterrupt:
        say("partwise: interrupted.", "yellow")
        raise SystemExit(Exit.INTERRUPTED) from None
