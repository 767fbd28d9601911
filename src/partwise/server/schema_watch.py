"""Notices that a newer partwise has migrated the metadata database under a server of this version."""

from __future__ import annotations

import asyncio
import logging

from partwise.catalog import SqlCatalog
from partwise.core.errors import PartwiseError

#: Seconds from one look to the next.
PAUSE_SECONDS = 30.0

_logger = logging.getLogger(__name__)


async def watch_schema(catalog: SqlCatalog) -> None:
    """Look at the schema's version again and again, until it is newer than this code; tell the operator, and return."""
    while True:
        try:
            version = await catalog.newer_schema()
        except PartwiseError:
            version = None  # it cannot be asked now, which others tell of
        if version is not None:
            _logger.error(
                "the metadata database has schema %s, made by a newer partwise: this server continues, but does not "
                "store the data that the newer version added. Upgrade this server now",
                version,
            )
            return
        await asyncio.sleep(PAUSE_SECONDS)
