"""Chooses storage and catalog by the settings: the same for a server and for the commands that work beside it."""

from __future__ import annotations

from partwise.catalog import open_catalog
from partwise.engine.context import Engine
from partwise.engine.ports import Tokens
from partwise.server.settings import Settings
from partwise.storage.local import LocalStorage


def make_engine(settings: Settings) -> tuple[Engine, Tokens]:
    """The engine, not started yet, and the tokens, which are kept in its catalog."""
    catalog = open_catalog(settings.catalog_url)
    storage = LocalStorage(settings.data, floor=settings.free_space_floor)
    return Engine(storage=storage, catalog=catalog, limits=settings.limits), catalog
