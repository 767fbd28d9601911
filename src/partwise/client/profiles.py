"""Choice of the server and the token: from arguments, then the environment, then a stored profile.

Profiles are in ``$XDG_CONFIG_HOME/partwise/profiles.json`` (default ``~/.config``), which only its owner may read::

    {"profiles": {"default": {"server": "https://files.example.org", "token": "…"}}}

`partwise login` writes it. The command line and `Client` read it here.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from partwise.client.errors import ClientError

DEFAULT_SERVER = "http://127.0.0.1:24817"
DEFAULT_PROFILE = "default"
SERVER_VARIABLE, TOKEN_VARIABLE, PROFILE_VARIABLE = "PARTWISE_SERVER", "PARTWISE_TOKEN", "PARTWISE_PROFILE"

#: A file of profiles is never larger.
_MOST_BYTES = 1024 * 1024
_USUAL_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Profile:
    """A server's URL, and the token that it accepts; None: it needs none."""

    server: str
    token: str | None = field(default=None, repr=False)


def find_server(
    server: str | None = None,
    token: str | None = None,
    profile: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Profile:
    """Return the server to use and its token.

    Arguments override PARTWISE_SERVER and PARTWISE_TOKEN. These override the profile that PARTWISE_PROFILE names, or
    the one called ``default``. A ``profile`` given as an argument is used in place of the environment. The token of a
    profile is sent to its own server alone. An empty ``token`` means none. Raises ClientError if the profile cannot be
    used.
    """
    name = profile
    if profile is None:
        if server is None:
            server = environment.get(SERVER_VARIABLE) or None
        if token is None:
            token = environment.get(TOKEN_VARIABLE) or None
        name = environment.get(PROFILE_VARIABLE) or None
    if server is None or token is None:
        stored = _stored(name, environment)
        server = stored.server if server is None else server
        if token is None and _place(server) == _place(stored.server):
            token = stored.token
    return Profile(server, token or None)


def profiles_file(environment: Mapping[str, str] = os.environ) -> Path:
    """The path of the file. Raises ClientError if there is no folder for it."""
    config = environment.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(config):  # the XDG specification has relative ones ignored
        return Path(config) / "partwise" / "profiles.json"
    try:
        return Path.home() / ".config" / "partwise" / "profiles.json"
    except RuntimeError:
        raise ClientError(
            "Profiles need a home directory, and HOME is not set. Set HOME or XDG_CONFIG_HOME, or use "
            f"{SERVER_VARIABLE} and {TOKEN_VARIABLE} instead."
        ) from None


def read_profiles(path: Path) -> dict[str, Profile]:
    """Read all profiles by their names; none if there is no file.

    Raises ClientError if the file is not a file of profiles, or if others may read it.
    """
    try:
        data = _read_private(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ClientError(f"Cannot read the profiles in {path}: {error.strerror}.") from None
    try:
        found = json.loads(data)["profiles"]
        return {check_name(name): _parse(found[name]) for name in found}
    except (ValueError, KeyError, TypeError, RecursionError, ClientError):
        raise ClientError(
            f"{path} is damaged: it is not a file of profiles. Delete it, and run `partwise login` again."
        ) from None


def write_profiles(path: Path, profiles: Mapping[str, Profile]) -> None:
    """Replace the file as a whole; only its owner may read it. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = Path(os.path.realpath(path))  # a link of the user's stays one
    members = {name: _members(profile) for name, profile in sorted(profiles.items())}
    # NamedTemporaryFile makes files of mode 0600.
    with tempfile.NamedTemporaryFile("w", dir=target.parent, prefix=".profiles-", delete=False) as file:
        try:
            json.dump({"profiles": members}, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)  # an interrupt may come after the replacement
            raise


def check_name(name: str) -> str:
    """Return a profile's name. Raises ClientError if it is none."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name, re.ASCII):
        raise ClientError(
            f"{name!r} is not a profile name. Use 1 to 64 letters, digits, dots, hyphens and underscores."
        )
    return name


def _stored(name: str | None, environment: Mapping[str, str]) -> Profile:
    """The profile of this name. None: the one called ``default``, which need not exist."""
    if name is not None:
        check_name(name)
    try:
        path = profiles_file(environment)
    except ClientError:
        if name is not None:
            raise
        return Profile(DEFAULT_SERVER)
    profiles = read_profiles(path)
    if name is None:
        return profiles.get(DEFAULT_PROFILE) or Profile(DEFAULT_SERVER)
    if name not in profiles:
        known = f"Profiles: {', '.join(sorted(profiles))}." if profiles else "There are no profiles."
        raise ClientError(f"There is no profile {name!r} in {path}. {known} `partwise login --profile {name}` adds it.")
    return profiles[name]


def _read_private(path: Path) -> bytes:
    """The bytes of a small file that only its owner may read. Raises OSError, ClientError."""
    # A FIFO without a writer would make a blocking open wait forever.
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise ClientError(
                f"{path} is not a regular file, so no profile is read from it. Remove it, then run `partwise login`."
            )
        if os.name == "posix" and about.st_mode & 0o077:
            raise ClientError(
                f"{path} holds tokens, and other users may read it (mode {stat.S_IMODE(about.st_mode):04o}). "
                f"Run: chmod 600 {path}"
            )
        data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise ClientError(
            f"{path} has more than {_MOST_BYTES} bytes, too many for profiles. Remove it, then log in again."
        )
    return data


def _parse(members: Mapping[str, object]) -> Profile:
    server, token = members["server"], members.get("token")
    if not isinstance(server, str) or not server or not isinstance(token, str | None):
        raise TypeError
    return Profile(server, token)


def _members(profile: Profile) -> dict[str, str]:
    return {"server": profile.server} | ({"token": profile.token} if profile.token else {})


def _place(server: str) -> object:
    """Return the key that identifies a server. URLs with credentials of their own equal no other."""
    try:
        parts = urlsplit(server if "://" in server else f"http://{server}")
        if parts.username is not None:
            return server
        return parts.scheme, parts.hostname, parts.port or _USUAL_PORTS.get(parts.scheme), parts.path.strip("/")
    except ValueError:
        return server
