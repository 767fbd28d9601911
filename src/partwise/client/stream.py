"""File objects and iterators, of which only the next bytes can be had, and the window of them that is in memory."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from partwise.client.errors import ClientError, SourceFailed
from partwise.client.source import BLOCK, Source
from partwise.core.ranges import ByteRange

#: What counts as bytes.
Bytes = bytes | bytearray | memoryview


class Readable(Protocol):
    """A binary file object: open for reading, or anything with its ``read``."""

    def read(self, size: int, /) -> Bytes:
        """Return at most ``size`` bytes; none at the end."""
        ...


class Stream:
    """Reads a file object or an iterator of bytes once, from where it is, in the thread of the caller."""

    def __init__(self, data: Any, size: int | None = None) -> None:
        """``size``: the bytes that are to come, where the caller knows; None: as far as ``data`` tells itself.

        Raises TypeError for what gives no bytes, and ValueError for a file that is closed or not open for reading.
        """
        self.size = size
        self.name = ""
        self._blocks: Iterator[Bytes]
        if callable(getattr(data, "read", None)):
            _check_readable(data)
            self.name = _name_of(data)
            self.size = _rest_of(data) if size is None else size
            self._blocks = _read(data)
        elif isinstance(data, Iterable) and not isinstance(data, (str, dict)):
            self._blocks = _checked(data)
        else:
            kind = type(data).__name__
            raise TypeError(f"Cannot upload {kind}: give a path, bytes, a binary file object or an iterable of bytes.")
        self._rest = memoryview(b"")
        self._read = 0

    def fill(self, view: memoryview) -> tuple[int, bool]:
        """Read some bytes into ``view``; how many, and whether the end is reached. 0 and no end: nothing now.

        Raises SourceFailed for what the data raises, and where there are fewer or more bytes than its size.
        """
        if not self._rest:
            block = next(self._blocks, None)
            if block is None:
                if self.size not in (None, self._read):
                    raise SourceFailed(f"The data ended after {self._read} bytes; its size is {self.size}.")
                return 0, True
            self._rest = memoryview(block).cast("B")
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        self._read += count
        if self.size is not None and self._read > self.size:
            raise SourceFailed(f"The data has more bytes than its size, {self.size}.")
        return count, False


class Window(Source):
    """The parts of a stream that have been read and that the server does not have yet."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Condition()
        self._parts: list[_Part] = []
        self._end = 0
        #: Bytes in memory.
        self.held = 0

    @property
    def name(self) -> str:
        """For messages."""
        return self._name

    @property
    def size(self) -> int:
        """Bytes that were read so far."""
        return self._end

    def add(self, data: memoryview) -> ByteRange:
        """Add the next bytes; where they are in the file."""
        with self._lock:
            span = ByteRange(self._end, len(data))
            self._parts.append(_Part(span, data, len(data)))
            self._end += len(data)
            self.held += len(data)
        return span

    def done(self, span: ByteRange) -> None:
        """Drop a part once the server has all of it."""
        part = self._part_at(span.offset)
        with self._lock:
            part.left -= span.size
            if part.left == 0:
                self._parts.remove(part)
                self.held -= part.span.size
                self._lock.notify_all()

    def wait_for_room(self, size: int, most: int, seconds: float) -> bool:
        """Wait so long until ``size`` more bytes make no more than ``most``; whether they do. One part always may."""
        with self._lock:
            return self._lock.wait_for(lambda: not self.held or self.held + size <= most, seconds)

    def blocks(self, span: ByteRange) -> Iterator[memoryview]:
        """The bytes of ``span``, which lies within one part."""
        part = self._part_at(span.offset)
        for offset in range(span.offset - part.span.offset, span.end - part.span.offset, BLOCK):
            yield part.data[offset : min(offset + BLOCK, span.end - part.span.offset)]

    def read_into(self, view: memoryview, offset: int) -> int:
        """Copy bytes from ``offset`` on into ``view``; how many."""
        part = self._part_at(offset)
        found = part.data[offset - part.span.offset :][: len(view)]
        view[: len(found)] = found
        return len(found)

    def _part_at(self, offset: int) -> _Part:
        with self._lock:
            return next(part for part in self._parts if part.span.offset <= offset < part.span.end)


@dataclass(slots=True, eq=False)
class _Part:
    span: ByteRange
    data: memoryview
    #: Bytes that the server does not have.
    left: int


def _check_readable(file: Any) -> None:
    if isinstance(file, io.TextIOBase):
        raise TypeError("The file is open in text mode. Open it in binary mode: open(path, 'rb').")
    if getattr(file, "closed", False):
        raise ValueError("The file is closed.")
    readable = getattr(file, "readable", None)
    if callable(readable) and not readable():
        raise ValueError("The file is not open for reading.")


def _name_of(file: Any) -> str:
    """The last part of the path that a file was opened by; empty: there is none."""
    name = getattr(file, "name", None)
    if not isinstance(name, (str, bytes)):
        return ""  # a descriptor's number
    base = os.path.basename(os.fsdecode(name))
    return "" if base.startswith("<") else base


def _rest_of(file: Any) -> int | None:
    """The bytes from where a file stands to its end; None where it cannot tell."""
    try:
        if not file.seekable():
            return None
        here = file.tell()
        end = file.seek(0, os.SEEK_END)
        file.seek(here)
    except (AttributeError, OSError, ValueError):
        return None
    # Files of /proc say that they are empty, and have bytes.
    return end - here if isinstance(end, int) and end > 0 else None


def _read(file: Readable) -> Iterator[Bytes]:
    while True:
        try:
            block = file.read(BLOCK)
        except Exception as error:
            raise _failed(error) from error
        if block is None:
            raise SourceFailed("The file gives no bytes now (it is non-blocking). Make it blocking.")
        _check(block, "The file's read()")
        if not len(block):
            return
        yield block


def _checked(data: Iterable[Bytes]) -> Iterator[Bytes]:
    try:
        blocks = iter(data)
    except Exception as error:
        raise _failed(error) from error
    while True:
        try:
            block = next(blocks)
        except StopIteration:
            return
        except Exception as error:
            raise _failed(error) from error
        _check(block, "The iterator")
        yield block


def _check(block: object, what: str) -> None:
    if not isinstance(block, (bytes, bytearray, memoryview)):
        more = " Encode it first, for example with .encode()." if isinstance(block, str) else ""
        raise TypeError(f"{what} gave {type(block).__name__}, not bytes.{more}")


def _failed(error: Exception) -> ClientError:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return SourceFailed(f"Cannot read the data: {said}")
