"""Routes of Fine Uploader, and its error responses."""

from __future__ import annotations

from functools import partial

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from partwise.http.dialect import Dialect, Site
from partwise.http.problems import ProblemResponse
from partwise.protocols.fine import uploads

#: The endpoint. Below it are the files, for deletion.
PREFIX = "/fine/"

#: What the client cannot mend by sending the same again.
_FINAL = frozenset({400, 401, 403, 404, 411, 413, 415})


def dialect(site: Site) -> Dialect:
    """Fine Uploader's traditional endpoint, below ``/fine/``."""
    routes = [
        *(Route(path, partial(uploads.post, site), methods=["POST"]) for path in (PREFIX, PREFIX.rstrip("/"))),
        *(Route(path, partial(uploads.session, site), methods=["GET"]) for path in (PREFIX, PREFIX.rstrip("/"))),
        Route(f"{PREFIX}done", partial(uploads.done, site), methods=["POST"]),
        # An endpoint that ends with a slash makes the client write two.
        *(Route(f"{PREFIX}{slash}{{uuid}}", partial(uploads.delete, site), methods=["DELETE"]) for slash in ("", "/")),
    ]
    return Dialect(
        prefix=PREFIX,
        routes=routes,
        request_fields=("Cache-Control", "X-Requested-With", "X-Mime-Type"),
        render=_render,
    )


def _render(problem: ProblemResponse) -> Response:
    """``error`` is shown to people; ``preventRetry`` keeps the client from sending what would be refused again."""
    left_out = {"type", "title", "status", "detail"}
    content = {name: value for name, value in problem.content.items() if name not in left_out}
    content |= {"success": False, "error": problem.content["detail"]}
    if problem.status_code in _FINAL and not content.get("reset"):
        content["preventRetry"] = True
    headers = {name: value for name, value in problem.headers.items() if not name.startswith("content-")}
    return JSONResponse(content, problem.status_code, headers)
