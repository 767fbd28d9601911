"""Options that several commands share, and the client that they lead to."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from partwise.cli import completion

_SERVER_PANEL = "Server"
TRANSFER_PANEL = "Transfer"
_OUTPUT_PANEL = "Output"

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        "-s",
        metavar="URL",
        help="URL of the server. (default: PARTWISE_SERVER, the profile's, or http://127.0.0.1:24817)",
        rich_help_panel=_SERVER_PANEL,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="Access token. Other users of the machine can read command lines: prefer `partwise login`, or the "
        "environment. (default: PARTWISE_TOKEN, or the profile's)",
        rich_help_panel=_SERVER_PANEL,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        autocompletion=completion.profiles,
        help="Profile stored by `partwise login`. (default: PARTWISE_PROFILE, or 'default')",
        rich_help_panel=_SERVER_PANEL,
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object per item on stdout.", rich_help_panel=_OUTPUT_PANEL),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print results and errors only.", rich_help_panel=_OUTPUT_PANEL),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=32,
        metavar="N",
        help="Files at once. (default: 8; of files of 16 MiB and more 2)",
        rich_help_panel=TRANSFER_PANEL,
    ),
]
LimitRate = Annotated[
    str | None,
    typer.Option(
        "--limit-rate",
        metavar="RATE",
        help="Bytes a second at most, of all connections together, such as 500K or 10M.",
        rich_help_panel=TRANSFER_PANEL,
    ),
]
Patience = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Seconds to keep retrying while every request fails.",
        rich_help_panel=TRANSFER_PANEL,
    ),
]


def open_client(
    client: Any,
    server: str | None,
    token: str | None,
    profile: str | None,
    patience: float = 300,
    limit_rate: int | None = None,
) -> Any:
    """A client for the server that these options name; a wrong one is a mistake in the command line."""
    from partwise.client import ClientError

    try:
        return client(server, token=token, profile=profile, patience_seconds=patience, limit_rate=limit_rate)
    except ClientError as error:
        raise typer.BadParameter(str(error), param_hint="--server, --token or --profile") from None
