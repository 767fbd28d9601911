"""An object store in the memory of one process: one module, which ``dict://NAME`` opens once it is in the table."""

from __future__ import annotations

import threading
import uuid
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange, split
from partwise.engine.ports import BLOCK
from partwise.storage.objects.store import Listed, ObjectMissing

_PLACES: dict[str, DictStore] = {}


@dataclass(frozen=True)
class _Object:
    data: bytes
    modified: datetime


class _Put:
    def __init__(self, target: dict[str, _Object] | dict[int, _Object], key: str | int, size: int) -> None:
        self._target, self._key, self._size = target, key, size
        self._data = bytearray()

    def write(self, block: memoryview) -> None:
        self._data += block

    def finish(self) -> str:
        assert len(self._data) == self._size
        self._target[self._key] = _Object(bytes(self._data), datetime.now(UTC))  # type: ignore[index]
        return "tag"

    def abort(self) -> None:
        self._data.clear()


class DictStore:
    """See ``partwise.storage.objects.store.ObjectStore``."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._mutex = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self._parts: dict[tuple[str, str], dict[int, _Object]] = defaultdict(dict)

    def check(self) -> None: ...

    def close(self) -> None: ...

    def put(self, key: str, size: int, *, upload: str | None = None, part: int = 0) -> _Put:
        return _Put(self._objects, key, size) if upload is None else _Put(self._parts[key, upload], part, size)

    def _get(self, key: str) -> bytes:
        try:
            return self._objects[key].data
        except KeyError:
            raise ObjectMissing(key) from None

    def read(self, pieces: Iterable[tuple[str, ByteRange]]) -> Generator[bytes]:
        for key, span in pieces:
            for block in split(span, BLOCK):
                yield self._get(key)[block.offset : block.end]

    def read_small(self, key: str) -> bytes:
        return self._get(key)[:100]

    def size(self, key: str) -> int:
        return len(self._get(key))

    def begin(self, key: str) -> str:
        upload = uuid.uuid4().hex
        self._parts[key, upload] = {}
        return upload

    def copy(self, key: str, upload: str, part: int, source: str, span: ByteRange) -> str:
        self._parts[key, upload][part] = _Object(self._get(source)[span.offset : span.end], datetime.now(UTC))
        return "tag"

    def complete(self, key: str, upload: str, tags: Sequence[str]) -> None:
        parts = self._parts.pop((key, upload))
        data = b"".join(parts[number].data for number in range(1, len(tags) + 1))
        self._objects[key] = _Object(data, datetime.now(UTC))

    def abort(self, key: str, upload: str) -> None:
        self._parts.pop((key, upload), None)

    def delete(self, key: str) -> None:
        self._objects.pop(key, None)

    def list(self, below: str = "") -> Iterator[Listed]:
        found = sorted((key, item) for key, item in list(self._objects.items()) if key.startswith(below))
        return (Listed(key, len(item.data), item.modified) for key, item in found)

    def list_unfinished(self, below: str = "") -> Iterator[Listed]:
        begun = [key for key in list(self._parts) if key[0].startswith(below)]
        return (Listed(key, 0, datetime.now(UTC), upload) for key, upload in begun)

    def presign(self, key: str, seconds: int, headers: Mapping[str, str]) -> str | None:
        return None


class StrictStore(DictStore):
    """One that keeps to S3's limits, which some stores do not enforce."""

    _LEAST = 5 << 20

    def copy(self, key: str, upload: str, part: int, source: str, span: ByteRange) -> str:
        if len(self._get(source)) <= self._LEAST:
            raise StorageFailed("InvalidRequest: ranges are copied only of objects of more than 5 MiB")
        return super().copy(key, upload, part, source, span)

    def complete(self, key: str, upload: str, tags: Sequence[str]) -> None:
        parts = self._parts[key, upload]
        if not tags:
            raise StorageFailed("MalformedXML: an object has at least one part")
        if any(len(parts[number].data) < self._LEAST for number in range(1, len(tags))):
            raise StorageFailed("EntityTooSmall: a part that is not the last has less than 5 MiB")
        super().complete(key, upload, tags)


def check_url(url: str) -> None:
    if not urlsplit(url).netloc:
        raise ValueError("The URL must read dict://NAME.")


def open_url(url: str) -> DictStore:
    check_url(url)
    return _PLACES.setdefault(url, DictStore(url))
