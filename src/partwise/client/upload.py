"""One upload from the first question to the verified artifact.

A small file is sent in one request (`whole`). Any other:

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

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partwise.client.delta import DeltaUpload, Hooks, is_hopeless
from partwise.client.errors import (
    AnswerError,
    Cancelled,
    ClientError,
    Conflict,
    FileChanged,
    NotFound,
    VerificationFailed,
)
from partwise.client.http import Http
from partwise.client.job import DEFAULT_PARALLEL, UploadJob
from partwise.client.journal import Journal
from partwise.client.line import Line
from partwise.client.models import ArtifactInfo, Observer, Phase, UploadInfo, UploadResult
from partwise.client.plan import MOST_CHUNKS, choose_chunk_size, plan
from partwise.client.source import FileHasher, LocalFile, Source
from partwise.client.transfer import Transfer
from partwise.client.whole import fits, send_whole
from partwise.core.ranges import ByteRange

#: Rounds of sending and committing before the client gives up on an upload that never becomes whole.
_MOST_ROUNDS = 5
_MOST_REPAIRS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of an upload. ``chunk_size`` (bytes) and ``parallel`` None: as the server advises."""

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


class Uploader(UploadJob):
    """Uploads one file, or bytes in memory, once."""

    def __init__(
        self, http: Http, file: Source, options: Options, observer: Observer, cancelled: threading.Event
    ) -> None:
        """``file`` stays the caller's to close, after `run`."""
        super().__init__(http, options.name or file.name, file.size, observer, cancelled, options.patience_seconds)
        self._file, self._options = file, options
        self._copied = 0
        self._repaired: list[ByteRange] = []
        #: What a later run finds the upload by; None: nothing does.
        self._journal: Journal | None = None

    def run(self) -> UploadResult:
        """The whole upload. Raises ClientError and its kind, OSError where the journal's folder fails."""
        began = time.monotonic()
        with ExitStack() as stack:
            self._journal = self._enter_journal(stack)
            if (whole := self._send_whole()) is not None:
                return self._result_of_whole(whole, time.monotonic() - began)
            upload, resumed = self._find()
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
            kept_as=upload.other_name,
        )

    def _send_whole(self) -> ArtifactInfo | None:
        """Send a small file in one request; its artifact. None: it needs an upload, or has one that was cut."""
        options = self._options
        asks_for_upload = options.upload or options.base or options.delta or self._http.limit is not None
        smaller_parts = options.chunk_size is not None and options.chunk_size < self._file.size
        if asks_for_upload or smaller_parts or not fits(self._name, self._file.size):
            return None
        if options.resume and self._journal is not None and self._journal.read() is not None:
            return None
        return send_whole(self._file, self._name, self._post_whole)

    def _post_whole(self, body: bytes, content_type: str, again: Callable[[ClientError], bool]) -> dict[str, Any]:
        return self._persist(lambda: self._http.post("artifacts/", body, content_type), again)

    def _result_of_whole(self, artifact: ArtifactInfo, seconds: float) -> UploadResult:
        self._on_sent(self._file.size)
        return UploadResult(
            name=self._name,
            size=artifact.size,
            sha256=artifact.sha256,
            upload=None,
            artifact=artifact.href,
            resumed=False,
            chunks_sent=1 if artifact.size else 0,
            chunks_skipped=0,
            bytes_sent=artifact.size,
            retries=self._counters.retries,
            chunks_repaired=0,
            seconds=seconds,
            kept_as=artifact.filename if artifact.filename != self._name else None,
        )

    def _enter_journal(self, stack: ExitStack) -> Journal | None:
        if not isinstance(self._file, LocalFile):
            return None  # bytes in memory are gone with this process
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
        """Return whether no later run can resume this upload, so that its reserved space is released."""
        if self._options.upload is not None:
            return False  # somebody else's
        return self._journal is None or isinstance(error, FileChanged)

    def _give_up(self, href: str) -> None:
        """Delete the upload, and what a later run would find it by."""
        self._delete(href)
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
                    self._note(f"Resuming an earlier upload. The server has {received} of {upload.size} bytes.")
                    return upload, True
        upload = self._create()
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
            total=self._file.size,
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
                committed = self._commit(upload.href, sha256, self._file.size)
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
        """Let the server copy the ranges that it already has, and send the rest. Return the resulting upload."""
        if self._options.delta is False or upload.state != "open" or not (self._name or self._options.base):
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
