"""``partwise migrate``: from a data folder to PostgreSQL and an object store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from partwise.cli.exits import Exit
from partwise.cli.local import AsJson, run_with

if TYPE_CHECKING:
    from partwise.server.settings import Settings


def migrate(
    data: Annotated[Path, typer.Argument(metavar="FOLDER", help="The data folder of the local server.")],
    catalog: Annotated[
        str,
        typer.Option(
            "--catalog",
            envvar="PARTWISE_CATALOG",
            metavar="URL",
            help="Target database: postgresql://USER@HOST/DATABASE",
        ),
    ],
    storage: Annotated[
        str,
        typer.Option(
            "--storage",
            envvar="PARTWISE_STORAGE",
            metavar="URL",
            help="Target object store: s3://BUCKET/PREFIX?endpoint=URL",
        ),
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every artifact back from the store, and verify its SHA-256.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a local server's artifacts and tokens to PostgreSQL and an object store.

    Run the same command again to go on where it was cut, and to take what is new. It changes nothing in the folder;
    uploads that are not completed stay behind. Exit code 4: an artifact was damaged, and was left out.
    """
    from partwise.cli.output import say
    from partwise.cli.settings import load
    from partwise.server.settings import local_catalog

    if not data.is_dir():
        say(f"partwise: {data}: there is no such folder.", "red")
        raise SystemExit(Exit.USAGE)
    source = load({"data": data, "catalog": f"sqlite:///{local_catalog(data)}"}).model_copy(update={"storage": None})
    target = load({"data": data, "catalog": catalog, "storage": storage})

    async def work(target: Settings) -> Exit:
        return await _migrate(source, target, verify=verify, as_json=as_json)

    raise SystemExit(run_with([source, target], work))


async def _migrate(source_settings: Settings, target_settings: Settings, *, verify: bool, as_json: bool) -> Exit:
    from contextlib import AsyncExitStack

    from partwise.catalog import SqlCatalog
    from partwise.cli.output import emit, say
    from partwise.engine.migration import Outcome, copy_artifacts, unfinished
    from partwise.server.assembly import make_engine

    counts = dict.fromkeys(Outcome, 0)
    async with AsyncExitStack() as stack:
        engines = []
        for settings in (source_settings, target_settings):
            engine, _ = make_engine(settings)
            stack.push_async_callback(engine.stop)
            await engine.open()
            engines.append(engine)
        source, target = engines
        assert isinstance(source.catalog, SqlCatalog)
        assert isinstance(target.catalog, SqlCatalog)
        async for moved in copy_artifacts(source, target, target.catalog):
            outcome = moved.outcome
            if verify and outcome is not Outcome.DAMAGED and not await target.storage.verify_artifact(moved.sha256):
                outcome = Outcome.DAMAGED
            counts[outcome] += 1
            if as_json:
                emit({"sha256": moved.sha256, "size": moved.size, "outcome": str(outcome)})
            elif outcome is not Outcome.PRESENT:
                say(f"{outcome}  {moved.sha256}", "red" if outcome is Outcome.DAMAGED else "")
        tokens = await target.catalog.import_tokens(await source.catalog.export_tokens())
        left = await unfinished(source)
    if as_json:
        emit({str(outcome): count for outcome, count in counts.items()} | {"tokens": tokens, "unfinished": left})
    else:
        parts = [f"{count} {outcome}" for outcome, count in counts.items()]
        say(f"Artifacts: {', '.join(parts)}. New tokens: {tokens}. Uploads left behind: {left}.")
    return Exit.UNVERIFIED if counts[Outcome.DAMAGED] else Exit.OK
