"""The catalog port over SQL: each method hands one query function to the runner. What they do is in their modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from partwise.catalog import artifacts, chunks, commits, objects, tasks, tokens, transfer, uploads
from partwise.catalog.runner import Runner
from partwise.core.ranges import ByteRange
from partwise.core.records import Artifact, Chunk, Page, Segment, Task, Totals, Upload, Usage
from partwise.engine.ports import OwnerLimits, Token


class SqlCatalog:
    """Implements ``engine.ports.Catalog`` and ``engine.ports.Tokens``, whose docstrings say what each method does."""

    # ruff: noqa: D102 (said once, in the ports)

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._read, self._write, self._free = runner.read, runner.write, runner.free

    async def start(self, *, look_only: bool = False) -> None:
        await self._runner.start(look_only=look_only)

    async def stop(self) -> None:
        await self._runner.stop()

    async def check_writable(self) -> None:
        await self._runner.check_writable()

    # uploads

    async def create_upload(self, upload: Upload, limits: OwnerLimits) -> None:
        await self._write(uploads.create_upload, upload, limits)

    async def set_size(self, upload_id: str, size: int, limits: OwnerLimits, now: datetime) -> Upload:
        return await self._write(uploads.set_size, upload_id, size, limits, now)

    async def get_upload(self, upload_id: str) -> Upload:
        return await self._read(uploads.get_upload, upload_id)

    async def list_uploads(
        self,
        owner: str | None,
        *,
        offset: int = 0,
        limit: int = 100,
        states: Sequence[str] = (),
        search: str = "",
        internal: bool = False,
    ) -> Page[Upload]:
        return await self._read(
            uploads.list_uploads, owner, offset=offset, limit=limit, states=states, search=search, internal=internal
        )

    async def set_name(self, upload_id: str, filename: str | None, media_type: str | None, now: datetime) -> None:
        await self._write(uploads.set_name, upload_id, filename, media_type, now)

    async def begin_delete(self, upload_id: str) -> Upload:
        return await self._free(uploads.begin_delete, upload_id)

    async def finish_delete(self, upload_id: str) -> None:
        await self._free(uploads.finish_delete, upload_id)

    async def list_unattended(self) -> list[Upload]:
        return await self._read(uploads.list_unattended)

    async def forget_parts(self, upload_id: str) -> None:
        await self._write(uploads.forget_parts, upload_id)

    async def idle_uploads(self, *, open_before: datetime, completed_before: datetime, limit: int) -> list[Upload]:
        return await self._read(
            uploads.idle_uploads, open_before=open_before, completed_before=completed_before, limit=limit
        )

    async def expire_upload(self, upload_id: str, *, open_before: datetime, completed_before: datetime) -> bool:
        return await self._free(
            uploads.expire_upload, upload_id, open_before=open_before, completed_before=completed_before
        )

    async def surplus_uploads(self, keep: int, limit: int) -> list[str]:
        return await self._read(uploads.surplus_uploads, keep, limit)

    async def touch(self, upload_id: str, now: datetime) -> None:
        await self._write(uploads.touch, upload_id, now)

    # chunks

    async def find_chunks(self, upload_id: str, span: ByteRange, limit: int = 100) -> tuple[Upload, list[Chunk], int]:
        return await self._read(chunks.find_chunks, upload_id, span, limit)

    async def list_chunks(self, upload_id: str, *, start: int = 0, limit: int | None = None) -> list[Chunk]:
        return await self._read(chunks.list_chunks, upload_id, start=start, limit=limit)

    async def record_chunk(
        self, upload_id: str, chunk: Chunk, *, now: datetime, max_chunks: int, replace: bool = False
    ) -> Chunk:
        return await self._write(chunks.record_chunk, upload_id, chunk, now=now, max_chunks=max_chunks, replace=replace)

    async def unrecord_chunk(self, upload_id: str, offset: int) -> bool:
        return await self._write(chunks.unrecord_chunk, upload_id, offset)

    async def mark_durable(self, upload_id: str, seq: int) -> None:
        await self._write(chunks.mark_durable, upload_id, seq)

    async def unrecord_undurable(self, upload_id: str) -> int:
        return await self._write(chunks.unrecord_undurable, upload_id)

    async def pending_flush(self, limit: int) -> list[Upload]:
        return await self._read(chunks.pending_flush, limit)

    async def note_clock(self, now: datetime) -> None:
        await self._write(chunks.note_clock, now)

    async def noted_clock(self) -> datetime | None:
        return await self._read(chunks.noted_clock)

    async def installation(self) -> tuple[str, bool]:
        return await self._write(chunks.installation)

    async def grow(self, upload_id: str, end: int, limits: OwnerLimits) -> None:
        await self._write(uploads.grow, upload_id, end, limits)

    async def end_growth(self, upload_id: str) -> int | None:
        return await self._free(uploads.end_growth, upload_id)

    async def new_boot(self, boot_id: str, *, distrust: bool = False) -> int:
        return await self._write(chunks.new_boot, boot_id, distrust=distrust)

    # commit

    async def publish_digest(self, upload_id: str, epoch: int, hashed: int, digest: str | None) -> bool:
        return await self._write(commits.publish_digest, upload_id, epoch, hashed, digest)

    async def begin_commit(self, upload_id: str, expected_sha256: str | None, task: Task, now: datetime) -> Task:
        return await self._write(commits.begin_commit, upload_id, expected_sha256, task, now)

    async def reject_commit(
        self,
        upload_id: str,
        task_error: str,
        now: datetime,
        *,
        generation: int | None = None,
        found_sha256: str | None = None,
        lost: Sequence[int] = (),
    ) -> None:
        await self._write(
            commits.reject_commit,
            upload_id,
            task_error,
            now,
            generation=generation,
            found_sha256=found_sha256,
            lost=lost,
        )

    async def complete_commit(
        self, upload_id: str, sha256: str, artifact_id: str, now: datetime, *, generation: int
    ) -> Artifact:
        return await self._write(commits.complete_commit, upload_id, sha256, artifact_id, now, generation=generation)

    async def list_internal(self) -> list[Upload]:
        return await self._read(uploads.list_internal)

    async def closed_uploads(self, upload_ids: Sequence[str]) -> list[str]:
        return await self._read(uploads.closed_uploads, upload_ids)

    async def list_committing(self) -> list[str]:
        return await self._read(uploads.list_committing)

    async def complete_instantly(self, upload: Upload, sha256: str, task: Task, now: datetime) -> Artifact | None:
        return await self._write(commits.complete_instantly, upload, sha256, task, now)

    # artifacts and tasks

    async def has_artifact(self, sha256: str) -> bool:
        return await self._read(artifacts.has_artifact, sha256)

    async def get_artifact(self, artifact_id: str) -> Artifact:
        return await self._read(artifacts.get_artifact, artifact_id)

    async def list_artifacts(
        self, owner: str | None, *, sha256: str | None = None, offset: int = 0, limit: int = 100, search: str = ""
    ) -> Page[Artifact]:
        return await self._read(
            artifacts.list_artifacts, owner, sha256=sha256, offset=offset, limit=limit, search=search
        )

    async def unlink_artifact(self, artifact_id: str) -> bool:
        return await self._free(artifacts.unlink_artifact, artifact_id)

    async def all_artifacts(self, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        return await self._read(artifacts.all_artifacts, after, limit)

    async def get_task(self, task_id: str) -> Task:
        return await self._read(tasks.get_task, task_id)

    async def list_tasks(
        self,
        owner: str | None,
        *,
        offset: int = 0,
        limit: int = 100,
        states: Sequence[str] = (),
        upload_ids: Sequence[str] = (),
    ) -> Page[Task]:
        return await self._read(
            tasks.list_tasks, owner, offset=offset, limit=limit, states=states, upload_ids=upload_ids
        )

    async def find_task(self, upload_id: str) -> Task | None:
        return await self._read(tasks.find_task, upload_id)

    async def prune_tasks(self, before: datetime, limit: int, *, gone_before: datetime) -> int:
        return await self._write(tasks.prune_tasks, before, limit, gone_before=gone_before)

    async def count_old_tasks(self, before: datetime, *, gone_before: datetime) -> int:
        return await self._read(tasks.count_old_tasks, before, gone_before=gone_before)

    async def usage(self, owner: str) -> Usage:
        return await self._read(uploads.usage, owner)

    async def count_states(self) -> dict[str, int]:
        return await self._read(uploads.count_states)

    async def totals(self) -> Totals:
        return await self._read(uploads.totals)

    # objects

    async def list_segments(self, sha256: str, *, start: int = 0, limit: int = 1000) -> list[Segment]:
        return await self._read(objects.list_segments, sha256, start=start, limit=limit)

    async def replace_segments(self, sha256: str, old: Sequence[str], new: Segment, now: datetime) -> bool:
        return await self._write(objects.replace_segments, sha256, old, new, now)

    async def drop_segments(self, sha256: str, now: datetime) -> None:
        await self._write(objects.drop_segments, sha256, now)

    async def scattered_artifacts(self, *, average: int, limit: int) -> list[str]:
        return await self._read(objects.scattered_artifacts, average=average, limit=limit)

    async def list_garbage(self, before: datetime, limit: int) -> list[str]:
        return await self._read(objects.list_garbage, before, limit)

    async def forget_garbage(self, refs: Sequence[str]) -> None:
        await self._write(objects.forget_garbage, refs)

    async def known_refs(self, upload_ids: Sequence[str], refs: Sequence[str]) -> set[str]:
        return await self._read(objects.known_refs, upload_ids, refs)

    # tokens

    async def create_token(self, token: Token, sha256: str) -> None:
        await self._write(tokens.create_token, token, sha256)

    async def find_token(self, sha256: str) -> Token | None:
        return await self._read(tokens.find_token, sha256)

    async def list_tokens(self) -> list[Token]:
        return await self._read(tokens.list_tokens)

    async def use_token(self, name: str, now: datetime) -> None:
        await self._write(tokens.use_token, name, now)

    async def revoke_token(self, name: str, now: datetime) -> None:
        await self._write(tokens.revoke_token, name, now)

    # moving to another catalog

    async def import_links(self, links: Sequence[Artifact], segment: Segment | None) -> bool:
        return await self._write(transfer.import_links, links, segment)

    async def export_tokens(self) -> list[dict[str, Any]]:
        return await self._read(transfer.export_tokens)

    async def import_tokens(self, rows: Sequence[Mapping[str, Any]]) -> int:
        return await self._write(transfer.import_tokens, rows)
