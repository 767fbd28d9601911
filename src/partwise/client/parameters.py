"""Keyword arguments of `AsyncClient`, which hands them on to `Client`: all of its own but ``cancelled``.

`Client` documents each of them. Type checkers and editors read them here; a test compares both.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

from partwise.client.models import ArtifactInfo, Observer, Progress


class ClientOptions(TypedDict, total=False):
    """Keyword arguments of `Client`."""

    token: str | None
    profile: str | None
    patience_seconds: float
    timeout_seconds: float
    limit_rate: int | None


class WatchOptions(TypedDict, total=False):
    """Keyword arguments of `Client.stream`, and what all transfers take."""

    progress: Progress | None
    observer: Observer | None


class UploadOptions(WatchOptions, total=False):
    """Keyword arguments of `Client.upload`."""

    name: str | None
    size: int | None
    chunk_size: int | None
    parallel: int | None
    verify_chunks: bool
    resume: bool
    base: str | ArtifactInfo | None
    delta: bool | None
    upload: str | None
    journal_folder: Path | None


class DownloadOptions(WatchOptions, total=False):
    """Keyword arguments of `Client.download`."""

    overwrite: bool
    base: str | os.PathLike[str] | None
    delta: bool | None


class ReadOptions(WatchOptions, total=False):
    """Keyword arguments of `Client.read`."""

    max_size: int
