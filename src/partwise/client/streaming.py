"""Uploads data that is read once: parts are sent while the next are read, and the SHA-256 is made in passing.

Memory is bounded: parts wait in `Window` until the server has them, and no more are read than may wait. A part that was
cut is sent again from there. What the server loses afterwards cannot be sent again, so such an upload is removed
when it fails, whatever the reason.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator

from partwise.client.errors import VerificationFailed
from partwise.client.http import Http
from partwise.client.job import DEFAULT_PARALLEL, UploadJob
from partwise.client.line import FIRST_BYTES, SMALLEST_BYTES, Line
from partwise.client.models import Observer, UploadInfo, UploadResult
from partwise.client.plan import DEFAULT_CHUNK_BYTES, MIB, MOST_CHUNKS
from partwise.client.source import Memory
from partwise.client.stream import Stream, Window
from partwise.client.transfer import Transfer
from partwise.client.upload import Options, Uploader
from partwise.core.ranges import ByteRange

#: Bytes that wait in memory at most, where the caller chose no larger parts.
MOST_HELD = 64 * MIB
#: Seconds to wait for room for the next part before the transfer is looked at.
_ROOM_SECONDS = 0.1


def upload_stream(
    http: Http, stream: Stream, options: Options, observer: Observer, cancelled: threading.Event
) -> UploadResult:
    """Upload all that ``stream`` has; what ends within the first part goes as bytes in memory."""
    name = options.name or stream.name
    first = bytearray(options.chunk_size or FIRST_BYTES)
    count, ended = 0, False
    while not ended and count < len(first) and not cancelled.is_set():
        more, ended = stream.fill(memoryview(first)[count:])
        count += more
    read = memoryview(first)[:count]
    if ended:
        return Uploader(http, Memory(read, name), options, observer, cancelled).run()
    return StreamUploader(http, stream, read, name, options, observer, cancelled).run()


class StreamUploader(UploadJob):
    """Uploads one stream once."""

    def __init__(
        self,
        http: Http,
        stream: Stream,
        first: memoryview,
        name: str,
        options: Options,
        observer: Observer,
        cancelled: threading.Event,
    ) -> None:
        """``first``: what has been read of ``stream`` already, which is not all."""
        super().__init__(http, name, stream.size, observer, cancelled, options.patience_seconds)
        self._stream, self._first, self._options = stream, first, options
        self._window = Window(name or "the data")
        self._digest = hashlib.sha256()

    def run(self) -> UploadResult:
        """The whole upload. Raises ClientError and its kind, and what the stream raises; then the upload is removed."""
        began = time.monotonic()
        upload = self._create()
        try:
            self._send(upload)
            sha256, size = self._digest.hexdigest(), self._window.size
            committed = self._commit(upload.href, sha256, size, declare=self._size is None)
            if committed is None:
                raise VerificationFailed(
                    f"The server's copy of {self._window.name} is damaged, and its bytes cannot be read again. "
                    f"Nothing was committed. {self._verdict}"
                )
            artifact = self._artifact_of(committed, sha256)
        except BaseException:
            self._delete(upload.href)
            raise
        return UploadResult(
            name=self._name,
            size=size,
            sha256=sha256,
            upload=committed.href,
            artifact=artifact,
            resumed=False,
            chunks_sent=self._counters.chunks_sent,
            chunks_skipped=0,
            bytes_sent=self._counters.bytes_sent,
            retries=self._counters.retries,
            chunks_repaired=0,
            seconds=time.monotonic() - began,
            kept_as=committed.other_name,
        )

    def _send(self, upload: UploadInfo) -> None:
        options = self._options
        most_parallel = options.parallel or upload.parallel or DEFAULT_PARALLEL
        # One part more than are on their way is being read.
        most_bytes = min(upload.chunk_size or DEFAULT_CHUNK_BYTES, MOST_HELD // (most_parallel + 1))
        line = Line(
            most_parallel=most_parallel,
            most_bytes=max(SMALLEST_BYTES, most_bytes),
            parallel=options.parallel,
            part_bytes=options.chunk_size,
        )
        transfer = Transfer(
            self._http,
            self._window,
            upload.href,
            total=self._size,
            line=line,
            verify_chunks=options.verify_chunks,
            patience=self._patience,
            cancelled=self._cancelled,
            counters=self._counters,
            on_taken=lambda piece: None,
            on_progress=self._on_sent,
            on_trouble=self._on_trouble,
        )
        held = max(MOST_HELD, (options.chunk_size or 0) * (most_parallel + 1))
        transfer.send_from(self._parts(line, held))

    def _parts(self, line: Line, most_held: int) -> Iterator[ByteRange | None]:
        """The parts in their order; None while there is no room for the next, or no data."""
        yield self._add(self._first)
        self._first = memoryview(b"")
        ended = False
        while not ended:
            # Of a file of any size there are so few parts that the server takes them all.
            line.never_less(self._window.size // MOST_CHUNKS)
            data = memoryview(bytearray(line.part_bytes))
            while not self._window.wait_for_room(len(data), most_held, _ROOM_SECONDS):
                yield None
            count = 0
            while count < len(data) and not ended:
                more, ended = self._stream.fill(data[count:])
                count += more
                yield None
            if count:
                yield self._add(data[:count])

    def _add(self, data: memoryview) -> ByteRange:
        self._digest.update(data)
        return self._window.add(data)
