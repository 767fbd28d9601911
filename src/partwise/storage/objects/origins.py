"""Copies within the object store: the object of a chunk is made from parts of an artifact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from partwise.core.errors import NotFound
from partwise.core.ranges import ByteRange
from partwise.core.records import Segment
from partwise.engine.ports import Origin
from partwise.storage.objects.store import LEAST_SOURCE, within

#: Bytes that S3 asks of every part but the last.
LEAST_PART = LEAST_SOURCE
#: A range of fewer bytes is read and sent: a copy takes three requests.
SMALLEST = 1 << 20
#: The most bytes that one request copies.
COPY_STEP = 64 << 20


def find_origins(segments: Sequence[Segment], span: ByteRange, *, least: int = LEAST_PART) -> list[Origin]:
    """Divide ``span`` of an artifact into parts of one object. The ``source`` of each is where its bytes are.

    A part of one span is copied within the store. One of several spans is read and sent: it has at most ``least``
    bytes. Empty: all would be read. NotFound when the segments do not cover the span.
    """
    if sum(part.size for _, part in within(segments, span)) < span.size:
        raise NotFound("artifact")
    if span.size < min(SMALLEST, least):
        return []
    found = list(_divide(segments, span, least))
    return found if any(is_copied(origin) for origin in found) else []


def is_copied(origin: Origin) -> bool:
    """Return whether the store copies the part."""
    return isinstance(origin.source, Segment)


def _divide(segments: Sequence[Segment], span: ByteRange, least: int) -> Iterator[Origin]:
    position, first = span.offset, 0
    while position < span.end:
        while segments[first].range.end <= position:
            first += 1
        segment = segments[first]
        end = min(segment.range.end, span.end)
        if segment.size > least and (end - position >= least or end == span.end):
            if end - position >= COPY_STEP + least:
                end = position + COPY_STEP
            yield Origin(ByteRange(position, end - position), segment)
        else:
            end = min(position + least, span.end)
            last = first
            while segments[last].range.end < end:
                last += 1
            yield Origin(ByteRange(position, end - position), tuple(segments[first : last + 1]))
        position = end
