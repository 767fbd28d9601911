"""``partwise login`` and ``logout``: store a server and its token as a profile, or remove it."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from partwise.cli.exits import Exit
from partwise.cli.options import Profile

#: A token is one line. No more of standard input is read.
_MOST_CHARACTERS = 16 * 1024
_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


def login(
    server: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="URL of the server. (default: the profile's, or PARTWISE_SERVER)"),
    ] = None,
    profile: Profile = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from standard input instead of asking for it.")
    ] = False,
) -> None:
    """Store a server and its token, so that later commands use them.

    Asks for the token if the server needs one, and stores it once the server has accepted it.
    """
    from partwise.cli.output import exit_with_message, say, tell
    from partwise.client import profiles as stored

    with exit_with_message("Nothing was stored."):
        path = stored.profiles_file()
        name = _name(profile)
        profiles = stored.read_profiles(path)
        if server is None:
            known = profiles[name].server if name in profiles else None
            server = known or os.environ.get(stored.SERVER_VARIABLE) or stored.DEFAULT_SERVER
        token, user = _check_access(server, _read_token() if token_stdin else None)
        try:
            stored.write_profiles(path, profiles | {name: stored.Profile(server, token)})
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
    place = server.rpartition("@")[2]  # without a password
    if token is not None and _is_unencrypted(server):
        say("This server's URL is not https://, so the token is sent unencrypted.", "yellow")
    who = f" as {user}" if user else ""
    tell(f"Logged in to {place}{who}{'' if token else ', without a token'}.", "green")
    tell(f"  profile   {name}, in {path}")


def logout(profile: Profile = None) -> None:
    """Remove a stored server and its token. The token stays valid until it is revoked on the server."""
    from partwise.cli.output import exit_with_message, say, tell
    from partwise.client import profiles as stored

    with exit_with_message():
        path = stored.profiles_file()
        name = _name(profile)
        profiles = stored.read_profiles(path)
        if name not in profiles:
            known = f" Profiles: {', '.join(sorted(profiles))}." if profiles else ""
            say(f"partwise: there is no profile {name} in {path}.{known}", "red")
            raise SystemExit(Exit.USAGE)
        removed = profiles.pop(name)
        stored.write_profiles(path, profiles)
    tell(f"Removed the profile {name} of {removed.server.rpartition('@')[2]}.", "green")


def _name(given: str | None) -> str:
    from partwise.client.profiles import DEFAULT_PROFILE, PROFILE_VARIABLE, check_name

    return check_name(given or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE)


def _check_access(server: str, token: str | None) -> tuple[str | None, str | None]:
    """Check ``token`` with the server, or prompt for one if needed. Return the token and the user's name.

    A wrong address shows before the token is asked for. Raises ClientError.
    """
    from partwise.client import Client, NotAllowed

    with Client(server, token=token or "", patience_seconds=0) as client:
        try:
            return token, client.check_access()
        except NotAllowed as error:
            if token is not None or error.status != 401:
                raise
    token = _ask_for_token(server)
    with Client(server, token=token, patience_seconds=0) as client:
        return token, client.check_access()


def _read_token() -> str:
    token = sys.stdin.readline(_MOST_CHARACTERS).strip() if sys.stdin else ""
    if not token:
        raise typer.BadParameter(
            "standard input is empty. Give the token as its first line.", param_hint="--token-stdin"
        )
    return token


def _ask_for_token(server: str) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        raise typer.BadParameter(
            "the server needs a token, and there is no terminal to ask for it. Give it on standard input.",
            param_hint="--token-stdin",
        )
    try:
        token = getpass.getpass(f"Token for {server.rpartition('@')[2]} (not shown): ").strip()
    except EOFError:
        raise KeyboardInterrupt from None
    if not token:
        raise KeyboardInterrupt
    return token


def _is_unencrypted(server: str) -> bool:
    parts = urlsplit(server if "://" in server else f"http://{server}")
    return parts.scheme == "http" and parts.hostname not in _THIS_MACHINE
