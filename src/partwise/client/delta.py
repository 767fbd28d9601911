"""Delta uploads: what the server has already, in another version of the file, is copied there and not sent.

The file is read once, from its start. It is cut like the signature of the base (``core.pieces``), and what the base has
is copied by the server while what it lacks is sent. Only gaps of the upload are filled, so that a later run of the same
command goes on where this one was cut. Whatever is not filled here the upload sends afterwards as ever, and the SHA-256
of the whole file is verified at the end: a wrong guess costs bytes, never a wrong artifact.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from partwise.client.errors import AnswerError, ClientError, NotFound
from partwise.client.http import Http
from partwise.client.lanes import Lane
from partwise.client.models import ArtifactInfo, UploadInfo
from partwise.client.plan import MIB
from partwise.client.retry import Patience
from partwise.client.signatures import NoSignature, Scan, cut, fetch_signature
from partwise.client.source import Source
from partwise.core.delta import SMALLEST_COPY, Copy, Matcher, Script, Send
from partwise.core.pieces import Cutter, Cutting, Piece
from partwise.core.ranges import ByteRange, missing_ranges, split

#: Smaller files are sent: a signature and a comparison take longer than they save.
SMALLEST_FILE = 8 * MIB
#: For larger files the line is tried first, with two pieces of the file. Where one connection has this share of the
#: speed of a comparison, all of them send the whole file sooner than it is compared here and copied there.
PROBED_FILE, PROBE, FAST_SHARE = 256 * MIB, MIB, 0.4
#: The largest range that is copied in one piece, and the most ranges and bytes of one request.
_LARGEST_COPY, _MOST_COPIES, _MOST_BYTES = 64 * MIB, 256, 512 * MIB
#: An upload is filled by so many copies at most: the server keeps a record of each.
_COPIES = 20_000
#: So many places of the file are looked at before all of it is.
_SAMPLES = 8


class Ask(Protocol):
    """One request with JSON, repeated while that may help."""

    def __call__(
        self, method: str, href: str, *, query: Mapping[str, str | int] | None = None, data: Any = None
    ) -> tuple[int, dict[str, Any]]:
        """Return the status and the answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Interface that a delta upload needs of its upload."""

    ask: Ask
    patience: Patience
    #: Sends ranges of the file over all connections, and returns when the server has them.
    send: Callable[[Sequence[ByteRange]], None]
    #: Lets a running ``send`` end soon.
    stop_sending: Callable[[], None]
    #: Told how far the file has been read.
    reached: Callable[[int], None]
    #: Told of bytes that were copied.
    copied: Callable[[int], None]
    note: Callable[[str], None]
    cancelled: threading.Event


class DeltaUpload:
    """Fills one upload from a base. ``base`` None: the owner's newest artifact of the same name.

    ``always``: also where sending the whole file may be quicker.
    """

    def __init__(self, file: Source, name: str, *, base: ArtifactInfo | None, always: bool) -> None:
        self._file, self._name, self._base, self._always = file, name, base, always or base is not None
        #: Bytes that were copied, and not sent.
        self.copied = 0

    def fill(self, upload: UploadInfo, http: Http, chunk_size: int, hooks: Hooks) -> bool:
        """Fill gaps of the upload; whether anything was done. Raises ClientError as a transfer does."""
        if self._file.size < SMALLEST_FILE and not self._always:
            return False
        base = self._base or self._find_base(upload, hooks)
        if base is None:
            return False
        chunks = list(upload.chunks)
        if not self._always and not chunks and self._file.size >= PROBED_FILE:
            chunks = [ByteRange(0, 2 * PROBE)]
            if is_fast(self._file, lambda probe: hooks.send([probe])):
                return True
        scan = Scan(self._file, hooks.cancelled, hooks.reached)
        try:
            signature = fetch_signature(http, base, hooks.patience, hooks.cancelled, scan=scan)
        except NoSignature as error:
            hooks.note(f"Sending the whole file: {error}")
            return True
        matcher = Matcher(signature)
        if not self._always and not looks_alike(self._file, matcher, signature.cutting):
            hooks.note(f"Sending the whole file: {base.filename or base.sha256} has little in common with it.")
            return True
        hooks.note(f"Comparing with {base.filename or base.sha256} of {base.created[:10]}, which the server has.")
        gaps = list(missing_ranges(self._file.size, sorted(chunks)))
        filling = _Filling(self._file, upload.href, base.href, matcher, signature.cutting, gaps, chunk_size, hooks)
        filling.run(scan.pieces(signature.cutting))
        return True

    def _find_base(self, upload: UploadInfo, hooks: Hooks) -> ArtifactInfo | None:
        """The newest artifact of this very name that the upload's owner has; an administrator sees others', too."""
        query: dict[str, str | int] = {"filename": self._name, "limit": 100}
        try:
            page = hooks.ask("GET", "artifacts/", query=query)[1]
        except AnswerError:
            return None  # a server that does not search, such as Pulp's own
        for found in page.get("results", ()):
            mine = found.get("user") == upload.raw.get("user")
            if mine and found.get("filename") == self._name and int(found["size"]) >= SMALLEST_COPY:
                return ArtifactInfo.parse(found)
        return None


def is_fast(file: Source, transfer: Callable[[ByteRange], None]) -> bool:
    """Return whether a comparison with ``file`` would take longer than to transfer all.

    ``transfer`` moves the first two pieces of the file that is sent or received.
    """
    cutter = Cutter(Cutting.of_size(file.size))

    def scan(probe: ByteRange) -> None:
        for block in file.blocks(probe):
            list(cutter.feed(block))

    return best_rate(transfer) > FAST_SHARE * best_rate(scan)


def best_rate(work: Callable[[ByteRange], None]) -> float:
    """Bytes a second of ``work`` on two pieces, by the quicker one: the other may have waited for something else."""
    best = 0.0
    for offset in (0, PROBE):
        began = time.monotonic()
        work(ByteRange(offset, PROBE))
        best = max(best, PROBE / max(time.monotonic() - began, 1e-6))
    return best


def looks_alike(file: Source, matcher: Matcher, cutting: Cutting) -> bool:
    """Return whether a signature has a piece of any of some places of the file."""
    window = min(4 * cutting.maximum, file.size)
    for sample in range(_SAMPLES):
        cutter = Cutter(cutting)
        for block in file.blocks(ByteRange((file.size - window) * sample // (_SAMPLES - 1), window)):
            if any(matcher.find(piece) is not None for piece in cutter.feed(block)):
                return True
        if window == file.size:
            return any(matcher.find(piece) is not None for piece in cutter.end())
    return False


class _Filling:
    """One pass over the file."""

    def __init__(
        self,
        file: Source,
        upload: str,
        base: str,
        matcher: Matcher,
        cutting: Cutting,
        gaps: list[ByteRange],
        chunk_size: int,
        hooks: Hooks,
    ) -> None:
        self._file, self._upload, self._base, self._hooks = file, upload, base, hooks
        self._cutting = cutting
        self._script = Script(matcher, smallest_copy=max(SMALLEST_COPY, file.size // _COPIES))
        self._gaps, self._chunk_size = gaps, chunk_size
        self._copies: Lane[Copy] = Lane("partwise-copy", self._copy, most=_MOST_COPIES)
        self._sends: Lane[ByteRange] = Lane("partwise-changed", hooks.send)

    def run(self, pieces: Iterator[Piece] | None) -> None:
        """Read, compare, copy and send. Raises the first lasting error of any of them.

        ``pieces``: all of the file, where it was cut already.
        """
        lanes = (self._copies, self._sends)
        try:
            for part in self._parts(pieces or self._cut()):
                self._give(part)
                for lane in lanes:
                    lane.check()
            for lane in lanes:
                lane.finish(self._hooks.cancelled)
        except BaseException:
            for lane, stop in ((self._copies, _nothing), (self._sends, self._hooks.stop_sending)):
                lane.abandon(stop)
            raise

    def _parts(self, pieces: Iterable[Piece]) -> Iterator[Copy | Send]:
        """Yield the ranges to copy and to send, in order."""
        for piece in pieces:
            yield from self._script.add(piece)
        yield from self._script.end()

    def _cut(self) -> Iterator[Piece]:
        """Yield the pieces of the file while it is read."""
        for pieces in cut(self._file, self._cutting, self._hooks.cancelled, self._hooks.reached):
            yield from pieces
            self._copies.check()
            self._sends.check()

    def _give(self, part: Copy | Send) -> None:
        """Hand on what of a part lies in gaps of the upload, in pieces of a sensible size."""
        while self._gaps and self._gaps[0].end <= part.range.offset:
            self._gaps.pop(0)
        for gap in self._gaps:
            if gap.offset >= part.range.end:
                break
            start, end = max(gap.offset, part.range.offset), min(gap.end, part.range.end)
            if isinstance(part, Send):
                for span in split(ByteRange(start, end - start), self._chunk_size):
                    self._sends.put(span)
                continue
            for span in split(ByteRange(start, end - start), _LARGEST_COPY):
                self._copies.put(Copy(span, part.source + span.offset - part.range.offset))

    def _copy(self, wanted: list[Copy]) -> None:
        """Let the server copy ranges. Ranges that it cannot copy stay missing and are sent with the others."""
        while wanted:
            batch: list[Copy] = []
            size = 0
            while wanted and (not batch or size + wanted[0].range.size <= _MOST_BYTES):
                size += wanted[0].range.size
                batch.append(wanted.pop(0))
            ranges = [
                {"offset": one.range.offset, "size": one.range.size, "artifact": self._base, "from": one.source}
                for one in batch
            ]
            results = self._hooks.ask("POST", f"{self._upload}copy/", data=ranges)[1].get("ranges", ())
            states = [result.get("state") for result in results]
            for one, state in zip(batch, states, strict=False):
                if state == "copied":
                    self._hooks.copied(one.range.size)
                elif state == "later" and set(states) != {"later"}:  # else the server does none at all
                    wanted.append(one)


def _nothing() -> None:
    """Stop nothing: a request for copies ends by itself."""


def is_hopeless(error: ClientError) -> bool:
    """Return whether an error says that the server has no delta transfers, or not for this upload: send all instead."""
    return isinstance(error, NotFound) or (isinstance(error, AnswerError) and error.status in (405, 413, 501))
