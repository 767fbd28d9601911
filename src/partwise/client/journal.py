"""Journals: small files that name the upload of a local file, so that the same command can resume it.

It lives in ``$XDG_STATE_HOME/partwise/uploads``, under a name made from the server, the absolute path and the file's
identity, so a changed file begins anew. It says only which upload to ask for; what is missing, the server says. A lock
beside it keeps two runs for the same file apart, and goes away with the process that holds it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from partwise.client import files
from partwise.client.errors import AlreadyRunning
from partwise.client.source import LocalFile

#: Servers drop idle uploads long before; what is left of those is cleared away.
_KEEP_SECONDS = 60 * 24 * 3600


def default_folder() -> Path:
    """Return the folder of journals, below XDG_STATE_HOME or ``~/.local/state``."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return Path(state) / "partwise" / "uploads"
    try:
        return Path.home() / ".local" / "state" / "partwise" / "uploads"
    except RuntimeError:  # HOME is not set, and the user is in no list, as in many containers
        return Path(tempfile.gettempdir()) / f"partwise-{files.user_id()}" / "uploads"


class Journal:
    """The entry for one file on one server; a context manager that holds its lock."""

    def __init__(self, server: str, file: LocalFile, folder: Path | None = None) -> None:
        """Nothing is touched before it is entered."""
        folder = folder or default_folder()
        identity = file.identity
        self._about = {
            "server": server,
            "path": str(file.path),
            "size": identity.size,
            "mtime_ns": identity.mtime_ns,
            "inode": identity.inode,
        }
        name = hashlib.sha256(json.dumps(self._about, sort_keys=True).encode()).hexdigest()[:32]
        self._entry, self._lock = folder / f"{name}.json", folder / f"{name}.lock"
        self._fd = -1

    def __enter__(self) -> Journal:
        """Take the lock. Raises AlreadyRunning when another process has it, OSError when it cannot be kept."""
        self._entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while self._fd < 0:
            fd = files.open_file(self._lock, "O_RDWR", "O_CREAT", "O_NOFOLLOW", mode=0o600)
            try:
                if not files.try_lock(fd):
                    raise AlreadyRunning(f"{self._about['path']} is already being uploaded by another process.")
                # The holder before may have removed the name between our open and our lock.
                if os.path.samestat(os.fstat(fd), os.stat(self._lock)):
                    self._fd = fd
            except FileNotFoundError:
                pass
            finally:
                if self._fd != fd:
                    os.close(fd)
        try:
            self._clear_old()
        except BaseException:
            self.__exit__(None, None, None)  # else this process held the lock for ever
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        files.remove_locked(self._lock, self._fd)
        self._fd = -1

    def read(self) -> str | None:
        """The href of the upload that was begun; None when there is none, or the entry cannot be read."""
        try:
            entry = json.loads(self._entry.read_bytes())
            return str(entry["upload"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, upload: str) -> None:
        """Note the href of the upload, whole or not at all. Raises OSError."""
        with tempfile.NamedTemporaryFile("w", dir=self._entry.parent, prefix=".new-", delete=False) as file:
            try:
                json.dump({**self._about, "upload": upload}, file)
                file.flush()
                os.fsync(file.fileno())
                file.close()  # Windows renames no open file
                os.replace(file.name, self._entry)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)  # an interrupt may come after the replacement
                raise

    def forget(self) -> None:
        """The upload is done, or gone."""
        self._entry.unlink(missing_ok=True)

    def _clear_old(self) -> None:
        oldest = time.time() - _KEEP_SECONDS
        for path in self._entry.parent.iterdir():
            with suppress(FileNotFoundError):  # other transfers come and go meanwhile
                if path != self._lock and path.lstat().st_mtime < oldest:
                    path.unlink()
