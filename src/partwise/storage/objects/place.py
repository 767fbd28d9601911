"""The objects of one installation: whose the place is, and when an object is missing for certain."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from partwise.core.errors import StorageFailed
from partwise.core.ranges import ByteRange, split
from partwise.engine.ports import BLOCK
from partwise.storage.objects.store import LEAST_SOURCE, ObjectMissing, ObjectStore

#: The key of the object that says whose the place is.
MARKER = "installation"
#: The most bytes that a store copies in one request (S3: 5 GiB, and all parts but the last of one size).
COPY_SIZE = 1 << 30


class Place:
    """A store with its marker. What it says is missing is missing for certain: NotFound, or else StorageFailed.

    Every method blocks, and may run on several threads at once.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        #: The installation that this process serves; None before ``bind``.
        self._installation: str | None = None

    def bind(self, installation: str, *, recorded: bool) -> None:
        """Make sure that the objects belong to ``installation``, and mark the place where no marker says so yet.

        Raises StorageFailed, with what to do: see ``Storage.bind``.
        """
        where = self.store.where
        found = self._marker()
        if found is None:
            held = any(self._is_listed(below, whole=False) for below in ("chunks/", "artifacts/"))
            if held and not recorded:
                raise StorageFailed(
                    f"{where} holds objects, but the metadata database is empty. Is it the right database? Every "
                    "object would be deleted as abandoned. Restore the database that belongs to them, or use another "
                    "prefix."
                )
            if recorded and not held:
                raise StorageFailed(
                    f"The metadata database knows artifacts or chunks, but {where} is empty. Is it the right bucket "
                    f"and prefix? If the bytes are gone for good, store an object '{MARKER}' with the content "
                    f"'{installation}' there, and start again."
                )
            self.put_object(MARKER, installation.encode())
        elif found != installation:
            raise StorageFailed(
                f"{where} belongs to another installation ({found}) than the metadata database ({installation}). "
                "Use the database and the bucket that belong together. If they do (one was restored from a copy), "
                f"delete the object '{MARKER}' there and start again."
            )
        self._installation = installation

    def confirm_missing(self, error: ObjectMissing) -> None:
        """Return when the object is missing for certain; raise StorageFailed when nothing is known.

        Two independent ways must agree: the listing does not have it either, and the marker of the installation, which
        is always there, can be read and is the right one.
        """
        unknown = "The object store does not find an object, but may not be answering itself; nothing is known."
        if self._is_listed(error.key, whole=True):
            raise StorageFailed(unknown) from error
        if self._installation is not None and self._marker() != self._installation:
            raise StorageFailed(unknown) from error

    def _is_listed(self, key: str, *, whole: bool) -> bool:
        """Return whether a listing has an object of this key, or (not ``whole``) one whose key begins so."""
        return any(not whole or item.key == key for item in islice(self.store.list(key), 10))

    def _marker(self) -> str | None:
        """The installation that the place is marked as; None when a listing confirms that there is no marker."""
        try:
            return self.store.read_small(MARKER).decode("ascii", "replace").strip()
        except ObjectMissing as error:
            if self._is_listed(MARKER, whole=True):
                raise StorageFailed(
                    "The object store lists the marker of the installation and cannot read it."
                ) from error
            return None

    @contextmanager
    def _certain(self) -> Iterator[None]:
        try:
            yield
        except ObjectMissing as error:
            self.confirm_missing(error)
            raise

    def read(self, pieces: Iterable[tuple[str, ByteRange]]) -> Generator[bytes]:
        """As ``ObjectStore.read``. NotFound: an object is missing for certain."""
        with self._certain():
            yield from self.store.read(pieces)

    def copy(self, key: str, upload: str, part: int, source: str, span: ByteRange) -> str:
        """As ``ObjectStore.copy``. NotFound: the source is missing for certain."""
        with self._certain():
            return self.store.copy(key, upload, part, source, span)

    def copy_object(self, key: str, source: str, size: int) -> None:
        """Make another object of the first ``size`` bytes of ``source``. NotFound: that is missing for certain.

        It is done inside the store, where that copies ranges of an object of this size.
        """
        if size <= LEAST_SOURCE:
            self._put(key, size, self.read([(source, ByteRange(0, size))]))
            return
        upload = self.store.begin(key)
        try:
            parts = enumerate(split(ByteRange(0, size), COPY_SIZE), 1)
            tags = [self.copy(key, upload, part, source, span) for part, span in parts]
            self.store.complete(key, upload, tags)
        except BaseException:
            self.store.abort(key, upload)
            raise

    def put_object(self, key: str, data: bytes) -> None:
        """Store a small object."""
        pieces = split(ByteRange(0, len(data)), BLOCK)
        self._put(key, len(data), (memoryview(data)[piece.offset : piece.end] for piece in pieces))

    def _put(self, key: str, size: int, blocks: Iterable[bytes | memoryview]) -> None:
        put = self.store.put(key, size)
        try:
            for block in blocks:
                put.write(memoryview(block))
            put.finish()
        except BaseException:
            put.abort()
            raise

    def size(self, key: str) -> int:
        """An object's size. NotFound: it is missing for certain."""
        with self._certain():
            return self.store.size(key)
