"""``partwise token``: who may use a server. Works on the server's records, whether it runs or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from partwise.cli.local import AsJson, Data, audit, with_tokens

if TYPE_CHECKING:
    from partwise.engine.ports import Token

app = typer.Typer(help="Create, list and revoke the tokens of a server with --auth token.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the token. The name of a revoked token may be reused.")
    ],
    user: Annotated[
        str | None,
        typer.Option(metavar="USER", help="User whose uploads and artifacts it grants access to. (default: NAME)"),
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Grants access to all users' data.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Create a token. It is shown once."""
    from partwise.cli.output import emit, out, plain, say
    from partwise.engine.context import utc_now
    from partwise.engine.ports import Token
    from partwise.server.auth import digest_of, new_secret

    for text in (name, user or name):
        if not text.strip() or not text.isprintable() or len(text) > 100:
            raise typer.BadParameter("the name is not valid. Use 1 to 100 printable characters.")
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
    """List tokens, including revoked ones."""
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
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the token, as in `partwise token list`.")],
    data: Data = None,
) -> None:
    """Revoke a token within 5 seconds. The user's uploads and artifacts stay."""
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
