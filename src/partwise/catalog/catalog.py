"""The catalog port over SQL: each method is a query function of another module, run as one transaction."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from sqlalchemy import Connection

from partwise.catalog import (
    artifacts,
    chunks,
    commits,
    deliveries,
    events,
    objects,
    quotas,
    releases,
    tasks,
    tokens,
    transfer,
    uploads,
)
from partwise.catalog.runner import Runner
from partwise.catalog.versions import newest_version

P = ParamSpec("P")
T = TypeVar("T")


class _Method(Generic[P, T]):
    """A method that runs ``query`` with its own arguments, behind a connection that the runner gives."""

    def __init__(self, query: Callable[Concatenate[Connection, P], T]) -> None:
        self._query = query

    @overload
    def __get__(self, catalog: SqlCatalog, _owner: type[SqlCatalog]) -> Callable[P, Coroutine[Any, Any, T]]: ...

    @overload
    def __get__(self, catalog: None, _owner: type[SqlCatalog]) -> Callable[..., Coroutine[Any, Any, T]]: ...

    def __get__(self, catalog: SqlCatalog | None, _owner: type[SqlCatalog]) -> Callable[..., Coroutine[Any, Any, T]]:
        if catalog is None:  # asked of the class: a function that takes the catalog first
            return self._of
        return partial(self._run(catalog.runner), self._query)

    def _of(self, catalog: SqlCatalog, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        result: Coroutine[Any, Any, T] = self._run(catalog.runner)(self._query, *args, **kwargs)
        return result

    @staticmethod
    def _run(runner: Runner) -> Callable[..., Coroutine[Any, Any, Any]]:
        raise NotImplementedError


class Reads(_Method[P, T]):
    """One that changes nothing."""

    @staticmethod
    def _run(runner: Runner) -> Callable[..., Coroutine[Any, Any, Any]]:
        return runner.read


class LooksUp(_Method[P, T]):
    """One that changes nothing, and finds a few rows by their keys."""

    @staticmethod
    def _run(runner: Runner) -> Callable[..., Coroutine[Any, Any, Any]]:
        return runner.look_up


class Writes(_Method[P, T]):
    """One that changes records."""

    @staticmethod
    def _run(runner: Runner) -> Callable[..., Coroutine[Any, Any, Any]]:
        return runner.write


class Frees(_Method[P, T]):
    """One that gives room back: it works on a full disk, too."""

    @staticmethod
    def _run(runner: Runner) -> Callable[..., Coroutine[Any, Any, Any]]:
        return runner.free


class SqlCatalog:
    """Implements the catalog's ports (``partwise.engine.ports``), whose docstrings say what each method does."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    async def start(self, *, look_only: bool = False) -> None:
        """See ``CatalogLife``."""
        await self.runner.start(look_only=look_only)

    async def stop(self) -> None:
        """See ``CatalogLife``."""
        await self.runner.stop()

    async def check_writable(self) -> None:
        """See ``CatalogLife``."""
        await self.runner.check_writable()

    # Both are asked by each process that starts. They read first: it must not wait for the write lock of one that was
    # stopped while it held it.

    async def installation(self) -> tuple[str, bool]:
        """See ``CatalogLife``."""
        known, recorded = await self.runner.read(chunks.known_installation)
        return (known, recorded) if known is not None else await self.runner.write(chunks.installation)

    async def new_boot(self, boot_id: str, *, distrust: bool = False) -> int:
        """See ``CatalogLife``."""
        if not distrust and await self.runner.read(chunks.noted_boot) == boot_id:
            return 0
        return await self.runner.write(chunks.new_boot, boot_id, distrust=distrust)

    async def newer_schema(self) -> str | None:
        """Return the schema's version if a newer partwise has migrated the database since; None if it has not."""
        version = await self.runner.read(chunks.schema_version)
        return version if version > newest_version() else None

    async def fold_counts(self) -> int:
        """See ``ArtifactRecords``: SQLite's triggers add up at once."""
        return 0

    # uploads
    create_upload = Writes(uploads.create_upload)
    set_size = Writes(uploads.set_size)
    commit_when_whole = Writes(uploads.commit_when_whole)
    get_upload = LooksUp(uploads.get_upload)
    list_uploads = Reads(uploads.list_uploads)
    set_name = Writes(uploads.set_name)
    begin_delete = Frees(uploads.begin_delete)
    finish_delete = Frees(uploads.finish_delete)
    list_unattended = Reads(uploads.list_unattended)
    forget_parts = Writes(uploads.forget_parts)
    idle_uploads = Reads(uploads.idle_uploads)
    expire_upload = Frees(uploads.expire_upload)
    surplus_uploads = Reads(uploads.surplus_uploads)
    touch = Writes(uploads.touch)

    # chunks
    find_chunks = LooksUp(chunks.find_chunks)
    list_chunks = Reads(chunks.list_chunks)
    find_gaps = Reads(chunks.find_gaps)
    record_chunk = Writes(chunks.record_chunk)
    unrecord_chunk = Writes(chunks.unrecord_chunk)
    mark_durable = Writes(chunks.mark_durable)
    unrecord_undurable = Writes(chunks.unrecord_undurable)
    pending_flush = Reads(chunks.pending_flush)
    note_clock = Writes(chunks.note_clock)
    noted_clock = Reads(chunks.noted_clock)
    grow = Writes(uploads.grow)
    end_growth = Frees(uploads.end_growth)

    # commit
    publish_digest = Writes(commits.publish_digest)
    begin_commit = Writes(commits.begin_commit)
    reject_commit = Writes(commits.reject_commit)
    complete_commit = Writes(commits.complete_commit)
    list_internal = Reads(uploads.list_internal)
    closed_uploads = Reads(uploads.closed_uploads)
    list_committing = Reads(uploads.list_committing)
    complete_instantly = Writes(commits.complete_instantly)

    # artifacts and tasks
    has_artifact = Reads(artifacts.has_artifact)
    get_artifact = LooksUp(artifacts.get_artifact)
    note_digests = Writes(artifacts.note_digests)
    list_artifacts = Reads(artifacts.list_artifacts)
    unlink_artifact = Frees(artifacts.unlink_artifact)
    all_artifacts = Reads(artifacts.all_artifacts)
    get_task = LooksUp(tasks.get_task)
    list_tasks = Reads(tasks.list_tasks)
    find_task = Reads(tasks.find_task)
    prune_tasks = Writes(tasks.prune_tasks)
    sweep_tasks = Writes(tasks.sweep_tasks)
    count_old_tasks = Reads(tasks.count_old_tasks)
    usage = Reads(uploads.usage)
    owner_quota = Reads(quotas.owner_quota)
    set_quota = Writes(quotas.set_quota)
    forget_quota = Writes(quotas.forget_quota)
    list_owners = Reads(quotas.list_owners)
    count_states = Reads(uploads.count_states)
    totals = Reads(uploads.totals)

    # events
    list_events = Reads(events.list_events)
    newest_event = Reads(events.newest_event)
    prune_events = Writes(events.prune_events)

    # deliveries
    has_deliveries = Reads(deliveries.has_deliveries)
    fan_out = Writes(deliveries.fan_out)
    lease_deliveries = Writes(deliveries.lease_deliveries)
    settle_delivery = Writes(deliveries.settle_delivery)
    pause_endpoint = Writes(deliveries.pause_endpoint)
    list_deliveries = Reads(deliveries.list_deliveries)
    replay_deliveries = Writes(deliveries.replay_deliveries)
    hasten_deliveries = Writes(deliveries.hasten_deliveries)
    count_deliveries = Reads(deliveries.count_deliveries)
    prune_deliveries = Writes(deliveries.prune_deliveries)

    # releases
    count_links = Reads(releases.count_links)
    release_artifact = Writes(releases.release_artifact)
    find_release = Reads(releases.find_release)
    prune_releases = Writes(releases.prune_releases)

    # objects
    list_segments = Reads(objects.list_segments)
    replace_segments = Writes(objects.replace_segments)
    drop_segments = Writes(objects.drop_segments)
    scattered_artifacts = Reads(objects.scattered_artifacts)
    list_garbage = Reads(objects.list_garbage)
    forget_garbage = Writes(objects.forget_garbage)
    known_refs = Reads(objects.known_refs)

    # tokens
    create_token = Writes(tokens.create_token)
    find_token = Reads(tokens.find_token)
    list_tokens = Reads(tokens.list_tokens)
    use_token = Writes(tokens.use_token)
    delete_token = Writes(tokens.delete_token)
    revoke_token = Writes(tokens.revoke_token)
    create_ticket = Writes(tokens.create_ticket)
    find_ticket = Reads(tokens.find_ticket)
    revoke_tickets = Writes(tokens.revoke_tickets)

    # moving to another catalog
    import_links = Writes(transfer.import_links)
    export_tokens = Reads(transfer.export_tokens)
    import_tokens = Writes(transfer.import_tokens)
