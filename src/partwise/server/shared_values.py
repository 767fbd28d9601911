"""Metrics of several worker processes, in memory that they share: no folder, no file, nothing that can be cleaned away.

The parent process makes one anonymous mapping before it starts workers. Each worker writes into a region of its own,
and whichever answers ``/metrics`` adds up all regions. A worker that takes a region over from a dead one goes on with
its counters; gauges count for living workers alone. Where a region is full, a value stays its process's own: metrics
never stop a worker.

A region is a list of entries, each a key (JSON, with its length before it) and a double. Entries are only ever added,
by one process, and the length of the list is written last: others read it at any time without a lock.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator
from threading import Lock
from typing import Any

from prometheus_client import values

_REGION_BYTES = 256 << 10
_LENGTH = struct.Struct("=I")
_VALUE = struct.Struct("=d")
_FLAG = struct.Struct("=Q")
_FIRST = 8  # where entries begin in a region, behind the length of the list

#: The name of a value: of its metric, its own, and the values of its labels.
Key = tuple[str, str, tuple[str, ...]]


class SharedMemory:
    """Memory for ``regions`` workers at once, and numbers that the parent process tells them all."""

    def __init__(self, regions: int, numbers: int) -> None:
        self.regions = regions
        self._numbers = numbers
        self._head = (regions + numbers) * _FLAG.size
        self._memory = mmap.mmap(-1, self._head + regions * _REGION_BYTES)

    def close(self) -> None:
        """Give the memory back, in this process."""
        self._memory.close()

    def set_alive(self, region: int, alive: bool) -> None:
        """Note whether a living process has the region."""
        _FLAG.pack_into(self._memory, region * _FLAG.size, alive)

    def is_alive(self, region: int) -> bool:
        """Return whether a living process has the region."""
        return bool(_FLAG.unpack_from(self._memory, region * _FLAG.size)[0])

    def number(self, index: int) -> int:
        """Return a number of the parent's."""
        number: int = _FLAG.unpack_from(self._memory, (self.regions + index) * _FLAG.size)[0]
        return number

    def set_number(self, index: int, value: int) -> None:
        """Tell a number to all processes. The parent alone does that."""
        _FLAG.pack_into(self._memory, (self.regions + index) * _FLAG.size, value)

    def region(self, index: int) -> memoryview:
        """Return the bytes of a region."""
        begin = self._head + index * _REGION_BYTES
        return memoryview(self._memory)[begin : begin + _REGION_BYTES]


class _Region:
    """The entries of one region, as far as they have been read."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._read_to = _FIRST
        self._places: dict[Key, int] = {}

    def places(self) -> dict[Key, int]:
        """Return where each value is. Reads what was added since the last time."""
        (length,) = _LENGTH.unpack_from(self._data)
        while self._read_to < length:
            (size,) = _LENGTH.unpack_from(self._data, self._read_to)
            text = bytes(self._data[self._read_to + _LENGTH.size : self._read_to + _LENGTH.size + size])
            metric, name, labels = json.loads(text)
            place = self._read_to + _LENGTH.size + _padded(size)
            self._places[metric, name, tuple(labels)] = place
            self._read_to = place + _VALUE.size
        return self._places

    def get(self, place: int) -> float:
        value: float = _VALUE.unpack_from(self._data, place)[0]
        return value

    def set(self, place: int, value: float) -> None:
        _VALUE.pack_into(self._data, place, value)

    def add(self, key: Key) -> int | None:
        """Add an entry with the value 0; its place, or None when the region is full."""
        places = self.places()
        text = json.dumps(key).encode()
        place = self._read_to + _LENGTH.size + _padded(len(text))
        if place + _VALUE.size > len(self._data):
            return None
        _LENGTH.pack_into(self._data, self._read_to, len(text))
        self._data[self._read_to + _LENGTH.size : self._read_to + _LENGTH.size + len(text)] = text
        self.set(place, 0.0)
        places[key] = place
        self._read_to = place + _VALUE.size
        _LENGTH.pack_into(self._data, 0, self._read_to)
        return place


def _padded(size: int) -> int:
    """The bytes of a text of ``size``, so that the value behind it lies at a multiple of eight."""
    return size + -(size + _LENGTH.size) % _VALUE.size


class SharedRegistry:
    """Shared metrics as one worker sees them: its own region to write, and the others to read."""

    def __init__(self, memory: SharedMemory, own: int) -> None:
        self._memory = memory
        self._regions = [_Region(memory.region(index)) for index in range(memory.regions)]
        self._own = self._regions[own]
        self._lock = Lock()

    def __call__(self, kind: str, metric: str, name: str, _names: Any, labels: Any, *_: Any, **__: Any) -> Value:
        """Make a value, as prometheus_client's metrics ask for it."""
        key = (metric, name, tuple(labels))
        with self._lock:
            place = self._own.places().get(key)
            if place is None:
                place = self._own.add(key)
            elif kind == "gauge":
                self._own.set(place, 0.0)  # a dead process's
        return Value(self, key, place, gauge=kind == "gauge")

    def change(self, value: Value, amount: float, *, to: bool) -> None:
        """Add to this process's value, or set it."""
        with self._lock:
            if value.place is None:
                value.alone = amount if to else value.alone + amount
            else:
                self._own.set(value.place, amount if to else self._own.get(value.place) + amount)

    def sum(self, value: Value) -> float:
        """Add up a value over all processes."""
        with self._lock:
            found = value.alone
            for index, region in enumerate(self._regions):
                place = region.places().get(value.key)
                if place is not None and (not value.gauge or self._memory.is_alive(index)):
                    found += region.get(place)
            return found

    def all_keys(self) -> Iterator[Key]:
        """Return what any process has a value for."""
        with self._lock:
            found = {key for region in self._regions for key in region.places()}
        return iter(found)


class Value:
    """A number of one process that others add theirs to. Has the methods of prometheus_client's values."""

    _multiprocess = False

    def __init__(self, registry: SharedRegistry, key: Key, place: int | None, *, gauge: bool) -> None:
        self._registry = registry
        self.key, self.place, self.gauge = key, place, gauge
        #: The value where the region has no room for it.
        self.alone = 0.0

    def inc(self, amount: float) -> None:
        """Add to it."""
        self._registry.change(self, amount, to=False)

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Set this process's part of it."""
        self._registry.change(self, value, to=True)

    def get(self) -> float:
        """Return the sum over all processes."""
        return self._registry.sum(self)

    def set_exemplar(self, exemplar: object) -> None:
        """There are none."""

    def get_exemplar(self) -> None:
        """There are none."""


def share_values(memory: SharedMemory, region: int) -> SharedRegistry:
    """Keep every metric that this process creates from now on in ``region`` of ``memory``."""
    registry = SharedRegistry(memory, region)
    values.ValueClass = registry
    return registry
