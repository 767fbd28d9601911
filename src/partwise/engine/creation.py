"""Ask the application whether an upload may be created, before anything is reserved for it.

A function of the host application is asked, or a URL of the settings (``server/permission.py``).
"""

from __future__ import annotations

import asyncio
import logging
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field

from partwise.core.errors import BadBody, Denied, HookFailed
from partwise.core.members import MAX_FILENAME, check_filename, check_metadata, check_user
from partwise.core.records import Principal
from partwise.engine.context import Context

log = logging.getLogger(__name__)

#: Seconds that the hook may take.
HOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """An upload that someone wants to create. ``size`` None: it is declared later."""

    user: str
    admin: bool
    size: int | None
    filename: str | None = None
    media_type: str | None = None
    sha256: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    #: Whether it is to become a part of another upload (tus), about which the application is asked too.
    part: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """The answer that it may be created, with what is to be different. None: as it was asked for."""

    owner: str | None = None
    filename: str | None = None
    metadata: Mapping[str, str] | None = None
    #: The largest size in bytes, also for a size that is declared later.
    largest: int | None = None


async def ask(engine: Context, who: Principal, creation: Creation) -> Allowed:
    """Return what the hook allows. Raises Denied, and HookFailed when it fails or takes longer than HOOK_SECONDS."""
    if engine.before_create is None:
        return Allowed()
    try:
        async with asyncio.timeout(HOOK_SECONDS):
            allowed = await engine.before_create(creation)
    except (Denied, HookFailed):
        raise
    except TimeoutError as error:
        log.error("the hook before an upload of %s did not answer within %g s", who.name, HOOK_SECONDS)
        raise HookFailed from error
    except Exception as error:
        log.exception("the before_create function failed for user %s", who.name)
        raise HookFailed from error
    if allowed is not None and not isinstance(allowed, Allowed):
        log.error("the before_create function returned %r; it must return None or Allowed", allowed)
        raise HookFailed
    allowed = allowed or Allowed()
    try:
        _check(allowed)
    except (BadBody, TypeError, ValueError, AttributeError) as error:
        log.error("the hook before an upload of %s allowed what cannot be: %s (%r)", who.name, error, allowed)
        raise HookFailed from error
    return allowed


def _check(allowed: Allowed) -> None:
    """Raise unless each member has its type, and keeps to the rules of the same member in a request."""
    check_user(allowed.owner)
    check_filename(allowed.filename)
    metadata = allowed.metadata or {}
    check_metadata(metadata)
    "".join([allowed.filename or "", *metadata, *metadata.values()]).encode()  # no half of a surrogate pair
    if len(allowed.filename or "") > MAX_FILENAME:
        raise ValueError(f"the file name has more than {MAX_FILENAME} characters")
    if allowed.largest is not None and (isinstance(allowed.largest, bool) or operator.index(allowed.largest) < 0):
        raise ValueError("the largest size is no number of bytes")


def acting(who: Principal, owner: str) -> Principal:
    """Return who goes on inside the request that created an upload: its owner, where the application named another."""
    return who if who.owns(owner) else Principal(owner, internal=who.internal, token=who.token, scope=who.scope)
