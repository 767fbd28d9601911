"""Shell completion of values: names, ids and digests that the server knows, and profiles.

Somebody has pressed a key and waits: after a moment, or where anything is wrong, there is nothing to complete.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import typer

#: Seconds for everything, and items at most.
_SECONDS = 1.5
_MOST = 100

#: What is completed, and what a shell shows beside it.
Candidates = list[tuple[str, str]]


def artifacts_by_name(ctx: typer.Context, incomplete: str) -> Candidates:
    """File names of artifacts, and SHA-256 that begin so."""
    return _ask(ctx, incomplete, lambda client: _names(client, incomplete))


def artifacts(ctx: typer.Context, incomplete: str) -> Candidates:
    """SHA-256 of artifacts."""
    return _ask(ctx, incomplete, _digests)


def open_uploads(ctx: typer.Context, incomplete: str) -> Candidates:
    """Ids of uploads that are not completed."""
    return _ask(ctx, incomplete, lambda client: _ids(client, only_open=True))


def uploads_and_artifacts(ctx: typer.Context, incomplete: str) -> Candidates:
    """Ids of uploads, and SHA-256 of artifacts."""
    return _ask(ctx, incomplete, lambda client: (*_ids(client), *_digests(client)))


def profiles(ctx: typer.Context, incomplete: str) -> Candidates:
    """Names of the stored profiles."""
    with suppress(Exception):
        from partwise.client.profiles import profiles_file, read_profiles

        found = read_profiles(profiles_file())
        return [(name, profile.server) for name, profile in found.items() if name.startswith(incomplete)]
    return []


def _names(client: Any, incomplete: str) -> Iterator[tuple[str, str]]:
    for artifact in islice(client.artifacts(search=incomplete or None), _MOST):
        # What a shell would read as more than one word is not offered.
        if artifact.filename and all(char.isalnum() or char in "._-+/@%=," for char in artifact.filename):
            yield artifact.filename, artifact.sha256[:12]
    if incomplete:
        yield from _digests(client)


def _digests(client: Any) -> Iterator[tuple[str, str]]:
    for artifact in islice(client.artifacts(), _MOST):
        yield artifact.sha256, artifact.filename or ""


def _ids(client: Any, *, only_open: bool = False) -> Iterator[tuple[str, str]]:
    for upload in islice(client.uploads(), _MOST):
        if not (only_open and upload.state == "completed"):
            yield upload.id, upload.filename or upload.state


def _ask(ctx: typer.Context, incomplete: str, find: Callable[[Any], Any]) -> Candidates:
    """Run ``find`` with a client of the server that the command line names so far."""
    given = {name: ctx.params.get(name) for name in ("server", "token", "profile")}
    found: dict[str, str] = {}

    def ask() -> None:
        with suppress(Exception):
            from partwise.client import Client

            with Client(**given, patience_seconds=0, timeout_seconds=_SECONDS) as client:
                for value, about in find(client):
                    if value.startswith(incomplete):
                        found.setdefault(value, about if about.isprintable() else "")

    # In a thread, since a server that does not answer takes longer to be given up.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return list(found.items())
