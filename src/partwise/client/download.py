"""Downloads an artifact: into a ``.part`` file, resumed by Range, verified, and only then under its name."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import threading
import time
from pathlib import Path
from typing import BinaryIO

import urllib3

from partwise.client.errors import AlreadyRunning, Cancelled, CannotReachServer, ClientError, VerificationFailed
from partwise.client.http import Http
from partwise.client.models import ArtifactInfo, DownloadResult, Observer, Phase
from partwise.client.retry import Patience, persist
from partwise.client.source import BLOCK


class Downloader:
    """Downloads one artifact once."""

    def __init__(
        self, http: Http, artifact: ArtifactInfo, target: Path, observer: Observer, cancelled: threading.Event
    ) -> None:
        """``target`` is replaced if it exists."""
        self._http, self._artifact, self._target = http, artifact, target
        self._observer, self._cancelled = observer, cancelled
        self._received = 0
        self._retries = 0

    def run(self, patience_seconds: float) -> DownloadResult:
        """Raises VerificationFailed when the bytes are not the artifact's, OSError where the disk fails."""
        began = time.monotonic()
        _check_target(self._target)
        # The name holds part of the digest, so that what is resumed is the same artifact.
        part = self._target.with_name(f"{self._target.name}.{self._artifact.sha256[:12]}.part")
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        with open(fd, "r+b", buffering=0) as file:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(f"{self._target} is being downloaded by another process already.") from None
            self._fill(file, part, Patience(patience_seconds))
            os.fsync(fd)
            os.replace(part, self._target)
        return DownloadResult(
            path=str(self._target),
            size=self._artifact.size,
            sha256=self._artifact.sha256,
            bytes_received=self._received,
            retries=self._retries,
            seconds=time.monotonic() - began,
        )

    def _fill(self, file: BinaryIO, part: Path, patience: Patience) -> None:
        digest = hashlib.sha256()
        buffer = bytearray(BLOCK)
        have = 0
        while count := file.readinto(buffer):  # type: ignore[attr-defined]
            digest.update(memoryview(buffer)[:count])
            have += count
        if have:
            self._observer.note(f"Going on with an earlier download: {have} of {self._artifact.size} bytes are there.")

        def attempt() -> None:
            nonlocal have
            while have < self._artifact.size:
                have += self._receive(file, have, digest)
                patience.succeeded()

        def count_retry(error: ClientError, pause: float) -> None:
            self._retries += 1
            self._observer.note(f"{error} Trying again.")

        persist(attempt, patience, self._cancelled, on_retry=count_retry)
        if have != self._artifact.size or digest.hexdigest() != self._artifact.sha256:
            # Kept, it would be resumed and fail for ever.
            part.unlink()
            raise VerificationFailed(
                f"What came has the SHA-256 {digest.hexdigest()}, not {self._artifact.sha256}; it was thrown away."
            )

    def _receive(self, file: BinaryIO, have: int, digest: hashlib._Hash) -> int:
        """Append what comes of the rest, up to the first cut: how many bytes that were. Raises if there were none."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": f'"{self._artifact.sha256}"'}
        response = self._http.request("GET", f"{self._artifact.href}download/", headers=headers, stream=True)
        begin = have
        try:
            if response.status != (206 if have else 200):
                raise ClientError("The server does not resume downloads of this artifact; delete the .part file.")
            while block := response.read(BLOCK, decode_content=False):
                digest.update(block)
                view = memoryview(block)
                while view:
                    view = view[file.write(view) :]
                have += len(block)
                self._received += len(block)
                self._observer.progress(Phase.RECEIVING, have, self._artifact.size)
                if self._cancelled.is_set():
                    raise Cancelled("Stopped.")
        except urllib3.exceptions.HTTPError as error:
            if have == begin:
                raise CannotReachServer("The connection was cut.") from error
        finally:
            response.close()
        if have == begin:
            raise CannotReachServer("The server sent nothing.")
        return have - begin


def _check_target(target: Path) -> None:
    """Raise OSError where no file may take the place of what is there: a folder, or a device such as /dev/null."""
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise OSError(errno.EEXIST, "is no regular file, and stays", str(target))
