"""A file inside a multipart form (RFC 7578), streamed: no byte of it is held longer than it takes to write it.

The parser runs where the bytes are written, on the worker thread of the body's sink. What it takes is bounded: the
number of parts, the headers of a part, the length of every field that is not the file.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from multipart import (  # type: ignore[import-untyped]
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from partwise.core.digests import parse_sha256
from partwise.core.errors import BadBody, BadDigest
from partwise.engine.ports import BLOCK, Sink
from partwise.http.intake import RequestBody

#: The most parts of a form, and the longest value of one that is not a file, in bytes.
MAX_PARTS = 32
MAX_FIELD_SIZE = 8 * 1024

#: The most bytes before the file of a form whose fields have to be known first: all fields at their largest, and heads.
MAX_HEAD_SIZE = MAX_PARTS * (MAX_FIELD_SIZE + 8 * 1024)

#: The longest boundary (RFC 2046, section 5.1.1).
_MAX_BOUNDARY = 70


def is_form(content_type: str | None) -> bool:
    """Return whether the Content-Type is that of a multipart form."""
    return bool(parse_options_header(content_type or "")[0] == "multipart/form-data")


def _boundary(content_type: str) -> str:
    boundary: str = parse_options_header(content_type)[1].get("boundary", "")
    if not 0 < len(boundary) <= _MAX_BOUNDARY or not boundary.isascii() or not boundary.isprintable():
        raise BadBody(
            "The form cannot be read: its boundary is missing or too long. "
            "Send a Content-Type with a boundary of 1 to 70 characters.",
            field="Content-Type",
        )
    return boundary


class FormParser:
    """Takes a form in pieces; gives the bytes of its file part to ``sink`` and keeps the other fields.

    Of several fields of a name the last counts; several digests have to be the same.
    """

    def __init__(self, content_type: str, sink: Sink, *, file: str | Sequence[str] = "file") -> None:
        """``file``: the name of the part that is the file, or those that it may have."""
        self._files = (file,) if isinstance(file, str) else tuple(file)
        self.fields: dict[str, str] = {}
        self.has_file = False
        #: The fields before the file; all, where none came.
        self.fields_before: dict[str, str] = self.fields
        self.filename: str | None = None
        self.media_type: str | None = None
        #: Told the file's name and type before its first byte; what it raises ends the form.
        self.on_head: Callable[[str | None, str | None], None] | None = None
        self._sink = sink
        self._part: MultipartSegment | None = None
        #: The Content-Length of the part, where it states one; the parser has refused all but one decimal number.
        self._length: int | None = None
        self._value = bytearray()
        boundary = _boundary(content_type)
        # Not strict: that mode refuses valid forms whose last line break comes in a piece of its own.
        self._parser = PushMultipartParser(boundary, max_segment_count=MAX_PARTS, strict=False)
        self._delimiter = f"\r\n--{boundary}".encode()
        self._tail = b""
        #: Whether the parser holds back the end of the last block, which may begin a delimiter.
        self._pending = False

    def feed_block(self, block: memoryview) -> None:
        """The next bytes of the form. What is nothing but file goes to the sink as it is.

        The parser needs a copy of each block, and gives out another; new memory at that rate, on many threads, costs
        as much as the rest of a form's way.
        """
        pending = self._is_pending(block)
        if self._is_file and not self._pending and not pending and self._lacks_delimiter(block):
            self._count(len(block))
            self._sink(block)
        else:
            self.feed(bytes(block))
        self._pending = pending

    def _count(self, size: int) -> None:
        """Tell the parser of bytes that go past it: it holds the part to the Content-Length that the part may state."""
        assert self._part is not None
        self._part.bytes_received += size
        if self._length is not None and self._part.bytes_received > self._length:
            raise BadBody("The form cannot be read: a part is longer than its own Content-Length.")

    def _is_pending(self, block: memoryview) -> bool:
        """Return whether the bytes so far, including ``block``, end with the start of a delimiter and its line."""
        longest = len(self._delimiter) + 1  # of the two bytes behind it the second decides
        self._tail = (self._tail + bytes(block[-longest:]))[-longest:]
        start = self._tail.rfind(b"\r")
        end = self._tail[start:]
        return start >= 0 and (self._delimiter.startswith(end) or end.startswith(self._delimiter))

    def _lacks_delimiter(self, block: memoryview) -> bool:
        """Return whether there is none in the block; False also where only a copy of the block could be searched."""
        whole = block.obj
        if not isinstance(whole, bytes | bytearray) or not _begins(block, whole):
            return False
        return whole.find(self._delimiter, 0, len(block)) < 0

    def feed(self, piece: bytes) -> None:
        """The next bytes of the form. Raises BadBody, and what the sink raises."""
        if not piece or self._parser.closed:
            return
        try:
            for event in self._parser.parse(piece):
                self._handle(event)
        except MultipartError as error:
            raise BadBody(f"The form cannot be read: {_words(error)}.") from error

    @property
    def closed(self) -> bool:
        """Return whether the closing boundary has arrived."""
        return bool(self._parser.closed)

    def close(self) -> None:
        """The form is over. Raises BadBody when its closing boundary did not come."""
        try:
            self._parser.close()
        except MultipartError as error:
            raise BadBody("The form cannot be read: it ends before its closing boundary.") from error

    def _handle(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            self._end()
        elif self._is_file:
            view = memoryview(event)
            for start in range(0, len(view), BLOCK):
                self._sink(view[start : start + BLOCK])
        else:
            self._value += event
            if len(self._value) > MAX_FIELD_SIZE:
                raise BadBody(f"The form cannot be read: a field exceeds {MAX_FIELD_SIZE} bytes.")

    @property
    def _is_file(self) -> bool:
        return self._part is not None and self._part.name in self._files

    def _begin(self, part: MultipartSegment) -> None:
        self._part = part
        length = part.header("Content-Length")
        self._length = None if length is None else int(length)
        self._value.clear()
        if self._is_file:
            if self.has_file:
                raise BadBody(f"The form has more than one part '{self._files[0]}'. Send one.", field=self._files[0])
            self.has_file = True
            self.fields_before = dict(self.fields)
            self.filename = part.filename
            self.media_type = part.header("Content-Type")
            if self.on_head is not None:
                self.on_head(self.filename, self.media_type)

    def _end(self) -> None:
        if self._part is not None and not self._is_file:
            try:
                name, value = str(self._part.name), self._value.decode()
            except UnicodeDecodeError as error:
                raise BadBody("The form cannot be read: a field is not UTF-8.") from error
            if name == "sha256":
                agreed(self.fields.get(name), value)
            self.fields[name] = value
        self._part = None


class FormBody:
    """The file of a multipart form (the part that ``file`` names) as a body; its ``sha256`` may come before or after.

    Where the fields before the file have to be known first (the offset is one of them, say), ``begin`` reads up to it.

    ``sha256`` is a digest of the file that came otherwise, such as in Content-Digest.
    """

    def __init__(
        self,
        body: RequestBody,
        content_type: str,
        sha256: str | None = None,
        *,
        file: str | Sequence[str] = "file",
        on_head: Callable[[str | None, str | None], None] | None = None,
    ) -> None:
        self._file = file
        self._body = body
        self._content_type = content_type
        self._on_head = on_head
        self._declared = sha256
        self.filename: str | None = None
        self.media_type: str | None = None
        #: The fields that are no file: after ``begin`` those before it, after ``drain`` all.
        self.fields: dict[str, str] = {}
        _boundary(content_type)

    @property
    def sha256(self) -> str | None:
        """See ``Body``."""
        return self._declared

    async def begin(self) -> None:
        """Read until the file begins, or the form ends, so that ``fields``, ``filename`` and ``media_type`` are known.

        ``drain`` gives the file all the same. At most once, before it. Raises BadBody, BodyInterrupted.
        """
        parser = FormParser(self._content_type, _ignore, file=self._file)
        parser.on_head = self._on_head
        read = bytearray()
        while not (parser.has_file or parser.closed) and (piece := await self._body.first()):
            read += piece
            if len(read) > MAX_HEAD_SIZE:
                raise BadBody(f"The fields before the form's file exceed {MAX_HEAD_SIZE} bytes. Send the file earlier.")
            parser.feed(piece)
        self._body.put_back(bytes(read))
        # Others may have come in the same piece: what they say must not depend on how long the pieces are.
        self.fields = parser.fields_before
        self.filename, self.media_type = parser.filename or None, parser.media_type

    async def drain(self, sink: Sink) -> None:
        """See ``Body``. Raises BadBody also when the form has no ``file``, BadDigest when two digests disagree."""
        parser = FormParser(self._content_type, sink, file=self._file)
        parser.on_head = self._on_head
        await self._body.drain(parser.feed_block)
        parser.close()
        self.fields = parser.fields
        if not parser.has_file:
            name = self._file if isinstance(self._file, str) else self._file[0]
            raise BadBody(f"The form lacks the part '{name}'. Add it.", field=name)
        self.filename, self.media_type = parser.filename or None, parser.media_type
        field = parser.fields.get("sha256")
        if field:
            self._declared = agreed(self._declared, parse_sha256(field))


def _ignore(_block: object) -> None:
    """The sink of a parser that looks for the file's head only."""


def _words(error: MultipartError) -> str:
    """Return the message of the parser, without the exception that it may include."""
    said = str(error.args[0]) if error.args else "it is malformed"
    return "the head of a part is not UTF-8" if "decode" in said else said


def agreed(first: str | None, second: str | None) -> str | None:
    """The one digest that two ways of sending it amount to. Raises BadDigest when they differ."""
    if first is not None and second is not None and first != second:
        raise BadDigest("Two digests of the same bytes differ. Send one, or equal ones.")
    return first if first is not None else second


def _begins(block: memoryview, whole: bytes | bytearray) -> bool:
    """Return whether a view of ``whole`` begins where that begins. (The view itself does not tell.)"""
    if len(block) == len(whole):
        return True
    if isinstance(whole, bytes) or block.readonly:
        return False
    return ctypes.addressof(ctypes.c_char.from_buffer(block)) == ctypes.addressof(ctypes.c_char.from_buffer(whole))


@dataclass(frozen=True, slots=True)
class SmallForm:
    """A form that was read whole: its fields, and its file if it has one."""

    fields: dict[str, str]
    file: bytes | None
    filename: str | None
    media_type: str | None


def parse_small_form(content_type: str, content: bytes) -> SmallForm:
    """Parse a form that is held in memory. Raises BadBody."""
    file = bytearray()
    parser = FormParser(content_type, file.extend)
    parser.feed(content)
    parser.close()
    return SmallForm(
        parser.fields, bytes(file) if parser.has_file else None, parser.filename or None, parser.media_type
    )


def parse_urlencoded(content: bytes) -> dict[str, str]:
    """The fields of an ``application/x-www-form-urlencoded`` body. Raises BadBody when it is none."""
    try:
        return dict(parse_qsl(content.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARTS))
    except (ValueError, UnicodeDecodeError) as error:
        raise BadBody("The form cannot be read.") from error
