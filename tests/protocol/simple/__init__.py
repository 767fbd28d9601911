"""A dialect of one call, ``PUT /simple/NAME``, which makes an artifact of its body. Nothing else knows of it."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from partwise.core.digests import format_digest_field
from partwise.engine.artifacts import store_file
from partwise.engine.ports import Body, Sink
from partwise.http.dialect import Dialect, Site
from partwise.http.problems import LENGTH_REQUIRED, ProblemResponse, Refusal
from partwise.http.requests import content_digest, content_length, refuse_encoding


class _Named:
    """A body with the name that its path gives it."""

    def __init__(self, body: Body, filename: str) -> None:
        self._body = body
        self.filename: str | None = filename
        self.media_type: str | None = None

    @property
    def sha256(self) -> str | None:
        return self._body.sha256

    async def drain(self, sink: Sink) -> None:
        await self._body.drain(sink)


async def _put(site: Site, request: Request) -> Response:
    refuse_encoding(request)
    size = content_length(request)
    if size is None:
        raise Refusal(LENGTH_REQUIRED)
    body = _Named(site.body_of(request, content_digest(request)), request.path_params["name"])
    artifact = await store_file(site.engine, site.who(request), body, bound=size)
    return Response(status_code=201, headers={"Repr-Digest": format_digest_field(artifact.sha256)})


def _render(problem: ProblemResponse) -> Response:
    text = f"{problem.problem.name}: {problem.content['detail']}\n"
    return PlainTextResponse(text, problem.status_code, {"X-Simple": "no"})


def dialect(site: Site) -> Dialect:
    """The whole dialect."""
    return Dialect(
        prefix="/simple/",
        routes=[Route("/simple/{name}", partial(_put, site), methods=["PUT"])],
        request_fields=["X-Simple-Wish"],
        answer_fields=["X-Simple"],
        render=_render,
    )
