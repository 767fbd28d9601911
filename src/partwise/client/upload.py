"""One upload from the first question to the verified artifact.

1. find: the journal names an earlier upload of this very file; ask the server for it, or create one.
2. copy: what the server has of another version of the file, it copies (`delta`).
3. send: what the server does not have (`plan`), over several connections (`transfer`), while a thread makes the
   file's SHA-256 (`source`).
4. commit: with that digest. Where the server found another, compare its chunks' digests with our own, send the bad
   chunks again, and commit again.

Whatever the server says in between (ranges lost in a power cut, chunks of another client) is met by asking it again
what it has: 3 and 4 run in rounds, and the server's list of chunks is the only truth about what is missing.
"""

from __future__ import annotations

import mimetypes
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from partwise.client.delta import DeltaUpload, Hooks, is_hopeless
from partwise.client.errors import (
    AnswerError,
    Cancelled,
    CannotReachServer,
    ClientError,
    Conflict,
    FileChanged,
    NotFound,
    VerificationFailed,
)
from partwise.client.http import Http
from partwise.client.journal import Journal
from partwise.client.line import Line
from partwise.client.models import ArtifactInfo, Observer, Phase, UploadInfo, UploadResult
from partwise.client.plan import MOST_CHUNKS, choose_chunk_size, plan
from partwise.client.retry import Patience, persist
from partwise.client.source import FileHasher, LocalFile
from partwise.client.transfer import Counters, Transfer
from partwise.core.ranges import ByteRange

T = TypeVar("T")

DEFAULT_PARALLEL = 8
#: A server that is not there at the start is a mistake in the address more often than a restart.
_FIRST_PATIENCE_SECONDS = 2.0
#: Rounds of sending and committing before the client gives up on an upload that never becomes whole.
_MOST_ROUNDS = 5
_MOST_REPAIRS = 2
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to upload. ``chunk_size`` (bytes) and ``parallel`` None: as the server advises."""

    name: str | None = None
    chunk_size: int | None = None
    parallel: int | None = None
    verify_chunks: bool = False
    resume: bool = True
    #: The artifact to compare with; None: the owner's newest one of the same name.
    base: ArtifactInfo | None = None
    #: Whether to send only what a base lacks. None: where that is likely to be quicker.
    delta: bool | None = None
    #: The path of an open upload to go on with, whoever began it; what the journal says does not count then.
    upload: str | None = None
    patience_seconds: float = 300
    journal_folder: Path | None = None


class Uploader:
    """Uploads one file once."""

    def __init__(
        self, http: Http, file: LocalFile, options: Options, observer: Observer, cancelled: threading.Event
    ) -> None:
        """``file`` stays the caller's to close, after `run`."""
        self._http, self._file, self._options = http, file, options
        self._observer, self._cancelled = observer, cancelled
        self._patience = Patience(min(options.patience_seconds, _FIRST_PATIENCE_SECONDS))
        self._counters = Counters()
        self._observing = threading.Lock()
        self._sent = 0
        self._copied = 0
        self._troubled = False
        self._repaired: list[ByteRange] = []
        self._verdict = ""
        #: What a later run finds the upload by; None: nothing does.
        self._journal: Journal | None = None

    def run(self) -> UploadResult:
        """The whole upload. Raises ClientError and its kind, OSError where the journal's folder fails."""
        began = time.monotonic()
        with ExitStack() as stack:
            self._journal = self._enter_journal(stack)
            upload, resumed = self._find()
            # From here on the server has answered once, so it is worth waiting for.
            self._patience = Patience(self._options.patience_seconds)
            skipped = len(upload.chunks)
            try:
                upload, artifact, sha256 = self._complete(upload)
            except BaseException as error:
                if self._is_over(error):
                    self._give_up(upload.href)
                raise
            if self._journal is not None:
                self._journal.forget()
        return UploadResult(
            name=self._name,
            size=self._file.size,
            sha256=sha256,
            upload=upload.href,
            artifact=artifact,
            resumed=resumed,
            chunks_sent=self._counters.chunks_sent,
            chunks_skipped=skipped,
            bytes_sent=self._counters.bytes_sent,
            bytes_copied=self._copied,
            retries=self._counters.retries,
            chunks_repaired=len(self._repaired),
            seconds=time.monotonic() - began,
        )

    @property
    def _name(self) -> str:
        name = self._options.name or self._file.path.name
        return name.encode(errors="replace").decode()  # names of files need not be text

    def _enter_journal(self, stack: ExitStack) -> Journal | None:
        journal = Journal(self._http.origin + self._http.root, self._file, self._options.journal_folder)
        try:
            return stack.enter_context(journal)
        except OSError as error:
            self._cannot_be_resumed(error)
            return None

    def _cannot_be_resumed(self, error: OSError) -> None:
        self._note(f"This upload cannot be resumed if it is cut: {error.strerror} ({error.filename}).")

    def _remember(self, href: str) -> None:
        """Note for a later run which upload this is."""
        if self._journal is not None:
            try:
                self._journal.write(href)
            except OSError as error:
                self._cannot_be_resumed(error)
                self._journal = None

    def _is_over(self, error: BaseException) -> bool:
        """Whether no later run goes on with this upload: then the room that it reserves is given back."""
        if self._options.upload is not None:
            return False  # somebody else's
        return self._journal is None or isinstance(error, FileChanged)

    def _give_up(self, href: str) -> None:
        """Delete the upload, if the server can be reached now; else it expires there."""
        with suppress(ClientError):
            self._http.call("DELETE", href)
        if self._journal is not None:
            self._journal.forget()

    def _complete(self, upload: UploadInfo) -> tuple[UploadInfo, str, str]:
        """Send what the server lacks, and commit: the upload, the artifact's href, the digest."""
        hasher = FileHasher(self._file)
        try:
            return self._rounds(upload, hasher)
        finally:
            hasher.stop()

    def _find(self) -> tuple[UploadInfo, bool]:
        """The upload to work on, and whether it was there before."""
        if self._options.upload is not None:
            return self._take_over(self._options.upload), True
        href = self._journal.read() if self._journal is not None and self._options.resume else None
        if href is not None:
            try:
                upload = self._get(href)
            except NotFound:
                self._note("The earlier upload of this file is gone (expired or deleted): starting anew.")
            else:
                if upload.size == self._file.size:
                    received = sum(chunk.size for chunk in upload.chunks)
                    self._note(f"Going on with an earlier upload: {received} of {upload.size} bytes are there.")
                    return upload, True
        request: dict[str, Any] = {"size": self._file.size, "filename": self._name}
        media_type, encoding = mimetypes.guess_type(self._name)
        if media_type and not encoding:
            request["media_type"] = media_type
        # Not repeated when its answer is lost: that would reserve the space twice.
        upload = UploadInfo.parse(self._ask("POST", "uploads/", data=request, again=_was_not_done)[1])
        self._remember(upload.href)
        return upload, False

    def _take_over(self, href: str) -> UploadInfo:
        """An upload begun elsewhere. That its bytes are this file's shows at the commit, which repairs what differs."""
        upload = self._get(href)
        if upload.size != self._file.size:
            raise VerificationFailed(
                f"The upload was created for {upload.size} bytes, but {self._name} has {self._file.size}."
            )
        self._remember(upload.href)
        return upload

    def _rounds(self, upload: UploadInfo, hasher: FileHasher) -> tuple[UploadInfo, str, str]:
        """Send and commit until there is an artifact: the upload, the artifact's href, the digest."""
        options = self._options
        chunk_size = choose_chunk_size(self._file.size, options.chunk_size, upload.chunk_size)
        transfer = Transfer(
            self._http,
            self._file,
            upload.href,
            line=Line(
                most_parallel=upload.parallel or DEFAULT_PARALLEL,
                most_bytes=chunk_size,
                least_bytes=-(-self._file.size // MOST_CHUNKS) or 1,
                parallel=options.parallel,
                part_bytes=options.chunk_size,
            ),
            verify_chunks=options.verify_chunks,
            patience=self._patience,
            cancelled=self._cancelled,
            counters=self._counters,
            on_taken=lambda piece: hasher.sending_reached(piece.end),
            on_progress=self._on_sent,
            on_trouble=self._on_trouble,
        )
        upload = self._fill_from_base(upload, transfer, hasher, chunk_size)
        repairs = 0
        for number in range(1, _MOST_ROUNDS + 1):
            try:
                pieces = plan(self._file.size, upload.chunks, chunk_size) if upload.state == "open" else []
                self._sent = self._file.size - sum(piece.size for piece in pieces)
                self._on_sent(0)
                transfer.send(pieces)
                sha256 = self._await_digest(hasher)
                self._file.check_unchanged()
                committed = self._commit(upload.href, sha256)
                if committed is not None:
                    return committed, self._artifact_of(committed, sha256), sha256
                if repairs == _MOST_REPAIRS:
                    break
                repairs += 1
                self._repair(upload.href, transfer)
            except Conflict:
                # Something else happened to this upload: look at what it is now, and go on from there.
                if number == _MOST_ROUNDS:
                    raise
            upload = self._get(upload.href)
        raise VerificationFailed(
            f"The server's copy of {self._name} is still wrong after repair. Nothing was committed. {self._verdict}"
        )

    def _fill_from_base(
        self, upload: UploadInfo, transfer: Transfer, hasher: FileHasher, chunk_size: int
    ) -> UploadInfo:
        """Have the server copy what it has of the file already, and send the rest; the upload as it is then."""
        if self._options.delta is False or upload.state != "open":
            return upload
        hooks = Hooks(
            ask=self._ask,
            patience=self._patience,
            send=lambda spans: transfer.send(list(spans)),
            stop_sending=transfer.stop,
            reached=hasher.sending_reached,
            copied=self._on_copied,
            note=self._note,
            cancelled=self._cancelled,
        )
        self._sent = upload.received
        delta = DeltaUpload(self._file, self._name, base=self._options.base, always=self._options.delta is True)
        try:
            filled = delta.fill(upload, self._http, chunk_size, hooks)
        except (Conflict, AnswerError) as error:
            if not (isinstance(error, Conflict) or is_hopeless(error)):
                raise
            self._note(f"Sending the whole file: {error}")
            filled = True
        return self._get(upload.href) if filled else upload

    def _on_copied(self, count: int) -> None:
        self._copied += count
        self._on_sent(count)

    def _await_digest(self, hasher: FileHasher) -> str:
        hasher.sending_reached(self._file.size)
        while (digest := hasher.wait(0.1)) is None:
            self._progress(Phase.HASHING, hasher.hashed, self._file.size)
            if self._cancelled.is_set():
                raise Cancelled("Stopped.")
        return digest

    def _commit(self, href: str, sha256: str) -> UploadInfo | None:
        """The completed upload; None when what the server has is not what ``sha256`` says."""
        self._progress(Phase.VERIFYING, 0, self._file.size)
        try:
            status, body = self._ask("PUT", f"{href}commit", data={"sha256": sha256})
        except AnswerError as error:
            if error.status == 400 and "digest-mismatch" in error.type:
                self._verdict = str(error)
                return None
            raise
        if status != 202:
            return UploadInfo.parse(body)
        while True:
            task = self._ask("GET", body["task"])[1]
            if task["state"] == "completed":
                return self._get(href)
            if task["state"] in ("failed", "canceled"):
                self._verdict = str((task.get("error") or {}).get("description") or "The commit failed.")
                return None
            self._progress(Phase.VERIFYING, _task_progress(task, self._file.size), self._file.size)
            if self._cancelled.wait(_POLL_SECONDS):
                raise Cancelled("Stopped.")

    def _repair(self, href: str, transfer: Transfer) -> None:
        """Send again the chunks whose bytes on the server are not ours. Raises VerificationFailed if there are none."""
        self._note("The server could not verify its copy: looking for bad chunks.")
        stored = self._ask("GET", href, query={"digests": "true"})[1]
        bad = []
        for chunk in stored.get("chunks", ()):
            span = ByteRange(int(chunk["offset"]), int(chunk["size"]))
            if chunk.get("sha256") and chunk["sha256"] != self._file.sha256(span):
                bad.append(span)
        self._file.check_unchanged()
        if not bad:
            raise VerificationFailed(
                f"Each chunk on the server matches the file, but the commit failed: {self._verdict}"
            )
        self._note(f"Sending {len(bad)} bad chunk(s) again: bytes {', '.join(str(span) for span in bad[:5])}.")
        self._repaired += bad
        self._sent -= sum(span.size for span in bad)
        transfer.send(bad, exact=True)

    def _artifact_of(self, upload: UploadInfo, sha256: str) -> str:
        if upload.sha256 not in (None, sha256):
            raise VerificationFailed(
                f"Checksum mismatch: the server has the SHA-256 {upload.sha256}, the file {sha256}."
            )
        if upload.artifact:
            return upload.artifact
        # Servers that only speak Pulp's dialect make the artifact known by its digest.
        found = self._ask("GET", "artifacts/", query={"sha256": sha256, "limit": 1})[1]["results"]
        if not found:
            raise VerificationFailed(f"The server has no artifact with the SHA-256 {sha256}.")
        return ArtifactInfo.parse(found[0]).href

    def _get(self, href: str) -> UploadInfo:
        return UploadInfo.parse(self._ask("GET", href)[1])

    def _ask(
        self,
        method: str,
        href: str,
        *,
        query: Mapping[str, str | int] | None = None,
        data: Any = None,
        again: Callable[[ClientError], bool] | None = None,
    ) -> tuple[int, dict[str, Any]]:
        def count(error: ClientError, pause: float) -> None:
            self._counters.retries += 1
            self._on_trouble(error)

        options: dict[str, Any] = {} if again is None else {"again": again}
        return persist(
            lambda: self._http.call(method, href, query=query, data=data),
            self._patience,
            self._cancelled,
            on_retry=count,
            **options,
        )

    def _on_sent(self, count: int) -> None:
        with self._observing:
            self._sent += count
            if count > 0:
                self._troubled = False
            self._observer.progress(Phase.SENDING, self._sent, self._file.size)

    def _on_trouble(self, error: ClientError) -> None:
        # Eight connections that break together are one piece of news.
        with self._observing:
            if not self._troubled:
                self._observer.note(f"{error} Trying again.")
            self._troubled = True

    def _progress(self, phase: Phase, done: int, total: int) -> None:
        with self._observing:
            self._observer.progress(phase, done, total)

    def _note(self, message: str) -> None:
        with self._observing:
            self._observer.note(message)


def _was_not_done(error: ClientError) -> bool:
    """Whether the request surely changed nothing: no connection, or an answer that says "not now"."""
    if isinstance(error, CannotReachServer):
        return error.before_request
    return isinstance(error, AnswerError) and error.status in (429, 503)


def _task_progress(task: Mapping[str, Any], size: int) -> int:
    """Bytes verified so far, from the first progress report that counts."""
    for report in task.get("progress_reports") or ():
        if report.get("total"):
            return size * int(report.get("done") or 0) // int(report["total"])
    return 0
