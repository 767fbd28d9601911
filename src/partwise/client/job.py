"""Requests of every upload, whatever its source: create, commit, find the artifact, delete."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from partwise.client.errors import (
    AnswerError,
    Cancelled,
    ClientError,
    VerificationFailed,
)
from partwise.client.http import Http
from partwise.client.models import ArtifactInfo, Observer, Phase, UploadInfo
from partwise.client.retry import Patience, may_begin_later, persist
from partwise.client.transfer import Counters
from partwise.client.whole import media_type_of

T = TypeVar("T")

DEFAULT_PARALLEL = 8
_POLL_SECONDS = 0.2


class UploadJob:
    """One upload: its requests beside the chunks, and what its observer hears. Threads may share it."""

    def __init__(
        self,
        http: Http,
        name: str,
        size: int | None,
        observer: Observer,
        cancelled: threading.Event,
        patience_seconds: float,
    ) -> None:
        """``name`` may be empty; ``size`` (bytes) None: not known yet."""
        self._http, self._observer, self._cancelled = http, observer, cancelled
        self._name = name.encode(errors="replace").decode()  # names of files need not be text
        self._size = size
        self._patience = Patience(patience_seconds)
        self._counters = Counters()
        self._observing = threading.Lock()
        self._sent = 0
        self._troubled = False
        self._verdict = ""

    def _create(self) -> UploadInfo:
        request: dict[str, Any] = {"size": "unknown" if self._size is None else self._size}
        if self._name:
            request["filename"] = self._name
        if media_type := media_type_of(self._name):
            request["media_type"] = media_type
        # Not repeated when its answer is lost: that would reserve the space twice.
        return UploadInfo.parse(self._ask("POST", "uploads/", data=request, again=may_begin_later)[1])

    def _delete(self, href: str) -> None:
        """Delete the upload, if the server can be reached now; else it expires there."""
        with suppress(ClientError):
            self._http.call("DELETE", href)

    def _commit(self, href: str, sha256: str, size: int, *, declare: bool = False) -> UploadInfo | None:
        """The completed upload of ``size`` bytes; None when what the server has is not what ``sha256`` says.

        ``declare``: the server does not know the size yet.
        """
        wanted: dict[str, Any] = {"sha256": sha256} | ({"size": size} if declare else {})
        self._progress(Phase.VERIFYING, 0, size)
        try:
            status, body = self._ask("PUT", f"{href}commit", data=wanted)
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
            self._progress(Phase.VERIFYING, _task_progress(task, size), size)
            if self._cancelled.wait(_POLL_SECONDS):
                raise Cancelled("Stopped.")

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
        return self._persist(lambda: self._http.call(method, href, query=query, data=data), again)

    def _persist(self, attempt: Callable[[], T], again: Callable[[ClientError], bool] | None = None) -> T:
        def count(error: ClientError, pause: float) -> None:
            self._counters.retries += 1
            self._on_trouble(error)

        options: dict[str, Any] = {} if again is None else {"again": again}
        return persist(attempt, self._patience, self._cancelled, on_retry=count, **options)

    def _on_sent(self, count: int) -> None:
        with self._observing:
            self._sent += count
            if count > 0:
                self._troubled = False
            self._observer.progress(Phase.SENDING, self._sent, self._size)

    def _on_trouble(self, error: ClientError) -> None:
        # Eight connections that break together are one piece of news.
        with self._observing:
            if not self._troubled:
                self._observer.note(f"{error} Trying again for up to {self._patience.seconds:.0f} s.")
            self._troubled = True

    def _progress(self, phase: Phase, done: int, total: int) -> None:
        with self._observing:
            self._observer.progress(phase, done, total)

    def _note(self, message: str) -> None:
        with self._observing:
            self._observer.note(message)


def _task_progress(task: Mapping[str, Any], size: int) -> int:
    """Bytes verified so far, from the first progress report that counts."""
    for report in task.get("progress_reports") or ():
        if report.get("total"):
            return size * int(report.get("done") or 0) // int(report["total"])
    return 0
