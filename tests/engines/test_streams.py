"""Bytes to and from the store: what is asked ahead, what breaks, what is lost, and a store that falls silent."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from partwise.core.errors import NotFound, StorageFailed
from partwise.core.ranges import ByteRange
from partwise.storage.s3 import streams as s3_streams
from partwise.storage.s3.address import S3Address
from partwise.storage.s3.store import S3Store
from tests.engines.seaweed import Seaweed
from tests.support.proxy import Proxy

pytestmark = pytest.mark.engines

SIZE = 200_000
#: More than a store's answer may leave in the buffers of two kernels, so that it cannot be over before it is read.
LARGE = 32 << 20


class Watched:
    """A bucket behind a proxy that counts what is asked."""

    def __init__(self, url: str, store: Seaweed, proxy: Proxy) -> None:
        self.proxy = proxy
        self.asked = 0
        self._news = threading.Condition()
        self.bucket = S3Store(S3Address.parse(url.replace(store.endpoint, proxy.url)))
        proxy.mangle = self._count

    def _count(self, _: int, data: bytes) -> bytes:
        with self._news:
            self.asked += data.startswith(b"GET ")
            self._news.notify_all()
        return data

    def wait_for(self, asked: int) -> None:
        """Until so many requests were seen, and no more."""
        with self._news:
            assert self._news.wait_for(lambda: self.asked >= asked, 30)
        assert self.asked == asked

    def store(self, key: str, data: bytes) -> tuple[str, ByteRange]:
        put = self.bucket.put(key, len(data))
        put.write(memoryview(data))
        put.finish()
        return key, ByteRange(0, len(data))


@pytest.fixture
def watched(s3_url: str, seaweed_server: Seaweed) -> Iterator[Watched]:
    with Proxy(seaweed_server.port) as proxy:
        made = Watched(s3_url, seaweed_server, proxy)
        yield made
        made.bucket.close()


def test_the_next_objects_are_asked_for_while_one_is_read(watched: Watched) -> None:
    data = [os.urandom(SIZE + number) for number in range(30)]
    pieces = [watched.store(f"small/{number}", content) for number, content in enumerate(data)]
    blocks = watched.bucket.read(pieces)
    read = next(blocks)
    watched.wait_for(s3_streams.AHEAD_OBJECTS + 1)
    assert read + b"".join(blocks) == b"".join(data)
    assert watched.asked == len(data)


def test_of_large_objects_one_is_asked_for_ahead(watched: Watched) -> None:
    pieces = [watched.store(f"large/{number}", bytes(s3_streams.AHEAD_BYTES)) for number in range(4)]
    blocks = watched.bucket.read([(key, ByteRange(span.offset, span.size - 1)) for key, span in pieces])
    next(blocks)
    watched.wait_for(3)  # the first, and as many as it takes to have more than AHEAD_BYTES
    blocks.close()


def test_ranges_of_objects_are_read(watched: Watched) -> None:
    first, second = os.urandom(SIZE), os.urandom(SIZE)
    watched.store("a", first)
    watched.store("b", second)
    pieces = [("a", ByteRange(10, 5)), ("b", ByteRange(0, SIZE)), ("a", ByteRange(SIZE - 1, 1))]
    assert b"".join(watched.bucket.read(pieces)) == first[10:15] + second + first[-1:]


def test_connections_that_break_are_made_again(watched: Watched) -> None:
    data = os.urandom(LARGE)
    pieces = [watched.store("a", data), watched.store("b", data)]
    blocks = watched.bucket.read(pieces)
    read = [next(blocks)]
    watched.proxy.cut()
    read += blocks
    assert b"".join(read) == 2 * data
    assert watched.asked > 2


def test_an_object_that_is_gone_is_told_where_it_is_met(watched: Watched) -> None:
    data = os.urandom(SIZE)
    blocks = watched.bucket.read([watched.store("a", data), ("gone", ByteRange(0, 1))])
    assert next(blocks) == data
    with pytest.raises(NotFound):
        next(blocks)


def test_a_store_that_falls_silent_is_given_up(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    piece = watched.store("a", b"1")
    monkeypatch.setattr(s3_streams, "SILENCE_SECONDS", 0.2)
    watched.proxy.cut()
    watched.proxy.hold_after(0)
    with pytest.raises(StorageFailed, match="did not respond in time"):
        list(watched.bucket.read([piece]))
    put = watched.bucket.put("b", 1)
    put.write(memoryview(b"2"))
    with pytest.raises(StorageFailed, match="did not respond in time"):
        put.finish()
    monkeypatch.undo()
    watched.proxy.release()
    assert list(watched.bucket.read([piece])) == [b"1"]
