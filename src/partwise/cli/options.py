"""Options that several commands share, and the client that they lead to."""

from __future__ import annotations

from typing import Annotated, Any

import typer

DEFAULT_SERVER = "http://127.0.0.1:24817"

_SERVER_PANEL = "Server"

Server = Annotated[
    str,
    typer.Option(
        "--server",
        "-s",
        envvar="PARTWISE_SERVER",
        metavar="URL",
        help="URL of the server.",
        rich_help_panel=_SERVER_PANEL,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="PARTWISE_TOKEN",
        metavar="TOKEN",
        help="Access token. Prefer the environment, because other users of the machine can read command lines.",
        rich_help_panel=_SERVER_PANEL,
    ),
]


def open_client(client: Any, server: str, token: str | None, patience: float = 300) -> Any:
    """A client for ``server``; an address that is none is a mistake in the command line."""
    from partwise.client import ClientError

    try:
        return client(server, token=token, patience_seconds=patience)
    except ClientError as error:
        raise typer.BadParameter(str(error), param_hint="--server or --token") from None
