"""The data folder as a place: whose it is, and whether it is still there.

``DATA/installation`` holds the id of the installation whose records describe the folder. A server with other records
refuses to start there: it would take every file for an orphan. While a server runs, the file is the proof that the
folder is the one it started with: where it cannot be read, a file that is missing says nothing (a volume went away).
"""

from __future__ import annotations

import os
from contextlib import suppress

from partwise.core.errors import StorageFailed
from partwise.storage.artifact_files import FOLDERS
from partwise.storage.files import SystemCalls, failures, opened, plain_files, sync_folder

#: The name of the marker.
MARKER = "installation"


class Place:
    """The folder ``data``. Every method blocks: use a thread."""

    def __init__(self, data: str, calls: SystemCalls) -> None:
        self._data, self._calls = data, calls
        self._marker = os.path.join(data, MARKER)
        #: The installation that this process serves; None before ``bind``.
        self._installation: str | None = None

    def bind(self, installation: str, *, recorded: bool) -> None:
        """Make sure that the folder belongs to ``installation``, and mark it where no marker says so yet.

        ``recorded``: the database has chunks or artifacts. Raises StorageFailed, with what to do, when the folder is
        another installation's, or when one of folder and database is empty and the other is not.
        """
        with failures("read the marker of the installation"):
            found = self._read()
        if found is None:
            held = self._holds_files()
            if held and not recorded:
                raise StorageFailed(
                    f"{self._data} holds files, but the metadata database is empty. Is it the right database? Every "
                    "file would be taken for an orphan. Restore the database that belongs to the folder, or use an "
                    "empty folder."
                )
            if recorded and not held:
                raise StorageFailed(
                    f"The metadata database knows chunks or artifacts, but {self._data} is empty. Is its volume not "
                    f"mounted? If their bytes are gone for good, write '{installation}' into the file {self._marker}, "
                    "and start again."
                )
            with failures("mark the data folder"):
                os.makedirs(self._data, mode=0o700, exist_ok=True)
                self._write(installation)
        elif found != installation:
            raise StorageFailed(
                f"{self._data} belongs to another installation ({found}) than the metadata database ({installation}). "
                "Use the database and the folder that belong together. If they do (one was restored from a copy), "
                f"delete the file {self._marker} and start again."
            )
        self._installation = installation

    def check(self) -> None:
        """Raise StorageFailed unless the folder is still the one that was bound, with all its folders."""
        if self._installation is None:
            return
        with failures("read the marker of the installation"):
            found = self._read()
        if found != self._installation:
            raise StorageFailed(f"The data folder is not there: {self._marker} is missing or another installation's.")
        with failures("look at the data folder"):
            artifacts = os.path.join(self._data, "artifacts")
            missing = set(FOLDERS) - set(os.listdir(artifacts))
            os.stat(os.path.join(self._data, "staging"))
        if missing:
            raise StorageFailed(
                f"{len(missing)} folders below {artifacts} are missing, for example {min(missing)}: restart the "
                "server, which makes them again."
            )

    def _read(self) -> str | None:
        with suppress(FileNotFoundError), opened(self._marker, os.O_RDONLY | os.O_NONBLOCK) as fd:
            return os.read(fd, 100).decode("ascii", "replace").strip()
        return None

    def _write(self, installation: str) -> None:
        """Write the marker whole, or not at all; several processes may do so at once, with the same id."""
        new = f"{self._marker}.{os.getpid()}"
        with opened(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
            os.write(fd, f"{installation}\n".encode())
            self._calls.fsync(fd)
        os.rename(new, self._marker)
        sync_folder(self._calls, self._data)

    def _holds_files(self) -> bool:
        folders = [os.path.join(self._data, "staging")]
        folders += [os.path.join(self._data, "artifacts", name) for name in FOLDERS]
        return any(True for folder in folders for _ in plain_files(folder))
