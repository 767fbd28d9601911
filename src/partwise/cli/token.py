"""``partwise token``: who may use a server. Works on the server's records, whether it runs or not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partwise.cli.help import App
from partwise.cli.local import AsJson, Data, audit, with_tokens
from partwise.cli.sizes import parse_age

if TYPE_CHECKING:
    from partwise.engine.ports import Token

app = App(help="Manage the tokens of a server with --auth token.", no_args_is_help=True)


def _age(text: str) -> timedelta:
    try:
        return parse_age(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


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
    scope: Annotated[
        str, typer.Option(metavar="all|upload|read", help="What the token allows: upload only, or read only.")
    ] = "all",
    expires: Annotated[
        Any, typer.Option(metavar="AGE", parser=_age, help="Lifetime of the token, such as 12h or 90d.")
    ] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Create a token. It is shown once."""
    from partwise.cli.output import emit, out, plain, say
    from partwise.core.records import Scope
    from partwise.engine.context import utc_now
    from partwise.engine.ports import Token
    from partwise.server.auth import digest_of, new_secret

    for text in (name, user or name):
        if not text.strip() or not text.isprintable() or len(text) > 100:
            raise typer.BadParameter("the name is not valid. Use 1 to 100 printable characters.")
    if scope not in {*Scope}:
        raise typer.BadParameter(f"a scope is one of {', '.join(Scope)}.", param_hint="--scope")
    secret, now = new_secret(), utc_now()
    until = None if expires is None else now + expires
    token = Token(name=name, owner=user or name, created=now, admin=admin, expires=until, scope=Scope(scope))
    with_tokens(data, lambda tokens: tokens.create_token(token, digest_of(secret)), first=True)
    audit(data, "token.created", token=name, owner=token.owner, admin=admin, scope=scope, expires=until and str(until))
    if as_json:
        emit(_members(token) | {"token": secret})
        return
    what = "the data of all users" if admin else f"the data of {token.owner}"
    what += f", to {scope} only" * (scope != "all") + (f", until {until:%Y-%m-%d %H:%M} UTC" if until else "")
    say(f"Created the token {name} for {what}. Copy it now. It is not shown again:")
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
        moments = (token.created, token.last_used, token.expires, token.revoked)
        times = (f"{time:%Y-%m-%d %H:%M}" if time else "-" for time in moments)
        rows.append((token.name, token.owner, "everything" if token.admin else "own", str(token.scope), *times))
    show_table(("NAME", "USER", "OPENS", "SCOPE", "CREATED", "LAST USED", "EXPIRES", "REVOKED"), rows)


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


@app.command()
def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name, as in `partwise token list`.")], data: Data = None
) -> None:
    """Delete a token, revoked or not. It stops working within 5 seconds, and leaves the list."""
    from partwise.cli.output import say

    token = with_tokens(data, lambda tokens: tokens.delete_token(name))
    audit(data, "token.deleted", token=name, owner=token.owner)
    say(f"Token {name} is deleted.")


def _members(token: Token) -> dict[str, object]:
    times = {"created": token.created, "last_used": token.last_used, "expires": token.expires}
    times["revoked"] = token.revoked
    return {
        "name": token.name,
        "user": token.owner,
        "admin": token.admin,
        "scope": str(token.scope),
        **{key: time and time.isoformat() for key, time in times.items()},
    }
