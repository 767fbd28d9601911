"""Chooses storage and catalog by the settings: the same for a server and for the commands that work beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from partwise.catalog import SqlCatalog, open_catalog
from partwise.catalog.schema import parse_url
from partwise.engine.engine import Engine
from partwise.engine.ports import Storage
from partwise.server.settings import Settings
from partwise.storage.local import LocalStorage
from partwise.storage.schemes import scheme_of

_NEEDS_POSTGRES = "An object store needs PostgreSQL for the metadata. Set the setting catalog too."


class MissingPart(RuntimeError):
    """The settings ask for something that is not installed, or that does not go together."""


def make_engine(settings: Settings) -> tuple[Engine, SqlCatalog]:
    """The engine, not started yet, and the tokens, which are kept in its catalog. ValueError, MissingPart."""
    catalog = open_catalog(settings.catalog_url)
    storage = make_storage(settings, catalog)
    durable = settings.durability == "chunk"
    return Engine(storage=storage, catalog=catalog, limits=settings.limits, durable_chunks=durable), catalog


def make_storage(settings: Settings, catalog: SqlCatalog) -> Storage:
    """The storage alone, whose records, if it has any, are in ``catalog``. ValueError, MissingPart, StorageFailed."""
    if settings.storage is None:
        return LocalStorage(settings.data, floor=settings.free_space_floor)
    with _optional():
        from partwise.catalog.postgres import PostgresCatalog
        from partwise.storage.objects.storage import ObjectStorage

        scheme = scheme_of(settings.storage)
    if not isinstance(catalog, PostgresCatalog):
        raise MissingPart(_NEEDS_POSTGRES)
    seconds = settings.redirect_seconds
    redirect = None if seconds is None else timedelta(seconds=seconds)
    return ObjectStorage(scheme.open_url(settings.storage), catalog, redirect=redirect)


def check_engines(settings: Settings) -> None:
    """Raise what ``make_engine`` would raise, without making an engine, which would keep its memory."""
    catalog = parse_url(settings.catalog_url)
    if settings.storage is None:
        return
    with _optional():
        scheme = scheme_of(settings.storage)
    if catalog.drivername != "postgresql":
        raise MissingPart(_NEEDS_POSTGRES)
    scheme.check_url(settings.storage)


@contextmanager
def _optional() -> Iterator[None]:
    """Translate the import error of an optional package into MissingPart."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPart(
            "The packages for object stores are missing. Run pip install 'partwise[postgres,s3]'."
        ) from error
