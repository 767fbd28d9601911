"""Sends chunks over several connections, one thread for each, lowest offset first.

How large a chunk is, and how many are on their way, is decided when one is taken: see ``line.py``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from partwise.client.errors import AnswerError, Cancelled, CannotReachServer, ClientError
from partwise.client.http import Http
from partwise.client.line import Line
from partwise.client.retry import Patience, persist, worth_another_try
from partwise.client.source import Source
from partwise.core.content_range import format_content_range
from partwise.core.ranges import MAX_SIZE, ByteRange, missing_ranges

#: How often a chunk is sent again when the server says that its bytes came in wrong.
_DAMAGED_TRIES = 3


@dataclass(slots=True)
class Counters:
    """Progress of a transfer."""

    chunks_sent: int = 0
    bytes_sent: int = 0
    retries: int = 0


class Transfer:
    """Sends chunks of one file. The threads end when nothing is left, at the first lasting error, or when cancelled."""

    def __init__(
        self,
        http: Http,
        file: Source,
        upload: str,
        *,
        total: int | None,
        line: Line,
        verify_chunks: bool,
        patience: Patience,
        cancelled: threading.Event,
        counters: Counters,
        on_taken: Callable[[ByteRange], None],
        on_progress: Callable[[int], None],
        on_trouble: Callable[[ClientError], None],
    ) -> None:
        """``total``: the bytes of the whole file; None: nobody knows yet.

        ``on_taken`` hears of each chunk taken up, ``on_progress`` of bytes sent (negative: they must go again).

        ``on_trouble`` hears of errors after which the chunk is sent again. All three are called from the threads.
        """
        self._http, self._file, self._upload, self._total = http, file, upload, total
        self._line, self._verify_chunks = line, verify_chunks
        self._patience, self._cancelled, self._counters = patience, cancelled, counters
        self._on_taken, self._on_progress, self._on_trouble = on_taken, on_progress, on_trouble
        #: Guards all below, the line and the counters; who waits for its turn to send waits here.
        self._lock = threading.Condition()
        self._busy = 0
        #: Whether a chunk was delivered since connections last broke.
        self._fruitful = False
        self._exact = False
        #: Whether more parts may come than are left now.
        self._coming = False
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._left: deque[ByteRange] = deque()

    def send(self, pieces: list[ByteRange], *, exact: bool = False) -> None:
        """Send all ``pieces``, each as one chunk or as several. Raises the first lasting error; Cancelled at a stop.

        ``exact``: as one each, since they are to take the places of chunks.
        """
        self._begin(pieces, self._line.most_parallel if pieces else 0, exact=exact)
        self._finish()

    def send_from(self, parts: Iterator[ByteRange | None]) -> None:
        """Send parts as they come from ``parts``, which is iterated in this thread; raises what it and `send` raise.

        It gives None where there is nothing now. It is not asked further once the transfer has failed, or is cancelled.
        """
        self._begin([], self._line.most_parallel, coming=True)
        try:
            for part in parts:
                if part is not None:
                    with self._lock:
                        self._left.append(part)
                        self._lock.notify_all()
                if self._cancelled.is_set() or self._stop.is_set():
                    self._stop.set()
                    break
            else:
                with self._lock:
                    self._coming = False
                    self._lock.notify_all()
        except BaseException:
            self._abandon()
            raise
        self._finish()

    def _begin(self, pieces: list[ByteRange], threads: int, *, exact: bool = False, coming: bool = False) -> None:
        self._left, self._exact, self._coming, self._busy = deque(pieces), exact, coming, 0
        self._stop = threading.Event()
        self._error = None
        self._threads = [
            threading.Thread(target=self._work, name=f"partwise-send-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _finish(self) -> None:
        """Wait until all is sent. Raises the first lasting error; Cancelled at a stop."""
        try:
            for thread in self._threads:
                while thread.is_alive():
                    thread.join(0.1)
                    if self._cancelled.is_set():
                        self._stop.set()
        except BaseException:
            self._abandon()
            raise
        if self._error is not None:
            raise self._error
        if self._left or self._coming:
            raise Cancelled("Stopped.")

    def _abandon(self) -> None:
        self._stop.set()
        with self._lock:
            self._lock.notify_all()
        for thread in self._threads:
            thread.join(2)

    def stop(self) -> None:
        """Let a running ``send`` end soon, with Cancelled. Call it from another thread."""
        self._stop.set()

    def _work(self) -> None:
        try:
            while (piece := self._take()) is not None:
                try:
                    self._send_piece(piece)
                finally:
                    with self._lock:
                        self._busy -= 1
                        self._lock.notify_all()
        except BaseException as error:
            with self._lock:
                self._error = self._error or error
                self._stop.set()
                self._lock.notify_all()

    def _take(self) -> ByteRange | None:
        """The next chunk to send, when one more may be on its way; None when this thread has no more to do."""
        with self._lock:
            while not self._stop.is_set():
                if self._left and self._busy < self._line.limit:
                    self._busy += 1
                    piece = self._cut(self._left.popleft())
                    # Under the lock, so that the calls come in the order of the offsets.
                    self._on_taken(piece)
                    return piece
                if not (self._left or self._busy or self._coming):
                    self._lock.notify_all()
                    return None
                self._lock.wait(0.5)  # a part that breaks may come back
        return None

    def _cut(self, piece: ByteRange) -> ByteRange:
        """As much of a piece as the line carries in a few seconds; the rest is put back."""
        most = self._line.part_bytes
        if self._exact or piece.size <= most:
            return piece
        self._left.appendleft(ByteRange(piece.offset + most, piece.size - most))
        return ByteRange(piece.offset, most)

    def _send_piece(self, piece: ByteRange) -> None:
        """Send one chunk, however often it takes; of one that was cut only what the server did not keep."""
        damaged = 0
        #: Whether the server may have kept some of it.
        unsure = False

        def attempt() -> None:
            nonlocal piece, unsure
            if unsure:
                missing = self._missing(piece)
                self._on_progress(piece.size - sum(span.size for span in missing))
                unsure = False
                for kept in missing_ranges(piece.end, [ByteRange(0, piece.offset), *missing]):
                    self._file.done(kept)
                if not missing:
                    return
                piece = self._put_back_all_but_first(missing)
            self._send_once(piece)
            self._file.done(piece)

        def again(error: ClientError) -> bool:
            nonlocal damaged
            if isinstance(error, AnswerError) and error.status == 400 and "digest-mismatch" in error.type:
                damaged += 1
                return damaged < _DAMAGED_TRIES
            return worth_another_try(error) or self._is_kept_in_part(error)

        def on_retry(error: ClientError, pause: float) -> None:
            nonlocal piece, unsure
            unsure = self._keeps and (self._is_kept_in_part(error) or isinstance(error, CannotReachServer))
            with self._lock:
                self._counters.retries += 1
                if isinstance(error, CannotReachServer):
                    self._line.cut(time.monotonic(), fruitless=not self._fruitful)
                    self._fruitful = False
                elif not self._is_kept_in_part(error):
                    self._line.crowded()
                if not unsure:
                    piece = self._cut(piece)
            if not self._is_kept_in_part(error):
                self._on_trouble(error)

        persist(attempt, self._patience, self._stop, again=again, on_retry=on_retry)
        with self._lock:
            self._counters.chunks_sent += 1
        self._file.check_unchanged()

    @property
    def _keeps(self) -> bool:
        """Return whether the server keeps the bytes of an interrupted chunk. Not if their digest is sent."""
        return not (self._exact or self._verify_chunks)

    def _is_kept_in_part(self, error: ClientError) -> bool:
        """Return whether the server has some of the chunk already: it noticed only now that a connection was cut."""
        return self._keeps and isinstance(error, AnswerError) and error.status == 409 and "overlap" in error.type

    def _missing(self, piece: ByteRange) -> list[ByteRange]:
        """Return the missing ranges of a chunk, lowest offset first."""
        _, answer = self._http.call("GET", self._upload, query={"fields": "missing,missing_count,received"})
        gaps = [_range(gap) for gap in answer.get("missing", ())]
        if answer.get("missing_count") != len(gaps):  # only the first ones are listed
            _, answer = self._http.call("GET", self._upload, query={"fields": "chunks"})
            gaps = list(missing_ranges(self._total or MAX_SIZE, sorted(map(_range, answer["chunks"]))))
        elif self._total is None:  # only those between chunks are listed
            end = int(answer["received"]) + sum(gap.size for gap in gaps)
            gaps.append(ByteRange(end, MAX_SIZE - end))
        return [
            ByteRange(begin, end - begin)
            for gap in gaps
            if (begin := max(gap.offset, piece.offset)) < (end := min(gap.end, piece.end))
        ]

    def _put_back_all_but_first(self, missing: list[ByteRange]) -> ByteRange:
        with self._lock:
            self._left.extendleft(reversed(missing[1:]))
            return self._cut(missing[0])

    def _send_once(self, piece: ByteRange) -> None:
        sent = 0

        def on_sent(count: int) -> None:
            nonlocal sent
            sent += count
            with self._lock:
                self._counters.bytes_sent += count
                self._line.moved(count, self._busy, time.monotonic())
            self._on_progress(count)
            if self._stop.is_set():
                raise Cancelled("Stopped.")

        headers = {"Content-Range": format_content_range(piece, self._total)}
        if self._verify_chunks:
            from partwise.core.digests import format_digest_field

            headers["Content-Digest"] = format_digest_field(self._file.sha256(piece))
        else:
            self._file.will_need(piece)
        if self._keeps:
            headers["Prefer"] = "partial=keep"
        began = time.monotonic()

        try:
            self._http.put_file(self._upload, self._file, piece, headers, on_sent)
        except (ClientError, OSError) as error:
            self._on_progress(-sent)
            # A body refused half-way looks like a cut connection; that the file changed explains it better.
            if isinstance(error, CannotReachServer):
                self._file.check_unchanged()
            raise
        with self._lock:
            self._fruitful = True
            self._line.delivered(piece.size, time.monotonic() - began)
            self._lock.notify_all()


def _range(span: Mapping[str, Any]) -> ByteRange:
    return ByteRange(int(span["offset"]), int(span["size"]))
