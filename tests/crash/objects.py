"""Lives on PostgreSQL and an object store: where they are, and what must be true of the objects after each death."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import asyncpg

from partwise.catalog import migrate
from partwise.catalog.postgres import PostgresCatalog
from partwise.storage.objects.housekeeping import SIGNATURES
from partwise.storage.objects.place import MARKER
from partwise.storage.objects.storage import ObjectStorage
from tests.engines.postgres import postgres
from tests.engines.seaweed import CREDENTIALS, seaweed
from tests.support.folders import service_folder

#: Makes a catalog and a place for objects; their URLs.
Make = Callable[[], dict[str, str]]
#: How far ahead the clock of a life's housekeeping is: everything is old enough for it.
LATER = timedelta(days=2)
_WAIT = 20.0
_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)


@contextmanager
def object_engines() -> Iterator[Make]:
    """Start a database and a store for the lives of a run, and end them."""
    with ExitStack() as stack:
        os.environ.update(CREDENTIALS)  # of those who live there
        database = stack.enter_context(postgres(service_folder("pg-")))
        store = stack.enter_context(seaweed(service_folder("weed-")))
        template = database.create()
        migrate(database.url(template))
        yield lambda: {"catalog": database.url(database.create(template)), "storage": store.url(uuid.uuid4().hex)}


async def alone(url: str) -> None:
    """Wait until the database has ended what the dead process had begun."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(_WAIT):
            while await connection.fetchval(_OTHERS):
                await asyncio.sleep(0.01)
    finally:
        await connection.close()


async def keep_house(storage: ObjectStorage) -> None:
    """All that a server does behind the scenes, with nothing too young for it."""
    await storage.house.delete_garbage()
    while await storage.house.merge():
        pass
    await storage.house.delete_garbage()
    await storage.house.reap()


async def tidy(storage: ObjectStorage, catalog: PostgresCatalog) -> str | None:
    """Keep house until the store has nothing but what records need; what is left over after a while."""
    deadline = time.monotonic() + _WAIT
    while True:
        await keep_house(storage)
        listed = await asyncio.to_thread(lambda: list(storage.store.list()))
        left = sorted(item.key for item in listed if item.key != MARKER)
        uploads = sorted({key.split("/")[1] for key in left})
        signed = {SIGNATURES + digest for digest, _ in await catalog.all_artifacts(limit=10_000)}
        unknown = set(left) - await catalog.known_refs(uploads, left) - signed
        if not unknown:
            return None
        if time.monotonic() > deadline:
            return f"objects that nothing needs: {unknown}"
        await asyncio.sleep(0.1)
