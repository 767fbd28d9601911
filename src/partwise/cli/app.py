"""The commands and their options. A command imports what it needs when it runs, so that ``--help`` is there at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from partwise.cli import admin, completion, feed, login, upkeep
from partwise.cli import migrate as migration
from partwise.cli import settings as server_settings
from partwise.cli import token as token_commands
from partwise.cli.exits import MEANINGS, Exit
from partwise.cli.help import App
from partwise.cli.options import (
    TRANSFER_PANEL,
    AsJson,
    JobsOption,
    LimitRate,
    Patience,
    Profile,
    Quiet,
    Server,
    Token,
    open_client,
)
from partwise.cli.sizes import parse_size

EXAMPLES = (
    "partwise serve --data /srv/partwise",
    "partwise upload disk.img",
    "partwise upload *.iso --server https://files.example.org --parallel 16",
    "partwise upload --recursive images --exclude '*.tmp'",
    "partwise ls --artifacts",
    "partwise download 3f2a… -o disk.img",
)


def _epilog() -> str:
    lines = ["[bold]Examples[/]", *(f"[dim]  $[/] {example}" for example in EXAMPLES), ""]
    lines += ["[bold]Exit codes[/]", *(f"[cyan]{code:>5}[/]  {meaning}" for code, meaning in MEANINGS.items())]
    return "\n".join(lines)


app = App(
    help="Upload large files in parallel chunks, and get verified, content-addressed artifacts.",
    epilog=_epilog(),
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_OPERATOR_PANEL = "For operators"
_FILES_PANEL = "Which files"


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _version(wanted: bool) -> None:
    if wanted:
        from partwise import __version__

        typer.echo(f"partwise {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before the command."""


@app.command(rich_help_panel=_OPERATOR_PANEL)
def serve(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Address to listen on. (default: 127.0.0.1)")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, metavar="N", help="TCP port. 0 selects a free port. (default: 24817)"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder for uploads, artifacts and metadata. (default: partwise-data)"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of server processes. (default: 1)")
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            metavar="HOW", help="Authentication: none (this machine only), token, proxy or oidc. (default: none)"
        ),
    ] = None,
    max_upload_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Largest size of an upload, such as 2TiB.")
    ] = None,
    quota: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Storage quota of each user, such as 500GiB.")
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="When chunks become durable: background, or chunk (before each response). (default: background)",
        ),
    ] = None,
    distrust_unsynced: Annotated[
        bool,
        typer.Option(
            "--distrust-unsynced",
            help="Discard chunks that are not known to be durable. Use it after a volume was rolled back.",
        ),
    ] = False,
    no_migrate: Annotated[
        bool,
        typer.Option(
            "--no-migrate", help="Refuse an outdated database schema instead of upgrading it; see `partwise upgrade`."
        ),
    ] = False,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="Log level: debug, info, warning or error. (default: info)")
    ] = None,
    config: server_settings.Config = None,
) -> None:
    """Run the server.

    Every setting can also be given in the environment (PARTWISE_PORT=8080) or in a file. Options override the
    environment, and the environment overrides the file. `partwise config` prints the effective settings.
    """
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "data": data,
        "workers": workers,
        "auth": auth,
        "max_upload_size": None if max_upload_size is None else _size(max_upload_size),
        "quota": None if quota is None else _size(quota),
        "durability": durability,
        "distrust_unsynced": distrust_unsynced or None,
        "migrate": False if no_migrate else None,
        "log_level": log_level,
    }
    settings = server_settings.load(given, config)
    from partwise.server.run import CannotServe
    from partwise.server.run import serve as run

    try:
        run(settings)
    except CannotServe as error:
        typer.echo(f"partwise: {error}", err=True)
        raise typer.Exit(Exit.FAILED) from None


@app.command()
def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files to upload. - is standard input.")],
    server: Server = None,
    token: Token = None,
    profile: Profile = None,
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            "-p",
            min=1,
            max=64,
            metavar="N",
            help="Parallel connections. (default: adapted to the line, at most what the server advises)",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None,
    chunk_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Size of a chunk, such as 16MiB. (default: adapted to the line)",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None,
    verify_chunks: Annotated[
        bool,
        typer.Option(
            "--verify-chunks",
            help="Send a SHA-256 with each chunk, so that damaged chunks are refused on arrival.",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="File name to store (one file only).", rich_help_panel=TRANSFER_PANEL),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            help="Resume an earlier upload of the same file.",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = True,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            metavar="SHA256|ID",
            autocompletion=completion.artifacts,
            help="Artifact to compare with (one file only). (default: your newest of the same name)",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None,
    delta: Annotated[
        bool | None,
        typer.Option(
            "--delta/--no-delta",
            help="Send only what changed. (default: if that is likely to be faster)",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None,
    upload_: Annotated[
        str | None,
        typer.Option(
            "--upload",
            metavar="ID",
            autocompletion=completion.open_uploads,
            help="Resume this upload, started in a browser or elsewhere (one file only).",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None,
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="Upload what is in folders.", rich_help_panel=_FILES_PANEL),
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only these of a folder, such as '*.iso'.", rich_help_panel=_FILES_PANEL),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="None of these of a folder.", rich_help_panel=_FILES_PANEL),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only tell what would be uploaded.", rich_help_panel=_FILES_PANEL),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Read each file first, and send none whose content you have on the server.",
            rich_help_panel=_FILES_PANEL,
        ),
    ] = False,
    jobs: JobsOption = None,
    limit_rate: LimitRate = None,
    patience: Patience = 300,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Upload files. Run the same command again to resume.

    Each file is sent in parallel chunks, verified as a whole, and published as an artifact.
    """
    size = None if chunk_size is None else _size(chunk_size)
    rate = None if limit_rate is None else _size(limit_rate)
    from partwise.cli.transfers import upload_files
    from partwise.client import Client

    settings = {
        "name": name,
        "chunk_size": size,
        "parallel": parallel,
        "verify_chunks": verify_chunks,
        "resume": resume,
        "base": base,
        "delta": delta,
        "upload": upload_,
    }
    if Path("-") in files:
        from partwise.cli import stdin

        stdin.check(settings, alone=len(files) == 1 and not (recursive or dry_run or skip_existing))
        with open_client(Client, server, token, profile, patience, rate) as client:
            raise SystemExit(stdin.upload_stdin(client, settings, as_json=as_json, quiet=quiet))
    selected = _select(files, recursive=recursive, include=include or (), exclude=exclude or ())
    for option, value in (("--name", name), ("--base", base), ("--upload", upload_)):
        if value is not None and (len(selected) > 1 or recursive):
            raise typer.BadParameter("works with one file only. Run the command once for each file.", param_hint=option)
    if dry_run:
        for path, inside in selected:
            typer.echo(inside or path)
        return
    with open_client(Client, server, token, profile, patience, rate) as client:
        raise SystemExit(
            upload_files(
                client, selected, settings, jobs=jobs, skip_existing=skip_existing, as_json=as_json, quiet=quiet
            )
        )


def _select(
    files: list[Path], *, recursive: bool, include: Sequence[str], exclude: Sequence[str]
) -> list[tuple[Path, str | None]]:
    from partwise.cli.folders import find_files
    from partwise.cli.output import exit_with_message

    with exit_with_message():
        found = find_files(files, recursive=recursive, include=include, exclude=exclude)
        return list(dict.fromkeys(found))  # once each


@app.command()
def download(
    references: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|SHA256|ID...",
            help="The artifacts: their file names, SHA-256 (or how it begins) or ids.",
            autocompletion=completion.artifacts_by_name,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A file to write, or a folder for several. (default: the artifact's name, here)",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the file if it exists.")] = False,
    base: Annotated[
        Path | None,
        typer.Option(
            "--base",
            metavar="FILE",
            help="Local file to compare with. (default: the file that is replaced)",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None,
    delta: Annotated[
        bool | None,
        typer.Option(
            "--delta/--no-delta",
            help="Receive only what changed. (default: if that is likely to be faster)",
            rich_help_panel=TRANSFER_PANEL,
        ),
    ] = None,
    server: Server = None,
    token: Token = None,
    profile: Profile = None,
    jobs: JobsOption = None,
    limit_rate: LimitRate = None,
    patience: Patience = 300,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Download artifacts. The file appears under its name once its SHA-256 is verified.

    Run the same command again to resume.
    """
    if str(output) == "-":
        raise typer.BadParameter(
            "standard output is not supported, because the bytes are verified first. Give a file.", param_hint="-o"
        )
    references = list(dict.fromkeys(references))
    if len(references) > 1 and output is not None and not output.is_dir():
        raise typer.BadParameter("for several artifacts give a folder that exists.", param_hint="-o")
    if len(references) > 1 and base is not None:
        raise typer.BadParameter("works with one artifact only.", param_hint="--base")
    rate = None if limit_rate is None else _size(limit_rate)
    from partwise.cli.transfers import download_artifacts
    from partwise.client import Client

    settings = {"base": base, "delta": delta}
    with open_client(Client, server, token, profile, patience, rate) as client:
        raise SystemExit(
            download_artifacts(
                client, references, output, settings, jobs=jobs, force=force, as_json=as_json, quiet=quiet
            )
        )


@app.command("ls")
def list_all(
    uploads: Annotated[bool, typer.Option("--uploads", help="Only uploads.")] = False,
    artifacts: Annotated[bool, typer.Option("--artifacts", help="Only artifacts.")] = False,
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those with this in their name.")] = None,
    sort: Annotated[str, typer.Option(metavar="BY", help="time, size or name.")] = "time",
    reverse: Annotated[bool, typer.Option("--reverse", help="Oldest, smallest or last name first.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="No more of each.")] = None,
    server: Server = None,
    token: Token = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """List uploads and artifacts, newest first."""
    from partwise.cli import listings
    from partwise.client import Client

    try:
        by = listings.Sort(sort)
    except ValueError:
        raise typer.BadParameter("give time, size or name.", param_hint="--sort") from None
    choice = listings.Choice(search=search, sort=by, reverse=reverse, limit=limit)
    both = uploads == artifacts
    with open_client(Client, server, token, profile) as client:
        listings.list_all(client, choice, uploads=uploads or both, artifacts=artifacts or both, as_json=as_json)


@app.command()
def show(
    reference: Annotated[
        str,
        typer.Argument(
            metavar="ID|SHA256", help="An upload or an artifact.", autocompletion=completion.uploads_and_artifacts
        ),
    ],
    server: Server = None,
    token: Token = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Show one upload, with its missing ranges, or one artifact."""
    from partwise.cli import listings
    from partwise.client import Client

    with open_client(Client, server, token, profile) as client:
        listings.show(client, reference, as_json=as_json)


@app.command("rm")
def remove(
    references: Annotated[
        list[str],
        typer.Argument(
            metavar="ID|SHA256...", help="Uploads or artifacts.", autocompletion=completion.uploads_and_artifacts
        ),
    ],
    server: Server = None,
    token: Token = None,
    profile: Profile = None,
) -> None:
    """Delete uploads or artifacts. Deleting a completed upload keeps its artifact."""
    from partwise.cli import listings
    from partwise.client import Client

    with open_client(Client, server, token, profile) as client:
        listings.remove(client, references)


app.add_typer(feed.app, name="events")
app.command()(login.login)
app.command()(login.logout)
app.add_typer(admin.app, name="admin", rich_help_panel=_OPERATOR_PANEL)
app.add_typer(token_commands.app, name="token", rich_help_panel=_OPERATOR_PANEL)
app.command("config", rich_help_panel=_OPERATOR_PANEL)(server_settings.show)
app.command(rich_help_panel=_OPERATOR_PANEL)(upkeep.upgrade)
app.command(rich_help_panel=_OPERATOR_PANEL)(upkeep.gc)
app.command(rich_help_panel=_OPERATOR_PANEL)(upkeep.check)
app.command(rich_help_panel=_OPERATOR_PANEL)(migration.migrate)
