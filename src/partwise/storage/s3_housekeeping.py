"""What the object store needs beside requests: delete garbage, merge small segments, find what was abandoned.

One server at a time does it. Each step may be cut anywhere: what is left is found again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from partwise.core.errors import NotFound, OutOfSpace, StorageFailed
from partwise.core.ranges import ByteRange
from partwise.core.records import Segment
from partwise.engine.ports import ObjectRecords
from partwise.storage.s3_bucket import Bucket, Listed
from partwise.storage.s3_writer import RunInThread, part_size

log = logging.getLogger(__name__)

#: Artifacts whose segments are smaller than this on average, in bytes, are made one object: a request for each of
#: many small ones costs more than their bytes.
SMALL_SEGMENT = 8 << 20
#: Garbage that is deleted in one go, and keys that are looked up in one.
BATCH = 1000
#: Seconds between two looks for abandoned objects, which list the whole store.
REAP_SECONDS = 6 * 3600.0


class Housekeeping:
    """The rounds of one server. ``merge_below``: average size of segments to merge, None for SMALL_SEGMENT."""

    def __init__(
        self,
        bucket: Bucket,
        records: ObjectRecords,
        run: RunInThread,
        *,
        grace: timedelta,
        margin: timedelta,
        clock: Callable[[], datetime],
        merge_below: int | None = None,
    ) -> None:
        self._bucket, self._records, self._run = bucket, records, run
        self._grace, self._margin, self._clock = grace, margin, clock
        self._merge_below = merge_below or SMALL_SEGMENT

    async def run(self, pause: float) -> None:
        """Go on until cancelled. Servers that started together drift apart."""
        reaped = time.monotonic() - REAP_SECONDS * random.random()  # noqa: S311 (no secret)
        while True:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            try:
                lock = await self._records.try_name("object storage housekeeping")
                if lock is None:
                    continue
                try:
                    await self.delete_garbage()
                    await self.merge()
                    if time.monotonic() - reaped > REAP_SECONDS:
                        reaped = time.monotonic()
                        await self.reap()
                finally:
                    lock.release()
            except (StorageFailed, OutOfSpace) as error:
                log.warning("housekeeping failed for now: %s", error)
            except Exception:
                log.exception("housekeeping failed for now")

    async def delete_garbage(self) -> int:
        """Delete objects that nothing has needed for the time of grace; how many."""
        deleted = 0
        while refs := await self._records.list_garbage(self._clock() - self._grace, BATCH):
            await self._run(self._delete, refs)
            await self._records.forget_garbage(refs)
            deleted += len(refs)
        return deleted

    def _delete(self, refs: Sequence[str]) -> None:
        for ref in refs:
            self._bucket.delete(ref)

    async def merge(self, limit: int = 10) -> int:
        """Make artifacts of many small segments one object each; how many."""
        merged = 0
        for sha256 in await self._records.scattered_artifacts(average=self._merge_below, limit=limit):
            merged += await self._merge_one(sha256)
        return merged

    async def _merge_one(self, sha256: str) -> bool:
        segments = await self._records.list_segments(sha256, limit=10_000_000)
        size = segments[-1].range.end
        key = f"artifacts/{sha256}/{uuid.uuid4().hex}"
        try:
            await self._run(_compose, self._bucket, key, segments)
        except NotFound:
            return False  # deleted meanwhile
        new = Segment(offset=0, size=size, ref=key)
        if await self._records.replace_segments(sha256, [segment.ref for segment in segments], new, self._clock()):
            return True
        await self._run(self._bucket.delete, key)
        return False

    async def reap(self) -> int:
        """Delete objects, and give up multipart uploads, that are older than the margin and belong to nothing."""
        oldest = self._clock() - self._margin
        reaped = 0
        for below in ("chunks/", "artifacts/"):
            listed = await self._run(_older, self._bucket.list(below), oldest)
            for start in range(0, len(listed), BATCH):
                reaped += await self._reap(listed[start : start + BATCH])
            for unfinished in await self._run(_older, self._bucket.list_unfinished(below), oldest):
                assert unfinished.upload is not None
                await self._run(self._bucket.abort, unfinished.key, unfinished.upload)
                reaped += 1
        if reaped:
            log.warning("deleted %d abandoned objects", reaped)
        return reaped

    async def _reap(self, listed: Sequence[Listed]) -> int:
        refs = [item.key for item in listed]
        uploads = {ref.split("/")[1] for ref in refs if ref.startswith("chunks/")}
        known = await self._records.known_refs(sorted(uploads), refs)
        unknown = [ref for ref in refs if ref not in known]
        await self._run(self._delete, unknown)
        return len(unknown)


def _older(listed: Iterator[Listed], than: datetime) -> list[Listed]:
    """Those of a listing that were made before."""
    return [item for item in listed if item.modified < than]


def _compose(bucket: Bucket, key: str, segments: Sequence[Segment]) -> None:
    """Make one object of all segments. A part that lies within one segment is copied inside the store.

    All parts but the last are of one size, as some stores ask for.
    """
    size = segments[-1].range.end
    step = part_size(size)
    if size <= step:
        _send(bucket, key, segments, ByteRange(0, size))
        return
    upload = bucket.begin(key)
    try:
        etags, first = [], 0
        for number, offset in enumerate(range(0, size, step), 1):
            part = ByteRange(offset, min(step, size - offset))
            while segments[first].range.end <= offset:
                first += 1
            segment = segments[first]
            if part.end <= segment.range.end:
                within = ByteRange(offset - segment.offset, part.size)
                etags.append(bucket.copy(key, upload, number, segment.ref, within))
            else:
                etags.append(_send(bucket, key, segments[first:], part, upload, number))
        bucket.complete(key, upload, etags)
    except BaseException:
        bucket.abort(key, upload)
        raise


def _send(
    bucket: Bucket, key: str, segments: Sequence[Segment], span: ByteRange, upload: str | None = None, part: int = 0
) -> str:
    """Read ``span`` out of the segments, the first of which holds its first byte, and send it as it comes."""
    put = bucket.put(key, span.size, upload=upload, part=part)
    try:
        for segment in segments:
            start, end = max(segment.offset, span.offset), min(segment.range.end, span.end)
            if end <= start:
                break
            bucket.read(segment.ref, ByteRange(start - segment.offset, end - start), put.write)
        return put.finish()
    except BaseException:
        put.abort()
        raise
