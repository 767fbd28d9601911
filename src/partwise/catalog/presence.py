"""Detection of a SQLite database whose files were removed or replaced.

A process keeps using the files that it opened after someone removes or replaces them. Its later commits are lost when
it ends. Therefore a commit counts only while the names still lead to the same files.
"""

from __future__ import annotations

import logging
import os

from partwise.core.errors import StorageFailed

logger = logging.getLogger(__name__)


class Presence:
    """The database at ``path`` and its write-ahead log. The methods block for two looks at a folder."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._found: dict[str, os.stat_result] = {}

    def remember(self) -> None:
        """Take the files that are there now for the right ones. To be called while a connection has them open."""
        for name in (self._path, f"{self._path}-wal"):
            if found := _stat(name):
                self._found[name] = found

    def check(self) -> None:
        """Raise StorageFailed unless all of them are still there. One that comes back is the right one again."""
        for name, opened in self._found.items():
            found = _stat(name)
            if found is None:
                self._refuse(
                    f"{name} is missing: it was moved or deleted while the server runs. Put it back. If it is gone, "
                    "stop the server and restore a backup"
                )
            elif not os.path.samestat(found, opened):
                self._refuse(f"{name} was replaced while the server runs: restart the server to use it")

    def _refuse(self, reason: str) -> None:
        logger.error("the metadata database failed: %s", reason)
        raise StorageFailed("The metadata database is unavailable. Try again later.") from OSError(reason)


def _stat(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
