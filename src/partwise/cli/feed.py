"""``partwise events``: read the feed, and look after what is sent to webhooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partwise.cli.exits import Exit
from partwise.cli.help import App
from partwise.cli.local import AsJson, Data, with_catalog
from partwise.cli.options import Profile, Server, Token, open_client

if TYPE_CHECKING:
    from partwise.catalog import SqlCatalog
    from partwise.engine.ports import Delivery

app = App(help="Print events, run a command for each event, or manage webhook deliveries.")


@app.callback(invoke_without_command=True)
def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for new events, and retry after failures.")] = False,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec", metavar="CMD", help="Run CMD in a shell for each event, with the event as JSON on stdin."
        ),
    ] = None,
    cursor: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Continue from the cursor in FILE, and store the new cursor there."),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Start after this cursor, or 'now', if FILE has no cursor."),
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only events of this type. May be repeated.")
    ] = None,
    server: Server = None,
    token: Token = None,
    profile: Profile = None,
) -> None:
    """Print events as JSON, one on each line, or run a command for each.

    Events tell of uploads that were completed, failed or were removed, and of artifacts that were deleted.
    """
    if context.invoked_subcommand is not None:
        return
    if command is not None and cursor is None:
        message = "needs --cursor FILE: without one every run would begin with the oldest event."
        raise typer.BadParameter(message, param_hint="--exec")
    from partwise.cli import events as reader
    from partwise.client import Client

    with open_client(Client, server, token, profile) as client:
        raise SystemExit(
            reader.follow(client, after=after, types=types or (), cursor=cursor, command=command, forever=follow)
        )


@app.command()
def deliveries(data: Data = None, as_json: AsJson = False) -> None:
    """List events that webhooks have not accepted yet: pending and dead ones."""
    from partwise.cli.output import emit, out, show_table

    found = with_catalog(data, lambda catalog: catalog.list_deliveries())
    if as_json:
        for delivery in found:
            emit(_members(delivery))
        return
    if not found:
        out.print("All events are delivered.")
        return
    rows = [
        (
            delivery.endpoint,
            delivery.event_id,
            delivery.event_type,
            str(delivery.attempts),
            "dead" if delivery.dead else f"{delivery.due:%Y-%m-%d %H:%M}",
            delivery.error or "",
        )
        for delivery in found
    ]
    show_table(("WEBHOOK", "EVENT", "TYPE", "TRIES", "NEXT TRY", "LAST ERROR"), rows, right=("TRIES",))


@app.command()
def replay(
    webhook: Annotated[
        str | None, typer.Argument(metavar="WEBHOOK", help="Name of the webhook in the settings. (default: all)")
    ] = None,
    data: Data = None,
) -> None:
    """Send dead events again, and resume a webhook that answered 410."""
    from partwise.cli.output import say
    from partwise.engine.context import utc_now

    known = with_catalog(data, lambda catalog: catalog.count_deliveries())
    if webhook is not None and webhook not in known:
        say(f"partwise: there is no webhook {webhook}. Known: {', '.join(sorted(known)) or 'none'}.", "red")
        raise SystemExit(Exit.NOT_FOUND)

    async def replay_all(catalog: SqlCatalog) -> int:
        count = 0
        while replayed := await catalog.replay_deliveries(webhook, utc_now()):
            count += replayed
        return count

    count = with_catalog(data, replay_all)
    say(f"{count} events are sent again.")


def _members(delivery: Delivery) -> dict[str, object]:
    return {
        "webhook": delivery.endpoint,
        "event": delivery.event_id,
        "type": delivery.event_type,
        "created": delivery.created.isoformat(),
        "tries": delivery.attempts,
        "dead": delivery.dead,
        "next_try": None if delivery.dead else delivery.due.isoformat(),
        "status": delivery.status,
        "error": delivery.error,
    }
