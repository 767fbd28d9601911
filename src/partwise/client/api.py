"""The client for programs: `Client`. Its calls as coroutines are in ``aio.py``."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from partwise.client.download import Downloader
from partwise.client.errors import Cancelled, ClientError, NotFound, local_errors
from partwise.client.http import Http
from partwise.client.models import (
    ArtifactInfo,
    DownloadResult,
    EventBatch,
    EventInfo,
    Observer,
    Phase,
    Progress,
    UploadInfo,
    UploadResult,
    observing,
    spellings_of,
)
from partwise.client.plan import MIB
from partwise.client.profiles import find_server
from partwise.client.receive import Receiver, Writable, check_writable, write_all
from partwise.client.retry import Patience, is_away, persist
from partwise.client.source import LocalFile, Memory
from partwise.client.stream import Bytes, Readable, Stream
from partwise.client.streaming import upload_stream
from partwise.client.throttle import RateLimit
from partwise.client.upload import Options, Uploader
from partwise.core.digests import is_sha256
from partwise.core.ranges import ByteRange

_PAGE = 100
T = TypeVar("T")
#: What can be uploaded.
UploadSource = str | os.PathLike[str] | Bytes | Readable | Iterable[Bytes]


class Client:
    """Talks to one server. Threads may share it; a context manager that closes its connections.

    All calls raise `ClientError` and its kind: CannotReachServer, NotFound, NotAllowed, NoRoom, Conflict, … An argument
    that no call can take, such as a ``chunk_size`` of 0, is a mistake in the program: TypeError or ValueError.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        token: str | None = None,
        profile: str | None = None,
        patience_seconds: float = 300,
        timeout_seconds: float = 60,
        limit_rate: int | None = None,
    ) -> None:
        """``server`` is a URL. What is not given is taken from PARTWISE_SERVER and PARTWISE_TOKEN, else from a profile.

        ``token=""`` sends none. ``profile`` is the name of one that `partwise login` stored; it takes the place of the
        environment. ``patience_seconds``: how long a transfer goes on trying while every request fails.
        ``timeout_seconds``: the longest silence of the server within one request. ``limit_rate``: bytes of files that
        all transfers together send and receive each second, at most.
        """
        found = find_server(server, token, profile)
        self._http = Http(
            found.server,
            token=found.token,
            timeout_seconds=timeout_seconds,
            connections=64,
            limit=None if limit_rate is None else RateLimit(limit_rate),
        )
        self._patience_seconds = patience_seconds

    def upload(
        self,
        source: UploadSource,
        *,
        name: str | None = None,
        size: int | None = None,
        chunk_size: int | None = None,
        parallel: int | None = None,
        verify_chunks: bool = False,
        resume: bool = True,
        base: str | ArtifactInfo | None = None,
        delta: bool | None = None,
        upload: str | None = None,
        progress: Progress | None = None,
        observer: Observer | None = None,
        cancelled: threading.Event | None = None,
        journal_folder: Path | None = None,
    ) -> UploadResult:
        """Upload a file in parallel chunks and return its verified artifact.

        ``source`` is a path, bytes, a binary file object, or an iterable of bytes. A file object is read from where it
        stands to its end, and stays open. Parts of it and of an iterable wait in memory until the server has them:
        64 MiB at most, or a ``chunk_size`` for each connection and one more. Both are read in the thread of the caller.

        ``name`` is the file name that the server notes (default: the path's own). ``size`` (bytes) is that of an
        iterable or file object, if you know it: then the space is reserved first. ``chunk_size`` is in bytes;
        ``parallel`` is the number of connections; both default to the server's advice. ``verify_chunks`` sends a
        digest with each chunk, so that a damaged one is refused on arrival (RFC 9530). ``progress`` is called with the
        bytes that were sent and their total (None: not known), from several threads, one call at a time; ``observer``
        hears more. What either raises ends the transfer. Set ``cancelled`` from another thread to stop with
        `Cancelled`.

        With ``resume`` an earlier unfinished upload of the same path is taken up, as noted in ``journal_folder``;
        ``upload`` (an id or href) names one to go on with that was begun elsewhere, such as in a browser. What was not
        uploaded from a path cannot be resumed, so that an upload that fails is removed.

        With ``delta`` only what changed is sent: the server copies the rest from ``base`` (an artifact's SHA-256, id or
        href), or from your newest artifact of the same name. None decides by the size and the speed of the line. File
        objects and iterables are sent as they are.

        Raises FileChanged, VerificationFailed, AlreadyRunning, SourceFailed; LocalFileError when the file cannot be
        opened; TypeError and ValueError for what is no source, such as a file in text mode.
        """
        whole = isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview))
        if not whole and (base is not None or delta or upload is not None):
            raise ValueError("base, delta and upload need a path or bytes: a stream is read once.")
        options = Options(
            name=name,
            chunk_size=_positive("chunk_size", chunk_size),
            parallel=_positive("parallel", parallel),
            verify_chunks=verify_chunks,
            resume=resume,
            base=self.artifact(base) if isinstance(base, str) else base,
            delta=delta,
            upload=None if upload is None else _href("uploads", upload),
            patience_seconds=self._patience_seconds,
            journal_folder=journal_folder,
        )
        observer = observing(observer, progress)
        # An event of its own: the end of this transfer must not stop the caller's others.
        cancelled = cancelled or threading.Event()
        if isinstance(source, (bytes, bytearray, memoryview)):
            memory = Memory(memoryview(source).cast("B"))
            return Uploader(self._http, memory, options, observer, cancelled).run()
        if isinstance(source, (str, os.PathLike)):
            with local_errors(), LocalFile(source) as file:
                return Uploader(self._http, file, options, observer, cancelled).run()
        return upload_stream(self._http, Stream(source, size), options, observer, cancelled)

    def download(
        self,
        artifact: str | ArtifactInfo,
        target: str | os.PathLike[str] | Writable,
        *,
        overwrite: bool = False,
        base: str | os.PathLike[str] | None = None,
        delta: bool | None = None,
        progress: Progress | None = None,
        observer: Observer | None = None,
        cancelled: threading.Event | None = None,
    ) -> DownloadResult:
        """Download an artifact (its SHA-256, id or href) to a path or a binary file object, and verify it.

        To a path: the bytes go to a ``.part`` file beside it, which a later call takes up; it gets its name once the
        digest is right. A file that exists is replaced with ``overwrite`` only. What the local file ``base`` has is not
        received; without it, what the replaced file has, where that is likely to be quicker (``delta`` None), always
        (True) or never (False).

        To a file object: the bytes are written as they come, and verified at the end; after an error it has only some
        of them, or wrong ones. It stays open.

        Raises VerificationFailed, AlreadyRunning, TargetFailed; LocalFileError where the target exists or the disk
        fails; TypeError and ValueError for what is no target.
        """
        observer, cancelled = observing(observer, progress), cancelled or threading.Event()
        if not isinstance(target, (str, os.PathLike)):
            check_writable(target)
            if base is not None or delta or overwrite:
                raise ValueError("base, delta and overwrite need a path as the target.")
        found = artifact if isinstance(artifact, ArtifactInfo) else self.artifact(artifact)
        if not isinstance(target, (str, os.PathLike)):
            return self._download_to(found, target, observer, cancelled)
        with local_errors():
            job = Downloader(
                self._http,
                found,
                Path(target),
                observer,
                cancelled,
                base=None if base is None else Path(base),
                delta=delta,
                overwrite=overwrite,
            )
            return job.run(self._patience_seconds)

    def _download_to(
        self, artifact: ArtifactInfo, file: Writable, observer: Observer, cancelled: threading.Event
    ) -> DownloadResult:
        began = time.monotonic()
        receiver = Receiver(self._http, artifact, observer, cancelled, Patience(self._patience_seconds))
        for block in receiver.blocks():
            write_all(file, block)
        return DownloadResult(
            path="",
            size=artifact.size,
            sha256=artifact.sha256,
            bytes_received=receiver.received,
            retries=receiver.retries,
            seconds=time.monotonic() - began,
        )

    def stream(
        self,
        artifact: str | ArtifactInfo,
        *,
        progress: Progress | None = None,
        observer: Observer | None = None,
        cancelled: threading.Event | None = None,
    ) -> Generator[bytes, None, None]:
        """Iterate over the bytes of an artifact (its SHA-256, id or href), in blocks of at most 1 MiB.

        The digest is known at the end only: the iterator raises VerificationFailed then if the bytes were wrong, so
        trust none before it has ended. A connection that is cut is gone on with. Raises ClientError as `download`.
        """
        found = artifact if isinstance(artifact, ArtifactInfo) else self.artifact(artifact)
        observer, cancelled = observing(observer, progress), cancelled or threading.Event()
        return Receiver(self._http, found, observer, cancelled, Patience(self._patience_seconds)).blocks()

    def read(
        self,
        artifact: str | ArtifactInfo,
        *,
        max_size: int = 64 * MIB,
        progress: Progress | None = None,
        observer: Observer | None = None,
        cancelled: threading.Event | None = None,
    ) -> bytes:
        """Return the verified bytes of an artifact (its SHA-256, id or href).

        Raises ClientError, before anything is received, if it has more than ``max_size`` bytes.
        """
        found = artifact if isinstance(artifact, ArtifactInfo) else self.artifact(artifact)
        if found.size > max_size:
            raise ClientError(
                f"The artifact has {found.size} bytes, and max_size is {max_size}. Use a larger one, or download()."
            )
        return b"".join(self.stream(found, progress=progress, observer=observer, cancelled=cancelled))

    def upload_info(self, upload: str) -> UploadInfo:
        """The upload with this id or href, with its chunks. Raises NotFound."""
        return UploadInfo.parse(self._ask("GET", _href("uploads", upload)))

    def artifact(self, artifact: str) -> ArtifactInfo:
        """The artifact with this SHA-256, id or href. Raises NotFound."""
        if is_sha256(artifact.lower()):
            for found in self.artifacts(sha256=artifact.lower()):
                return found
            raise NotFound(404, f"No artifact has the SHA-256 {artifact}.", {})
        return ArtifactInfo.parse(self._ask("GET", _href("artifacts", artifact)))

    def find_artifact(self, reference: str) -> ArtifactInfo:
        """The artifact that a person names: by SHA-256, id or href, by its file name, or by how its SHA-256 begins.

        Of several with one name the newest. Raises NotFound; ClientError where several SHA-256 begin so.
        """
        if is_sha256(reference.lower()) or reference.startswith("/"):
            return self.artifact(reference)
        for name in spellings_of(reference):
            if found := next(self.artifacts(filename=name), None):
                return found
        if re.fullmatch(r"[0-9a-fA-F]{6,63}", reference, re.ASCII):
            begins = [each for each in self.artifacts() if each.sha256.startswith(reference.lower())]
            if len(begins) > 1:
                raise ClientError(
                    f"{len(begins)} artifacts have a SHA-256 that begins with {reference}. Give more of it."
                )
            if begins:
                return begins[0]
        try:
            return self.artifact(reference)
        except NotFound as error:
            raise NotFound(404, f"No artifact has the name, id or SHA-256 {reference}.", error.body) from None

    def find_content(
        self,
        path: str | os.PathLike[str],
        *,
        observer: Observer | None = None,
        cancelled: threading.Event | None = None,
    ) -> ArtifactInfo | None:
        """Your artifact that has exactly the bytes of a local file, which is read; None: there is none.

        Raises FileChanged, Cancelled; LocalFileError when the file cannot be opened.
        """
        with local_errors(), LocalFile(path) as file:
            digest, read = hashlib.sha256(), 0
            for block in file.blocks(ByteRange(0, file.size)) if file.size else ():
                digest.update(block)
                read += len(block)
                if observer is not None:
                    observer.progress(Phase.HASHING, read, file.size)
                if cancelled is not None and cancelled.is_set():
                    raise Cancelled("Stopped.")
            file.check_unchanged()
        return self.wait_for(
            lambda: next(self.artifacts(sha256=digest.hexdigest()), None), observer=observer, cancelled=cancelled
        )

    def uploads(self, *, search: str | None = None) -> Iterator[UploadInfo]:
        """Return all uploads that you may see, newest first, without their chunks. ``search`` filters by file name."""
        return map(UploadInfo.parse, self._pages("uploads/", {"search": search} if search else {}))

    def artifacts(
        self, *, sha256: str | None = None, filename: str | None = None, search: str | None = None
    ) -> Iterator[ArtifactInfo]:
        """Return all artifacts that you may see, newest first. Filter by SHA-256, name, or ``search`` in the name."""
        wanted = {"sha256": sha256, "filename": filename, "search": search}
        query: dict[str, str | int] = {name: value for name, value in wanted.items() if value}
        return map(ArtifactInfo.parse, self._pages("artifacts/", query))

    def events(
        self, *, after: str | None = None, types: Sequence[str] = (), limit: int = 100, wait: int = 0
    ) -> EventBatch:
        """The events behind the cursor ``after`` (None: from the oldest that is kept; ``"now"``: none of before).

        ``types`` are names such as ``upload.completed``; none: all. ``wait`` is in seconds: how long the server waits
        for an event when there is none, at most 55. Raises AnswerError with status 410 when events behind ``after``
        are not kept any more.
        """
        query: dict[str, str | int] = {"limit": limit, "wait": wait}
        if after is not None:
            query["after"] = after
        if types:
            query["types"] = ",".join(types)
        body = self._ask("GET", "events/", query)
        events = tuple(map(EventInfo.parse, _items(body, "events")))
        return EventBatch(events=events, cursor=body["cursor"], more=body["more"])

    def release(self, artifact: str, path: str) -> None:
        """Move the file of an artifact (id or href) to ``path`` below the server's ``release_folder``.

        For administrators. The artifact is gone then. The same call again answers the same. Raises Conflict, NotFound,
        NotAllowed.
        """
        href = f"{_href('artifacts', artifact)}release/"
        patience = Patience(min(self._patience_seconds, 2.0))
        persist(lambda: self._http.call("POST", href, data={"path": path}), patience, threading.Event())

    def delete_upload(self, upload: str) -> None:
        """Abort an upload, or take a completed one from the list; its artifact stays. Raises NotFound."""
        self._ask("DELETE", _href("uploads", upload))

    def delete_artifact(self, artifact: str) -> None:
        """Delete your link to an artifact (SHA-256, id or href); its bytes go with the last link. Raises NotFound."""
        href = self.artifact(artifact).href if is_sha256(artifact.lower()) else _href("artifacts", artifact)
        self._ask("DELETE", href)

    def check_access(self) -> str | None:
        """Ask the server whether it accepts this client. Returns the user's name, where the server tells it.

        Raises NotAllowed, CannotReachServer.
        """
        self._ask("GET", "uploads/", {"limit": 1})
        user = self._ask("GET", "status/").get("user")
        return user if isinstance(user, str) else None

    def wait_for(
        self,
        call: Callable[[], T],
        *,
        observer: Observer | None = None,
        cancelled: threading.Event | None = None,
    ) -> T:
        """Return what ``call`` returns, and call it again while the server is away, as a transfer does.

        The other calls do so for two seconds, since somebody may wait for the answer. Raises what ``call`` raises,
        and Cancelled.
        """
        told = False

        def tell_once(error: ClientError, pause: float) -> None:
            nonlocal told
            if observer is not None and not told:
                observer.note(f"{error} Trying again for up to {self._patience_seconds:.0f} s.")
            told = True

        return persist(
            call,
            Patience(self._patience_seconds),
            cancelled or threading.Event(),
            again=is_away,
            on_retry=tell_once,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, href: str, query: dict[str, str | int] | None = None) -> dict[str, Any]:
        # Someone waits for the answer: a second or two of trouble are passed over, no more.
        patience = Patience(min(self._patience_seconds, 2.0))
        return persist(lambda: self._http.call(method, href, query=query)[1], patience, threading.Event())

    def _pages(self, href: str, query: dict[str, str | int]) -> Iterator[dict[str, Any]]:
        page = self._ask("GET", href, {**query, "limit": _PAGE})
        yield from _items(page, "results")
        while page.get("next"):
            page = self._ask("GET", page["next"])
            yield from _items(page, "results")


def _items(page: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = page[name]
    if not isinstance(items, list):
        raise ClientError(f"The server's answer has no list {name!r}. Check that it is a partwise server.")
    return items


def _href(kind: str, reference: str) -> str:
    if reference.startswith("/"):
        return reference
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", reference, re.ASCII):
        raise NotFound(404, f"{reference!r} is not an id, a SHA-256 or an href.", {})
    return f"{kind}/{reference}/"


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ValueError(f"{name} must be at least 1.")
    return value
