"""Look at commits as tasks, the way that Pulp's clients poll them."""

from __future__ import annotations

from partwise.core.errors import NotFound
from partwise.core.records import Page, PageKey, Principal, Task, TaskState
from partwise.engine.context import Context


async def get_task(engine: Context, who: Principal, task_id: str) -> tuple[Task, float]:
    """The task, and how far its file is hashed: from 0 to 1. NotFound when it is someone else's."""
    task = await engine.catalog.get_task(task_id)
    if not who.owns(task.owner):
        raise NotFound("task")
    if task.state is not TaskState.RUNNING:
        return task, 1.0
    try:
        upload = await engine.catalog.get_upload(task.upload_id)
    except NotFound:
        return task, 0.0
    return task, upload.hashed / upload.size if upload.size else 0.0


async def list_tasks(
    engine: Context,
    who: Principal,
    *,
    offset: int = 0,
    limit: int = 100,
    states: tuple[str, ...] = (),
    upload_ids: tuple[str, ...] = (),
    after: PageKey | None = None,
) -> Page[Task]:
    """The tasks that ``who`` may see, newest first."""
    owner = None if who.admin else who.name
    return await engine.catalog.list_tasks(
        owner, offset=offset, limit=limit, states=states, upload_ids=upload_ids, after=after
    )
