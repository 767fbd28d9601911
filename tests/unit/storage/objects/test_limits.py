"""Objects made of other objects, in a store that keeps to the limits of S3."""

from __future__ import annotations

import random

import pytest

from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Segment
from partwise.storage.objects import place as places
from partwise.storage.objects.housekeeping import _compose
from partwise.storage.objects.place import Place
from tests.support.dict_store import StrictStore

MIB = 1 << 20
DATA = random.Random(3).randbytes(20 * MIB)


@pytest.fixture
def place() -> Place:
    return Place(StrictStore("dict://strict"))


def content(place: Place, key: str) -> bytes:
    return b"".join(place.read([(key, ByteRange(0, place.size(key)))]))


@pytest.mark.parametrize("size", [1, MIB, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 12 * MIB, 12 * MIB + 1])
def test_an_object_of_any_size_is_copied(place: Place, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(places, "COPY_SIZE", 6 * MIB)
    place.put_object("source", DATA[:size])
    place.copy_object("copy", "source", size)
    assert content(place, "copy") == DATA[:size]
    assert not list(place.store.list_unfinished())


def test_a_copy_that_fails_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever limits a store has."""
    monkeypatch.setattr(places, "COPY_SIZE", 4 * MIB)
    place.put_object("source", DATA)
    with pytest.raises(StorageFailed, match="EntityTooSmall"):
        place.copy_object("copy", "source", len(DATA))
    assert [item.key for item in place.store.list()] == ["source"]
    assert not list(place.store.list_unfinished())


@pytest.mark.parametrize(
    "sizes",
    [
        [16 * MIB, 3 * MIB],
        [16 * MIB, 1],
        [MIB, 16 * MIB, 3 * MIB],
        [17 * MIB, 3 * MIB],
        [15 * MIB, 5 * MIB],
        [20 * MIB],
        [16 * MIB, MIB, MIB, MIB],
        [5 * MIB + 1],
    ],
)
def test_chunks_of_any_sizes_are_made_one_object(place: Place, sizes: list[int]) -> None:
    segments, end = [], 0
    for number, size in enumerate(sizes):
        segments.append(Segment(offset=end, size=size, ref=f"{number}"))
        place.put_object(f"{number}", DATA[end : end + size])
        end += size
    _compose(place, "whole", segments)
    assert content(place, "whole") == DATA[:end]
