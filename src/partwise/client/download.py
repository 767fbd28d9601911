"""Downloads an artifact, or what a local file lacks of it: into a ``.part`` file, resumed, verified, then named."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import urllib3

from partwise.client import files
from partwise.client.delta import PROBED_FILE, SMALLEST_FILE, is_fast
from partwise.client.errors import (
    AlreadyRunning,
    Cancelled,
    CannotReachServer,
    ClientError,
    FileChanged,
    VerificationFailed,
)
from partwise.client.http import Http, is_range_from
from partwise.client.models import ArtifactInfo, DownloadResult, Observer, Phase
from partwise.client.patching import Steps, find_steps
from partwise.client.retry import Patience, persist
from partwise.client.source import BLOCK, LocalFile, Unreadable
from partwise.core.delta import Send
from partwise.core.ranges import ByteRange

#: How often a file is received from its beginning where a cut download cannot be gone on with.
_WHOLE_TRIES = 5

#: File names have at most 255 bytes; this many are left for what is added to one.
_NAME_BYTES = 200


class _NoRanges(Exception):
    """The server did not return the requested part of the file."""


class Downloader:
    """Downloads one artifact once."""

    def __init__(
        self,
        http: Http,
        artifact: ArtifactInfo,
        target: Path,
        observer: Observer,
        cancelled: threading.Event,
        *,
        base: Path | None = None,
        delta: bool | None = None,
        overwrite: bool = False,
    ) -> None:
        """``overwrite``: ``target`` is replaced if it exists.

        ``base``: a local file to take bytes from; None: ``target`` itself, unless ``delta`` is False.
        """
        self._base, self._delta, self._overwrite = base, delta, overwrite
        self._patience = Patience(0)
        self._local = 0
        self._http, self._artifact, self._target = http, artifact, target
        self._observer, self._cancelled = observer, cancelled
        self._received = 0
        self._retries = 0

    def run(self, patience_seconds: float) -> DownloadResult:
        """Raises VerificationFailed when the bytes are not the artifact's, OSError where the disk fails."""
        began = time.monotonic()
        self._patience = Patience(patience_seconds)
        self._check_target()
        # The name holds part of the digest, so that what is resumed is the same artifact.
        name = os.fsdecode(os.fsencode(self._target.name)[:_NAME_BYTES])
        part = self._target.with_name(f"{name}.{self._artifact.sha256[:12]}.part")
        fd = files.open_file(part, "O_RDWR", "O_CREAT", "O_NOFOLLOW")
        with open(fd, "r+b", buffering=0) as file:
            if not files.try_lock(fd):
                raise AlreadyRunning(f"{self._target} is already being downloaded by another process.")
            with ExitStack() as stack:
                base = None if self._delta is False else self._open_base(stack)
                self._fill(_Part(file, part), base)
            os.fsync(fd)
            if os.name == "nt":
                file.close()  # an open file cannot be renamed there
            self._name(part)
        return DownloadResult(
            path=str(self._target),
            size=self._artifact.size,
            sha256=self._artifact.sha256,
            bytes_received=self._received,
            bytes_local=self._local,
            retries=self._retries,
            seconds=time.monotonic() - began,
        )

    def _check_target(self) -> None:
        """Raise OSError where the file may not take the place of what is there: a file, a folder, a device."""
        try:
            mode = self._target.lstat().st_mode
        except FileNotFoundError:
            return
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise OSError(errno.EEXIST, "is not a regular file, so it is not replaced", str(self._target))
        if not self._overwrite:
            raise self._exists()

    def _exists(self) -> OSError:
        return OSError(errno.EEXIST, "already exists, and is not replaced unless asked", str(self._target))

    def _name(self, part: Path) -> None:
        """Give the file its name. Raises FileExistsError if somebody else has made one meanwhile."""
        if self._overwrite:
            os.replace(part, self._target)
            return
        try:
            os.link(part, self._target)
        except FileExistsError:
            raise self._exists() from None
        except (OSError, AttributeError, NotImplementedError):  # a file system without hard links
            if os.path.lexists(self._target):
                raise self._exists() from None
            os.rename(part, self._target)
        else:
            part.unlink()

    def _open_base(self, stack: ExitStack) -> LocalFile | None:
        """The local file to compare with, if there is one that is worth it. OSError where the caller named one."""
        if self._base is not None:
            return stack.enter_context(LocalFile(self._base))
        if not self._overwrite:
            return None
        with suppress(OSError):
            base = stack.enter_context(LocalFile(self._target))
            if self._delta or min(base.size, self._artifact.size) >= SMALLEST_FILE:
                return base
        return None

    def _fill(self, part: _Part, base: LocalFile | None) -> None:
        part.read_back()
        if part.have > self._artifact.size:
            part.clear()
        if part.have:
            self._observer.note(f"Resuming an earlier download with {part.have} of {self._artifact.size} bytes.")
        try:
            self._fill_from(part, base)
        except _NoRanges:
            self._observer.note("A proxy or the server gives no parts of a file: receiving it from its beginning.")
            self._receive_whole(part)
        if part.have != self._artifact.size or part.sha256 != self._artifact.sha256:
            # Kept, it would be resumed and fail for ever.
            part.path.unlink()
            raise VerificationFailed(
                f"Checksum mismatch: the SHA-256 is {part.sha256}, not {self._artifact.sha256}. The bytes were deleted."
            )

    def _fill_from(self, part: _Part, base: LocalFile | None) -> None:
        """Take from ``base`` what it has, and receive the rest. Raises _NoRanges."""
        if base is not None and part.have < self._artifact.size:
            steps = None
            try:
                steps = self._find_steps(part, base)
            except (FileChanged, Unreadable) as error:
                self._observer.note(f"Receiving the whole file: {_unusable(base, error)}")
            if steps is not None:
                self._assemble(part, base, steps)
                if part.sha256 == self._artifact.sha256:
                    return
                self._observer.note("The local file was changed meanwhile: receiving the whole file.")
                part.clear()
                self._local = 0
        self._receive_to(part, self._artifact.size)

    def _receive_whole(self, part: _Part) -> None:
        """Receive the whole file in one response, if the server sends no parts, with a limited number of retries."""
        for _ in range(_WHOLE_TRIES):
            part.clear()
            self._local = 0
            with suppress(_NoRanges):
                self._receive_to(part, self._artifact.size)
                return
        raise CannotReachServer(
            f"The download cannot resume: the connection was closed {_WHOLE_TRIES} times, and a proxy or the server "
            "does not support ranges. Download over a direct connection."
        )

    def _find_steps(self, part: _Part, base: LocalFile) -> Steps | None:
        """Compare the local file with the artifact; None: receive all of it."""
        always = self._base is not None or self._delta is True
        probed = not always and not part.have and min(base.size, self._artifact.size) >= PROBED_FILE
        if probed and is_fast(base, lambda probe: self._receive_to(part, probe.end)):
            return None
        return find_steps(
            self._http, self._artifact, base, self._observer, self._patience, self._cancelled, always=always
        )

    def _assemble(self, part: _Part, base: LocalFile, steps: Steps) -> None:
        """Take from the local file what it has, and receive what it lacks."""
        while part.have < self._artifact.size:
            step = steps.at(part.have)
            if isinstance(step, Send):
                self._receive_to(part, step.range.end)
                continue
            try:
                for block in base.blocks(ByteRange(step.source, step.range.size)):
                    self._append(part, block)
                    self._local += len(block)
            except (FileChanged, Unreadable) as error:
                self._observer.note(f"Receiving bytes {step.range}: {_unusable(base, error)}")
                self._receive_to(part, step.range.end)

    def _receive_to(self, part: _Part, end: int) -> None:
        """Receive the bytes up to ``end``, whatever breaks on the way."""

        def attempt() -> None:
            while part.have < end:
                self._receive(part, end)
                self._patience.succeeded()

        def count_retry(error: ClientError, pause: float) -> None:
            self._retries += 1
            self._observer.note(f"{error} Trying again.")

        persist(attempt, self._patience, self._cancelled, on_retry=count_retry)

    def _receive(self, part: _Part, end: int) -> None:
        """Append what comes of the bytes up to ``end``, up to the first cut. Raises if there were none."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        begin = part.have
        if ranged := begin > 0 or end < self._artifact.size:
            last = end - 1 if end < self._artifact.size else ""
            headers |= {"Range": f"bytes={begin}-{last}", "If-Range": f'"{self._artifact.sha256}"'}
        response = self._http.stream(f"{self._artifact.href}download/", headers)
        try:
            if ranged and not is_range_from(begin, response):
                raise _NoRanges
            limit = self._http.limit
            while block := response.read(limit.piece_bytes if limit else BLOCK, decode_content=False):
                if limit is not None:
                    limit.take(len(block))
                # More than the whole is kept, so that the digest is wrong; more than a part is the next one's.
                wanted = len(block) if end == self._artifact.size else end - part.have
                self._append(part, memoryview(block)[:wanted])
                self._received += len(block)
                if part.have > self._artifact.size or part.have == end < self._artifact.size:
                    break
        except urllib3.exceptions.HTTPError as error:
            if part.have == begin:
                raise CannotReachServer("The connection was closed.") from error
        finally:
            response.close()
        if part.have == begin:
            raise CannotReachServer("The server sent no data.")

    def _append(self, part: _Part, block: memoryview) -> None:
        part.append(block)
        self._observer.progress(Phase.RECEIVING, part.have, self._artifact.size)
        if self._cancelled.is_set():
            raise Cancelled("Stopped.")


def _unusable(base: LocalFile, error: FileChanged | Unreadable) -> str:
    """The sentence on a local file that cannot be compared, or not to its end."""
    return str(error) if isinstance(error, Unreadable) else f"{base.path.name} became shorter meanwhile."


class _Part:
    """The file that grows, and the SHA-256 of what it has."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path, self.have = path, 0
        self._file, self._digest = file, hashlib.sha256()

    @property
    def sha256(self) -> str:
        """In hex, of all bytes so far."""
        return self._digest.hexdigest()

    def read_back(self) -> None:
        """Find out what it has already."""
        buffer = bytearray(BLOCK)
        while count := self._file.readinto(buffer):  # type: ignore[attr-defined]
            self._digest.update(memoryview(buffer)[:count])
            self.have += count

    def append(self, block: memoryview) -> None:
        """Write a block at its end."""
        self._digest.update(block)
        self.have += len(block)
        while block:
            block = block[self._file.write(block) :]

    def clear(self) -> None:
        """Begin again."""
        self._file.truncate(0)
        self._file.seek(0)
        self.have, self._digest = 0, hashlib.sha256()
