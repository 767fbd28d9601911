"""Ask the application that partwise is part of whether an upload may be created, before anything is reserved for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from partwise.core.errors import Denied, HookFailed
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
    except Denied:
        raise
    except Exception as error:
        log.exception("the hook before an upload of %s failed", who.name)
        raise HookFailed from error
    if allowed is not None and not isinstance(allowed, Allowed):
        log.error("the hook before an upload returned %r: it returns None or an Allowed", allowed)
        raise HookFailed
    return allowed or Allowed()
