"""Making one object of very many small ones: what is asked of the store, counted by a bucket that holds no bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

import pytest

from partwise.core.ranges import ByteRange
from partwise.core.records import Segment
from partwise.engine.ports import BLOCK
from partwise.storage.objects import housekeeping
from partwise.storage.objects.housekeeping import Stopped
from partwise.storage.objects.place import Place
from partwise.storage.objects.store import MAX_PARTS


class CountingPut:
    """A part on its way."""

    def __init__(self, size: int) -> None:
        self.size = self.left = size

    def write(self, block: memoryview) -> None:
        self.left -= len(block)

    def finish(self) -> str:
        assert self.left == 0, "all bytes were announced"
        return "etag"

    def abort(self) -> None:
        self.left = -1


class CountingBucket:
    """Takes parts and gives zeros: a place and its store in one."""

    def __init__(self, segments: list[Segment]) -> None:
        self.sizes = {segment.ref: segment.size for segment in segments}
        self.parts: list[int] = []
        self.reads: dict[str, int] = dict.fromkeys(self.sizes, 0)
        self.completed = self.aborted = False
        self._zeros = memoryview(bytes(BLOCK))
        self.store = self

    def begin(self, key: str) -> str:
        return "upload"

    def put(self, key: str, size: int, *, upload: str | None, part: int) -> CountingPut:
        self.parts.append(size)
        return CountingPut(size)

    def read(self, pieces: Iterable[tuple[str, ByteRange]]) -> Iterator[memoryview]:
        for ref, span in pieces:
            assert 0 <= span.offset < span.end <= self.sizes[ref]
            self.reads[ref] += span.size
            yield self._zeros[: span.size]

    def copy(self, key: str, upload: str, part: int, source: str, span: ByteRange) -> str:
        self.parts.append(span.size)
        self.reads[source] += span.size
        return "etag"

    def complete(self, key: str, upload: str, etags: list[str]) -> None:
        assert len(etags) == len(self.parts)
        self.completed = True

    def abort(self, key: str, upload: str) -> None:
        self.aborted = True


def segments_of(count: int, size: int) -> list[Segment]:
    return [Segment(offset=number * size, size=size, ref=f"chunks/u/{number}") for number in range(count)]


def test_fifty_thousand_chunks_as_katello_sends_them() -> None:
    segments = segments_of(50_000, 1_048_575)
    bucket = CountingBucket(segments)
    housekeeping._compose(cast(Place, bucket), "artifacts/x", segments)
    assert bucket.completed
    assert len(bucket.parts) <= MAX_PARTS
    assert len(set(bucket.parts[:-1])) == 1, "stores ask for parts of one size"
    assert sum(bucket.parts) == 50_000 * 1_048_575
    assert bucket.reads == bucket.sizes, "each byte once"


def test_a_server_that_ends_does_not_wait_for_all_of_it() -> None:
    segments = segments_of(5_000, 1_048_575)
    bucket = CountingBucket(segments)
    with pytest.raises(Stopped):
        housekeeping._compose(cast(Place, bucket), "artifacts/x", segments, lambda: len(bucket.parts) >= 3)
    assert len(bucket.parts) == 3
    assert bucket.aborted
    assert not bucket.completed
