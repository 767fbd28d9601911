"""The server's settings as the commands get them: what is wrong with them is said in a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from partwise.cli.exits import Exit

if TYPE_CHECKING:
    from partwise.server.settings import Settings


def load(given: dict[str, Any]) -> Settings:
    """The settings, where what is ``given`` (and not None) wins. Ends the command when one is wrong."""
    from pydantic import ValidationError

    from partwise.server.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        for fault in error.errors():
            name = "-".join(str(part) for part in fault["loc"]).replace("_", "-")
            typer.echo(f"partwise: {name}: {fault['msg']}", err=True)
        raise typer.Exit(Exit.USAGE) from None
