"""The object stores that there are, by the scheme of their URL. A new one is a module and a line here.

A module has ``check_url(url)``, which raises ValueError or StorageFailed without opening anything, and
``open_url(url)``, which gives an ``ObjectStore``. It is imported only when its scheme is asked for, since what speaks
to a store over a network is an optional part of the installation.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast
from urllib.parse import urlsplit

from partwise.storage.objects.store import ObjectStore

SCHEMES: dict[str, str] = {
    "s3": "partwise.storage.s3.store",
}


class Scheme(Protocol):
    """Interface of a module in the table."""

    def check_url(self, url: str) -> None:
        """Raise ValueError or StorageFailed when nothing can be opened by this URL."""

    def open_url(self, url: str) -> ObjectStore:
        """The store. ValueError, StorageFailed."""


def scheme_of(url: str) -> Scheme:
    """The module for a URL. ValueError when there is none; ModuleNotFoundError when what it needs is not installed."""
    name = urlsplit(url).scheme
    if name not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ValueError(f"The scheme of the storage URL is unknown. Use one of: {known}.")
    return cast(Scheme, import_module(SCHEMES[name]))
