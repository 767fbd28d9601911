"""Calls on tasks: what Pulp's clients poll until a commit is through."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from partwise.core.errors import Conflict
from partwise.core.records import TaskState
from partwise.engine import tasks
from partwise.http.requests import read_model
from partwise.protocols.pulp.api import Api
from partwise.protocols.pulp.models import TaskCancel
from partwise.protocols.pulp.render import task_out
from partwise.protocols.pulp.requests import chosen, page_window
from partwise.protocols.pulp.responses import json_response, page_response


async def index(api: Api, request: Request) -> Response:
    """List tasks, newest first."""
    window = page_window(request)
    states = (*chosen(request, "state", TaskState), *chosen(request, "state__in", TaskState))
    page = await tasks.list_tasks(
        api.engine,
        api.who(request),
        offset=window.offset,
        limit=window.limit,
        after=window.after,
        states=states,
        upload_ids=_reserved(request),
    )
    return page_response(request, page, lambda task: task_out(api, task, float(task.state is not TaskState.RUNNING)))


def _reserved(request: Request) -> tuple[str, ...]:
    """The ids of the uploads that the asked tasks reserve: a commit reserves its upload, for itself alone."""
    names = ("reserved_resources__in", "exclusive_resources__in")
    hrefs = (href for name in names for text in request.query_params.getlist(name) for href in text.split(","))
    return tuple(href.rstrip("/").rpartition("/")[2] for href in hrefs if href)


async def cancel(api: Api, request: Request) -> Response:
    """Ask that a task be canceled. A commit cannot be: it is over, or it ends by itself."""
    task, _ = await tasks.get_task(api.engine, api.who(request), request.path_params["task_id"])
    wish = await read_model(api, request, TaskCancel)
    if task.state is TaskState.RUNNING:
        raise Conflict(f"A running commit cannot be {wish.state}. Wait for its end, then delete the artifact.")
    raise Conflict(f"The commit cannot be {wish.state}: it is already {task.state.value}.")


async def show(api: Api, request: Request) -> Response:
    """Show a task."""
    task, progress = await tasks.get_task(api.engine, api.who(request), request.path_params["task_id"])
    return json_response(request, task_out(api, task, progress))
