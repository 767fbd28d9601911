"""The contract of object stores as a test suite, for pytest. A store's own tests take it whole::

class TestMyStore(ObjectStoreContract):
    @pytest.fixture
    def store(self):
        store = open_url("mine://…")  # an empty place
        yield store
        store.close()
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from partwise.core.ranges import ByteRange
from partwise.engine.ports import BLOCK
from partwise.storage.objects.store import ObjectMissing, ObjectStore

#: The least size of a part that is not the last one: S3 takes no smaller ones.
PART = 5 << 20


def send(store: ObjectStore, key: str, data: bytes, *, upload: str | None = None, part: int = 0) -> str:
    """Store ``data`` in blocks; the tag."""
    put = store.put(key, len(data), upload=upload, part=part)
    for start in range(0, len(data), 100_003):
        put.write(memoryview(data)[start : start + 100_003])
    return put.finish()


def fetch(store: ObjectStore, key: str, size: int) -> bytes:
    """All bytes of an object."""
    return b"".join(store.read([(key, ByteRange(0, size))]))


class ObjectStoreContract:
    """Tests with a fixture ``store``, which gives an empty place."""

    def test_the_place_is_there_and_has_a_name(self, store: ObjectStore) -> None:
        store.check()
        assert store.where
        assert list(store.list()) == []
        assert list(store.list_unfinished()) == []

    @pytest.mark.parametrize("size", [1, 1000, BLOCK, 3 * BLOCK + 17])
    def test_bytes_come_back(self, store: ObjectStore, size: int) -> None:
        data = os.urandom(size)
        assert send(store, "chunks/a/1", data)
        assert fetch(store, "chunks/a/1", size) == data
        assert store.size("chunks/a/1") == size
        assert store.read_small("chunks/a/1") == data[:100]

    def test_ranges_of_several_objects_are_read_in_one_go(self, store: ObjectStore) -> None:
        first, second = os.urandom(300_000), os.urandom(2 * BLOCK)
        send(store, "a", first)
        send(store, "b", second)
        pieces = [("b", ByteRange(7, 2 * BLOCK - 7)), ("a", ByteRange(0, 1)), ("a", ByteRange(299_999, 1))]
        blocks = list(store.read(pieces))
        assert b"".join(blocks) == second[7:] + first[:1] + first[-1:]
        assert max(map(len, blocks)) <= BLOCK

    def test_a_read_that_is_given_up_hurts_no_other(self, store: ObjectStore) -> None:
        data = os.urandom(4 * BLOCK)
        send(store, "a", data)
        for _ in range(3):
            blocks = store.read([("a", ByteRange(0, len(data)))])
            assert data.startswith(next(blocks))
            blocks.close()
        assert fetch(store, "a", len(data)) == data

    def test_nothing_is_kept_of_what_was_given_up(self, store: ObjectStore) -> None:
        put = store.put("a", 1000)
        put.write(memoryview(bytes(999)))
        put.abort()
        assert list(store.list()) == []
        with pytest.raises(ObjectMissing):
            store.size("a")

    @pytest.mark.parametrize(
        "call",
        [
            lambda store: list(store.read([("gone", ByteRange(0, 1))])),
            lambda store: store.size("gone"),
            lambda store: store.read_small("gone"),
            lambda store: store.copy("b", store.begin("b"), 1, "gone", ByteRange(0, 1)),
        ],
        ids=["read", "size", "read_small", "copy"],
    )
    def test_what_is_missing_is_told_so(self, store: ObjectStore, call: Callable[[ObjectStore], object]) -> None:
        with pytest.raises(ObjectMissing) as caught:
            call(store)
        assert caught.value.key == "gone"
        for unfinished in list(store.list_unfinished()):
            store.abort(unfinished.key, str(unfinished.upload))

    def test_an_object_in_parts(self, store: ObjectStore) -> None:
        source = os.urandom(PART + 1000)
        send(store, "source", source)
        last = os.urandom(10)
        upload = store.begin("whole")
        tags = ["", "", ""]
        tags[2] = send(store, "whole", last, upload=upload, part=3)
        tags[1] = store.copy("whole", upload, 2, "source", ByteRange(500, PART))
        tags[0] = send(store, "whole", source[:PART], upload=upload, part=1)
        assert [item.key for item in store.list("w")] == []
        assert [(item.key, item.upload) for item in store.list_unfinished()] == [("whole", upload)]
        store.complete("whole", upload, tags)
        data = source[:PART] + source[500 : 500 + PART] + last
        assert fetch(store, "whole", len(data)) == data
        assert list(store.list_unfinished()) == []

    def test_an_object_in_parts_that_is_given_up(self, store: ObjectStore) -> None:
        upload = store.begin("whole")
        send(store, "whole", b"part", upload=upload, part=1)
        store.abort("whole", upload)
        store.abort("whole", upload)
        assert list(store.list_unfinished()) == []
        assert list(store.list()) == []

    def test_deleting_is_idempotent(self, store: ObjectStore) -> None:
        send(store, "a", b"1")
        store.delete("a")
        store.delete("a")
        assert list(store.list()) == []

    def test_listings_have_keys_sizes_and_times(self, store: ObjectStore) -> None:
        for number in range(3):
            send(store, f"chunks/u/{number}", bytes(number + 1))
        send(store, "artifacts/a", b"1")
        listed = {item.key: item for item in store.list("chunks/")}
        assert {key: item.size for key, item in listed.items()} == {f"chunks/u/{n}": n + 1 for n in range(3)}
        for item in listed.values():
            assert abs(datetime.now(UTC) - item.modified) < timedelta(minutes=5)
            assert item.upload is None
        assert len(list(store.list())) == 4

    def test_more_objects_than_one_answer_lists(self, store: ObjectStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: send(store, f"many/{number:04}", b"1"), range(1005)))
        assert [item.key for item in store.list("many/")] == [f"many/{number:04}" for number in range(1005)]

    def test_many_threads_at_once(self, store: ObjectStore) -> None:
        contents = [os.urandom(200_000) for _ in range(16)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: send(store, f"k{number}", contents[number]), range(16)))
            got = list(pool.map(lambda number: fetch(store, f"k{number}", 200_000), range(16)))
        assert got == contents
