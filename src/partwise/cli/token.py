"""``partwise token``: who may use a server. Works on the server's records, whether it runs or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from partwise.cli.exits import Exit

if TYPE_CHECKING:
    from partwise.engine.ports import Token, Tokens

T = TypeVar("T")

app = typer.Typer(help="Make, list and revoke the tokens of a server with --auth token.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option(metavar="FOLDER", help="The server's data folder. (default: PARTWISE_DATA)")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per token on stdout.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it; a name is not used twice.")],
    user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="Whose uploads and artifacts it opens. (default: the user named NAME)"),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Opens what belongs to anyone.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a token, and show it: now or never."""
    from partwise.cli.output import emit, out, plain, say
    from partwise.engine.context import utc_now
    from partwise.engine.ports import Token
    from partwise.server.auth import digest_of, new_secret

    for text in (name, user or name):
        if not text.strip() or not text.isprintable() or len(text) > 100:
            raise typer.BadParameter("a name has 1 to 100 characters that can be shown.")
    secret = new_secret()
    token = Token(name=name, owner=user or name, created=utc_now(), admin=admin)
    _run(data, lambda tokens: tokens.create_token(token, digest_of(secret)))
    if as_json:
        emit(_members(token) | {"token": secret})
        return
    what = "everything" if admin else f"what belongs to {token.owner}"
    say(f"Token {name}, which opens {what}. It is shown this once:")
    out.print(plain(secret))


@app.command("list")
def list_all(data: Data = None, as_json: AsJson = False) -> None:
    """List tokens, revoked ones too."""
    from rich.table import Table

    from partwise.cli.output import emit, out, plain

    tokens = _run(data, lambda tokens: tokens.list_tokens())
    if as_json:
        for token in tokens:
            emit(_members(token))
        return
    table = Table("name", "user", "opens", "created", "last used", "revoked", box=None, header_style="bold")
    for token in tokens:
        times = (f"{time:%Y-%m-%d %H:%M}" if time else "-" for time in (token.created, token.last_used, token.revoked))
        table.add_row(plain(token.name), plain(token.owner), "everything" if token.admin else "own", *times)
    out.print(table)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `partwise token list` shows it.")], data: Data = None
) -> None:
    """Let a token open nothing any more, within 5 seconds. What belongs to its user stays."""
    from partwise.cli.output import say
    from partwise.engine.context import utc_now

    _run(data, lambda tokens: tokens.revoke_token(name, utc_now()))
    say(f"Token {name} is revoked.")


def _members(token: Token) -> dict[str, object]:
    times = {"created": token.created, "last_used": token.last_used, "revoked": token.revoked}
    return {
        "name": token.name,
        "user": token.owner,
        "admin": token.admin,
        **{key: time and time.isoformat() for key, time in times.items()},
    }


def _run(data: Path | None, work: Callable[[Tokens], Awaitable[T]]) -> T:
    """Do something with the server's tokens; what goes wrong becomes a sentence and an exit code."""
    from partwise.catalog import open_catalog
    from partwise.cli.output import say
    from partwise.core.errors import NotFound, PartwiseError
    from partwise.server.run import CannotServe, prepare
    from partwise.server.settings import Settings

    settings = Settings() if data is None else Settings(data=data)

    async def run() -> T:
        catalog = open_catalog(settings.catalog_url)
        await catalog.start()
        try:
            return await work(catalog)
        finally:
            await catalog.stop()

    try:
        prepare(settings)
        return asyncio.run(run())
    except (PartwiseError, CannotServe) as error:
        say(f"partwise: {error}", "red")
        raise SystemExit(Exit.NOT_FOUND if isinstance(error, NotFound) else Exit.FAILED) from None
