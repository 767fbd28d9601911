"""``partwise token``: who may use a server. Works on the server's records, whether it runs or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from partwise.cli.local import AsJson, Data, audit, with_tokens

if TYPE_CHECKING:
    from partwise.engine.ports import Token

app = typer.Typer(help="Make, list and revoke the tokens of a server with --auth token.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it; of a revoked one: again.")],
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
    with_tokens(data, lambda tokens: tokens.create_token(token, digest_of(secret)), first=True)
    audit(data, "token.created", token=name, owner=token.owner, admin=admin)
    if as_json:
        emit(_members(token) | {"token": secret})
        return
    what = "everything" if admin else f"what belongs to {token.owner}"
    say(f"Token {name}, which opens {what}. It is shown this once:")
    out.print(plain(secret))


@app.command("list")
def list_all(data: Data = None, as_json: AsJson = False) -> None:
    """List tokens, revoked ones too."""
    from partwise.cli.output import emit, show_table

    tokens = with_tokens(data, lambda tokens: tokens.list_tokens(), look_only=True)
    if as_json:
        for token in tokens:
            emit(_members(token))
        return
    rows = []
    for token in tokens:
        times = (f"{time:%Y-%m-%d %H:%M}" if time else "-" for time in (token.created, token.last_used, token.revoked))
        rows.append((token.name, token.owner, "everything" if token.admin else "own", *times))
    show_table(("NAME", "USER", "OPENS", "CREATED", "LAST USED", "REVOKED"), rows)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `partwise token list` shows it.")], data: Data = None
) -> None:
    """Let a token open nothing any more, within 5 seconds. What belongs to its user stays."""
    from partwise.cli.output import say
    from partwise.engine.context import utc_now

    with_tokens(data, lambda tokens: tokens.revoke_token(name, utc_now()))
    audit(data, "token.revoked", token=name)
    say(f"Token {name} is revoked.")


def _members(token: Token) -> dict[str, object]:
    times = {"created": token.created, "last_used": token.last_used, "revoked": token.revoked}
    return {
        "name": token.name,
        "user": token.owner,
        "admin": token.admin,
        **{key: time and time.isoformat() for key, time in times.items()},
    }
