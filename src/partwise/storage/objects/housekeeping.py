"""Maintenance of the object store: delete garbage, merge small segments, find orphaned objects.

One server at a time does it. Each step may be cut anywhere: what is left is found again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile

from partwise.core.errors import NotFound, OutOfSpace, StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Segment
from partwise.engine.ports import ObjectRecords
from partwise.storage.files import no_failpoint
from partwise.storage.objects.place import Place
from partwise.storage.objects.store import LEAST_SOURCE, Listed, within
from partwise.storage.objects.writer import MAX_OBJECT, RunInThread, part_size

log = logging.getLogger(__name__)

#: Artifacts whose segments are smaller than this on average, in bytes, are made one object: a request for each of
#: many small ones costs more than their bytes.
SMALL_SEGMENT = 8 << 20
#: The keys of chunks and of merged artifacts.
_OWN = re.compile(r"chunks/[0-9a-f-]{36}/[0-9a-f]{32}|artifacts/[0-9a-f]{64}/[0-9a-f]{32}", re.ASCII)
#: What the keys of signatures begin with, before the SHA-256 of their artifact.
SIGNATURES = "signatures/"
_SIGNATURE = re.compile(r"signatures/[0-9a-f]{64}", re.ASCII)
#: Garbage that is deleted in one go, and keys that are looked up in one.
BATCH = 1000
#: Seconds between two looks for abandoned objects, which list the whole store.
REAP_SECONDS = 6 * 3600.0
#: Seconds between two looks of the whole cluster for artifacts to merge, and how many are merged then.
MERGE_SECONDS = 60.0
MERGED_AT_ONCE = 10
#: When a server looked last, and up to when all that was linked has been merged: names of times in the records.
_LOOKED, _MERGED = "merge", "merged"
#: What a look takes in again: commits that took that long, on machines whose clocks differ.
_OVERLAP = timedelta(minutes=10)
#: Objects that are deleted at once.
DELETIONS = 8


class Housekeeping:
    """The rounds of one server. ``merge_below``: average size of segments to merge, None for SMALL_SEGMENT."""

    def __init__(
        self,
        place: Place,
        records: ObjectRecords,
        run: RunInThread,
        *,
        grace: timedelta,
        margin: timedelta,
        clock: Callable[[], datetime],
        failpoint: Callable[[str], None] = no_failpoint,
        merge_below: int | None = None,
    ) -> None:
        self._place, self._records, self._run = place, records, run
        self._grace, self._margin, self._clock = grace, margin, clock
        self._failpoint = failpoint
        self._stopping = threading.Event()
        self._merge_below = merge_below or SMALL_SEGMENT
        #: Artifacts that can never be merged: not looked at again by this process.
        self._left_alone: set[str] = set()

    async def run(self, pause: float) -> None:
        """Run until cancelled. The intervals are randomized, so that servers started together drift apart."""
        reaped = time.monotonic() - REAP_SECONDS * random.random()  # noqa: S311 (no secret)
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                lock = await self._records.try_name("object storage housekeeping")
                if lock is None:
                    continue
                try:
                    await self.delete_garbage()
                    await self.merge_when_due()
                    if time.monotonic() - reaped > REAP_SECONDS:
                        reaped = time.monotonic()
                        await self.reap()
                finally:
                    lock.release()
            except (StorageFailed, OutOfSpace) as error:
                log.warning("maintenance of the object store failed and will be repeated: %s", error)
            except Exception:
                log.exception("maintenance of the object store failed and will be repeated")

    def stop(self) -> None:
        """Let a merge that runs end with the part that it is at, unfinished."""
        self._stopping.set()

    async def delete_garbage(self) -> int:
        """Delete objects that nothing has needed for the time of grace; how many."""
        deleted = 0
        while refs := await self._records.list_garbage(self._clock() - self._grace, BATCH):
            await asyncio.gather(*(self._run(self._delete, refs[first::DELETIONS]) for first in range(DELETIONS)))
            self._failpoint("garbage.deleted")
            await self._records.forget_garbage(refs)
            deleted += len(refs)
        return deleted

    def _delete(self, refs: Sequence[str]) -> None:
        for ref in refs:
            self._place.store.delete(ref)

    async def merge_when_due(self) -> int:
        """Merge, if no server of the cluster has done so within MERGE_SECONDS; how many."""
        now, last = self._clock(), await self._records.noted_clock(_LOOKED)
        if last is not None and abs((now - last).total_seconds()) < MERGE_SECONDS:
            return 0
        await self._records.note_clock(now, _LOOKED)
        done = await self._records.noted_clock(_MERGED)
        merged, is_all = await self._merge_some(MERGED_AT_ONCE, None if done is None else done - _OVERLAP)
        if is_all and not self._stopping.is_set():
            await self._records.note_clock(now, _MERGED)
        return merged

    async def merge(self, limit: int = MERGED_AT_ONCE) -> int:
        """Make artifacts of many small segments one object each; how many."""
        merged, _ = await self._merge_some(limit, None)
        return merged

    async def _merge_some(self, limit: int, since: datetime | None) -> tuple[int, bool]:
        """Merge some of the artifacts that were linked from ``since`` on; how many, and whether these were all."""
        merged = 0
        most = limit + len(self._left_alone)
        found = await self._records.scattered_artifacts(average=self._merge_below, limit=most, since=since)
        for sha256 in [sha256 for sha256 in found if sha256 not in self._left_alone][:limit]:
            merged += await self._merge_one(sha256)
        return merged, len(found) < most

    async def _merge_one(self, sha256: str) -> bool:
        segments = await self._records.list_segments(sha256, limit=10_000_000)
        size = segments[-1].range.end if segments else 0
        if not 0 < size <= MAX_OBJECT:
            self._left_alone.add(sha256)
            return False
        key = f"artifacts/{sha256}/{uuid.uuid4().hex}"
        try:
            await self._run(_compose, self._place, key, segments, self._stopping.is_set)
        except NotFound:
            # Deleted meanwhile, or the store has lost some of it: whoever reads it, or `partwise check`, is told.
            self._left_alone.add(sha256)
            return False
        except Stopped:
            return False
        self._failpoint("merge.composed")
        new = Segment(offset=0, size=size, ref=key)
        if await self._records.replace_segments(sha256, [segment.ref for segment in segments], new, self._clock()):
            self._failpoint("merge.recorded")
            return True
        await self._run(self._place.store.delete, key)
        return False

    async def reap(self) -> int:
        """Delete objects that are older than the margin and belong to nothing.

        An unfinished one may be a large chunk that a slow client still sends: it has seven times as long.
        """
        oldest, begun_before = self._clock() - self._margin, self._clock() - 7 * self._margin
        reaped = 0
        for below in ("chunks/", "artifacts/"):
            listing = self._place.store.list(below)
            while listed := await self._run(_next, listing):  # a store may hold more keys than fit into memory
                reaped += await self._reap([item for item in listed if item.modified < oldest and _is_own(item.key)])
            listing = self._place.store.list_unfinished(below)
            while listed := await self._run(_next, listing):
                for unfinished in listed:
                    if unfinished.modified < begun_before and unfinished.upload is not None and _is_own(unfinished.key):
                        await self._run(self._place.store.abort, unfinished.key, unfinished.upload)
                        reaped += 1
        reaped += await self._reap_signatures(oldest)
        if reaped:
            log.warning("deleted %d orphaned objects", reaped)
        return reaped

    async def _reap_signatures(self, oldest: datetime) -> int:
        """Delete signatures of artifacts that are gone: made while those were deleted, or left by a crash."""
        reaped, listing = 0, self._place.store.list(SIGNATURES)
        while listed := await self._run(_next, listing):
            old = [item.key for item in listed if item.modified < oldest and _SIGNATURE.fullmatch(item.key)]
            digests = [key.removeprefix(SIGNATURES) for key in old]
            known = await self._known_artifacts(digests)
            gone = [SIGNATURES + digest for digest in digests if digest not in known]
            await self._run(self._delete, gone)
            reaped += len(gone)
        return reaped

    async def _known_artifacts(self, digests: Sequence[str]) -> set[str]:
        """Return those of the sorted digests that are recorded artifacts. Listing and records have the same order."""
        known: set[str] = set()
        if digests:
            # The largest digest below the first: the records are asked for those above it.
            after = f"{int(digests[0], 16) - 1:064x}" if int(digests[0], 16) else ""
            while page := await self._records.all_artifacts(after, BATCH):
                known.update(digest for digest, _ in page)
                after = page[-1][0]
                if after >= digests[-1]:
                    break
        return known

    async def _reap(self, listed: Sequence[Listed]) -> int:
        refs = [item.key for item in listed]
        uploads = {ref.split("/")[1] for ref in refs if ref.startswith("chunks/")}
        known = await self._records.known_refs(sorted(uploads), refs)
        unknown = [ref for ref in refs if ref not in known]
        await self._run(self._delete, unknown)
        return len(unknown)


def _is_own(key: str) -> bool:
    """Return whether a key has the exact shape of this installation's keys. Longer prefixes are other installations."""
    return _OWN.fullmatch(key) is not None


def _next(listing: Iterator[Listed]) -> list[Listed]:
    """The next so many of a listing; empty at its end. Blocks."""
    return list(islice(listing, BATCH))


class Stopped(Exception):
    """The server ends, and what was begun is given up."""


def _compose(place: Place, key: str, segments: Sequence[Segment], stopping: Callable[[], bool] = lambda: False) -> None:
    """Make one object of all segments. A part that lies within one large segment is copied inside the store.

    All parts but the last are of one size, as some stores ask for.
    """
    size = segments[-1].range.end
    step = part_size(size)
    if size <= step:
        _send(place, key, segments, 0, ByteRange(0, size))
        return
    upload = place.store.begin(key)
    try:
        etags, first = [], 0
        for number, offset in enumerate(range(0, size, step), 1):
            if stopping():
                raise Stopped
            part = ByteRange(offset, min(step, size - offset))
            while segments[first].range.end <= offset:
                first += 1
            segment = segments[first]
            if part.end <= segment.range.end and segment.size > LEAST_SOURCE:
                within = ByteRange(offset - segment.offset, part.size)
                etags.append(place.copy(key, upload, number, segment.ref, within))
            else:
                etags.append(_send(place, key, segments, first, part, upload, number))
        place.store.complete(key, upload, etags)
    except BaseException:
        place.store.abort(key, upload)
        raise


def _send(
    place: Place,
    key: str,
    segments: Sequence[Segment],
    first: int,
    span: ByteRange,
    upload: str | None = None,
    part: int = 0,
) -> str:
    """Read ``span`` out of the segments, of which that at ``first`` holds its first byte, and send it as it comes."""
    put = place.store.put(key, span.size, upload=upload, part=part)
    try:
        # Not a slice, which would copy them all.
        following = map(segments.__getitem__, range(first, len(segments)))
        for block in place.read(within(takewhile(lambda segment: segment.offset < span.end, following), span)):
            put.write(memoryview(block))
        return put.finish()
    except BaseException:
        put.abort()
        raise
