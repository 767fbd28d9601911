"""``partwise gc`` and ``partwise check``: look after a server's data folder, whether the server runs or not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from partwise.cli.exits import Exit
from partwise.cli.local import AsJson, Data, with_engine

if TYPE_CHECKING:
    from partwise.engine.check import Finding
    from partwise.engine.engine import Engine

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")]


def upgrade(data: Data = None, dry_run: DryRun = False) -> None:
    """Upgrade the schema of the metadata database to this version. Servers of the previous version may keep running.

    `serve` does it by itself at its start, unless the setting migrate is false. --dry-run says what would be done.
    """
    from partwise.catalog import CatalogMissing, pending_migrations
    from partwise.cli.local import settings_for
    from partwise.cli.output import say
    from partwise.server.run import CannotServe, prepare, usable_records

    settings = settings_for(data)
    try:
        with usable_records(settings):
            try:
                steps = pending_migrations(settings.catalog_url)
            except CatalogMissing:
                steps = ["make the metadata database"]
        if not dry_run:
            prepare(settings)
    except CannotServe as error:
        say(f"partwise: {error}", "red")
        raise SystemExit(Exit.FAILED) from None
    for step in steps or ["The metadata database is up to date."]:
        say(step)


def gc(
    data: Data = None,
    dry_run: DryRun = False,
    now: Annotated[
        bool, typer.Option("--now", help="Remove expired uploads even if no server has run within the last hour.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove expired uploads, old tasks and orphaned files. A running server removes the first two automatically.

    After the server was down, or the clock was set, uploads do not expire for an hour: their clients need the time to
    come back. See --now.
    """
    work = partial(_gc, dry_run=dry_run, now=now, as_json=as_json)
    raise SystemExit(with_engine(data, work, look_only=dry_run))


async def _gc(engine: Engine, *, dry_run: bool, now: bool, as_json: bool) -> Exit:
    from partwise.cli.output import say
    from partwise.engine import check, expiry

    removed: set[str] = set()
    if dry_run:
        removed = {upload.id async for upload in expiry.all_expired(engine)}
    elif now or await expiry.is_clock_watched(engine):
        removed = set(await expiry.expire(engine))
    else:
        say("No upload expires now: no server ran here within the last hour, or the clock was set. See --now.")
    for upload_id in sorted(removed):
        _tell("expired-upload", upload_id, as_json, removed=not dry_run)
    tasks = await expiry.prune_tasks(engine, dry_run=dry_run)
    orphans = 0
    async for finding in check.find_orphans(engine):
        gone = False if dry_run else await check.repair(engine, finding)
        _tell(finding.kind, finding.name, as_json, removed=gone)
        orphans += 1
    if not as_json:
        verb = "would be removed" if dry_run else "removed"
        say(f"{len(removed)} expired uploads, {tasks} old tasks and {orphans} orphans {verb}.")
    return Exit.OK


def check(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove orphaned files, and uploads whose file is missing."),
    ] = False,
    drop_damaged: Annotated[
        bool,
        typer.Option(
            "--drop-damaged", help="Delete the bytes of damaged artifacts. Uploading the file again restores them."
        ),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Compare file names with the metadata database, without reading artifacts.")
    ] = False,
    data: Data = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Verify artifacts against their SHA-256, and the metadata database against the files. Changes nothing by default.

    Exit code 0: all is well, or has been repaired. 4: something is wrong.
    """

    repair, drop_damaged = repair and not dry_run, drop_damaged and not dry_run
    work = partial(_check, repair=repair, drop=drop_damaged, quick=quick, as_json=as_json)
    raise SystemExit(with_engine(data, work, look_only=not (repair or drop_damaged)))


async def _check(engine: Engine, *, repair: bool, drop: bool, quick: bool, as_json: bool) -> Exit:
    from partwise.cli.output import emit, say
    from partwise.engine import check as checks

    checked = wrong = 0

    async def settle(finding: Finding, *, remove: bool) -> None:
        nonlocal wrong
        gone = remove and await checks.repair(engine, finding)
        wrong += not gone
        _tell(finding.kind, finding.name, as_json, removed=gone)

    async for finding in checks.find_orphans(engine):
        await settle(finding, remove=repair)
    if not quick:
        async for sha256, damage in checks.find_damage(engine):
            checked += 1
            if damage is not None:
                # What was dropped is still not there: the artifact stays wrong until its file is uploaded again.
                dropped = drop and damage.kind is checks.Kind.DAMAGED and await checks.drop_damaged(engine, sha256)
                wrong += 1
                _tell(damage.kind, sha256, as_json, removed=dropped)
    if as_json:
        emit({"artifacts_verified": checked, "wrong": wrong})
    else:
        say(f"{checked} artifacts verified; {wrong or 'nothing'} wrong.", "red" if wrong else "green")
    return Exit.UNVERIFIED if wrong else Exit.OK


def _tell(kind: str, name: str, as_json: bool, *, removed: bool) -> None:
    from partwise.cli.output import emit, out, plain

    if as_json:
        emit({"kind": str(kind), "name": name, "removed": removed})
    else:
        out.print(plain(f"{kind}  {name}{'  removed' if removed else ''}"))
