"""``partwise admin``: what all users have, and their quotas. Works on the server's records, whether it runs or not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partwise.cli.help import App
from partwise.cli.local import AsJson, Data, audit, with_engine
from partwise.cli.sizes import format_size, parse_age, parse_size

if TYPE_CHECKING:
    from partwise.core.records import Artifact, Upload
    from partwise.engine.engine import Engine
    from partwise.engine.overview import Wanted

app = App(help="Look after the uploads, artifacts and quotas of all users.", no_args_is_help=True)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _age(text: str) -> timedelta:
    try:
        return parse_age(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


User = Annotated[str | None, typer.Option(metavar="USER", help="Only those of this user.")]
Search = Annotated[str, typer.Option(metavar="TEXT", help="Only those with this in their file name.")]
OlderThan = Annotated[
    Any, typer.Option(metavar="AGE", parser=_age, help="Only those created longer ago, such as 12h or 30d.")
]
LargerThan = Annotated[Any, typer.Option(metavar="SIZE", parser=_size, help="Only larger ones, such as 1GiB.")]
Limit = Annotated[int, typer.Option(min=1, help="The most to list, newest first.")]


def _wanted(user: str | None, search: str, older_than: Any, larger_than: Any, limit: int) -> Wanted:
    from partwise.engine.overview import Wanted

    return Wanted(user=user, search=search, older_than=older_than, larger_than=larger_than, limit=limit)


@app.command()
def uploads(
    user: User = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only those in this state: open, committing, completed. May be repeated.")
    ] = None,
    search: Search = "",
    older_than: OlderThan = None,
    larger_than: LargerThan = None,
    limit: Limit = 1000,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the uploads of all users, newest first, with user, age and size."""
    from partwise.core.state import UploadState
    from partwise.engine.overview import find_uploads

    states = tuple(state or ())
    if not {*UploadState}.issuperset(states):
        raise typer.BadParameter(f"a state is one of {', '.join(UploadState)}.", param_hint="--state")
    wanted = _wanted(user, search, older_than, larger_than, limit)
    found = with_engine(data, lambda engine: _all(find_uploads(engine, wanted, states)), look_only=True)
    columns = ("UPLOAD", "USER", "STATE", "SIZE", "RECEIVED", "AGE", "NAME")
    _show(found, columns, _upload_row, _upload_members, as_json=as_json, right=("SIZE", "RECEIVED"))


@app.command()
def artifacts(
    user: User = None,
    search: Search = "",
    older_than: OlderThan = None,
    larger_than: LargerThan = None,
    limit: Limit = 1000,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """List the artifacts of all users, newest first, with user, age and size."""
    from partwise.engine.overview import find_artifacts

    wanted = _wanted(user, search, older_than, larger_than, limit)
    found = with_engine(data, lambda engine: _all(find_artifacts(engine, wanted)), look_only=True)
    columns = ("ARTIFACT", "USER", "SIZE", "AGE", "SHA-256", "NAME")
    _show(found, columns, _artifact_row, _artifact_members, as_json=as_json, right=("SIZE",))


@app.command()
def show(
    reference: Annotated[str, typer.Argument(metavar="ID|SHA256", help="An upload or artifact, or a digest.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show one upload or artifact of any user; of a digest every user's artifact."""
    from partwise.cli.output import emit, out, plain
    from partwise.core.records import Upload
    from partwise.engine.overview import find

    found = with_engine(data, lambda engine: find(engine, reference), look_only=True)
    for one in found:
        members = _upload_members(one) if isinstance(one, Upload) else _artifact_members(one)
        if as_json:
            emit(members)
        else:
            for name, value in members.items():
                out.print(plain(f"{name:<10} {value}"))


@app.command()
def end(
    references: Annotated[list[str], typer.Argument(metavar="ID...", help="Uploads or artifacts of any user.")],
    data: Data = None,
) -> None:
    """Delete uploads or artifacts of any user. Deleting a completed upload leaves its artifact."""
    for reference in references:
        with_engine(data, partial(_end, data, reference))


async def _end(data: Any, reference: str, engine: Engine) -> None:
    from partwise.cli.output import say
    from partwise.core.errors import Conflict
    from partwise.core.records import Principal, Upload
    from partwise.engine.artifacts import delete_artifact
    from partwise.engine.overview import find
    from partwise.engine.uploads import remove

    found = await find(engine, reference)
    if len(found) > 1:
        raise Conflict(f"{reference} belongs to {len(found)} users: name each artifact by its id.")
    (one,) = found
    about = {"owner": one.owner, "file": one.filename, "size": one.size}
    if isinstance(one, Upload):
        await remove(engine, one.id)
        audit(data, "upload.deleted", upload=one.id, state=str(one.state), **about)
    else:
        await delete_artifact(engine, Principal("(server)", admin=True), one.id)
        audit(data, "artifact.deleted", artifact=one.id, sha256=one.sha256, **about)
    say(f"Deleted {one.id} of {one.owner}.")


@app.command()
def usage(
    user: Annotated[str | None, typer.Argument(metavar="USER", help="Only this user.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show what each user holds, and the user's quota."""
    from partwise.cli.output import emit, show_table
    from partwise.engine.overview import usage_of_users

    found = with_engine(data, lambda engine: usage_of_users(engine, user), look_only=True)
    if as_json:
        for name, held, quota in found:
            numbers = {"open_uploads": held.open_uploads, "artifacts": held.artifacts}
            emit({"user": name, "reserved": held.reserved, "stored": held.stored, **numbers, "quota": quota})
        return
    rows = [
        (
            name,
            format_size(held.reserved),
            str(held.open_uploads),
            format_size(held.stored),
            str(held.artifacts),
            "-" if quota is None else format_size(quota),
        )
        for name, held, quota in found
    ]
    columns = ("USER", "OPEN", "UPLOADS", "STORED", "ARTIFACTS", "QUOTA")
    show_table(columns, rows, right=columns[1:])


@app.command()
def quota(
    user: Annotated[str, typer.Argument(metavar="USER")],
    size: Annotated[
        str, typer.Argument(metavar="SIZE|none|default", help="Such as 500GiB; none: no limit; default: the setting.")
    ],
    data: Data = None,
) -> None:
    """Give a user a quota of their own, which counts from the next upload on in place of the setting quota."""
    from partwise.cli.output import say

    change = _forget_quota(user) if size == "default" else _set_quota(user, None if size == "none" else _size(size))
    with_engine(data, change)
    audit(data, "quota.changed", owner=user, quota=size)
    say(f"The quota of {user} is {size}.")


def _forget_quota(user: str) -> Callable[[Engine], Awaitable[None]]:
    return lambda engine: engine.catalog.forget_quota(user)


def _set_quota(user: str, size: int | None) -> Callable[[Engine], Awaitable[None]]:
    return lambda engine: engine.catalog.set_quota(user, size)


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


def _show(
    found: list[Any],
    columns: tuple[str, ...],
    row: Callable[[Any], tuple[str, ...]],
    members: Callable[[Any], dict[str, object]],
    *,
    as_json: bool,
    right: tuple[str, ...],
) -> None:
    from partwise.cli.output import emit, show_table

    if as_json:
        for one in found:
            emit(members(one))
    else:
        show_table(columns, [row(one) for one in found], right=right)


def _upload_row(upload: Upload) -> tuple[str, ...]:
    size = "?" if upload.size is None else format_size(upload.size)
    received = format_size(upload.received)
    return upload.id, upload.owner, str(upload.state), size, received, _age_of(upload.created), upload.filename or ""


def _artifact_row(artifact: Artifact) -> tuple[str, ...]:
    size, age = format_size(artifact.size), _age_of(artifact.created)
    return artifact.id, artifact.owner, size, age, artifact.sha256, artifact.filename or ""


def _upload_members(upload: Upload) -> dict[str, object]:
    return {
        "kind": "upload",
        "id": upload.id,
        "user": upload.owner,
        "state": str(upload.state),
        "size": upload.size,
        "received": upload.received,
        "created": upload.created.isoformat(),
        "updated": upload.updated.isoformat(),
        "filename": upload.filename,
        "sha256": upload.sha256,
    }


def _artifact_members(artifact: Artifact) -> dict[str, object]:
    return {
        "kind": "artifact",
        "id": artifact.id,
        "user": artifact.owner,
        "size": artifact.size,
        "created": artifact.created.isoformat(),
        "filename": artifact.filename,
        "sha256": artifact.sha256,
    }


def _age_of(created: datetime) -> str:
    """The time since then in its largest unit."""
    from partwise.engine.context import utc_now

    seconds = max(0, int((utc_now() - created).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
