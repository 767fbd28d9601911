"""What unit tests of the dialects need."""

from __future__ import annotations

from typing import Any, cast

from starlette.requests import Request

from partwise.core.records import Principal
from partwise.http.intake import RequestBody
from partwise.protocols.pulp.api import Api


def unserved_api(prefix: str) -> Api:
    """An API whose calls are looked at and never made."""

    def body_of(request: Request, sha256: str | None = None) -> RequestBody:
        raise AssertionError(f"no request is served: {request}, {sha256}")

    return Api(
        engine=cast(Any, None),
        body_of=body_of,
        who=lambda _request: Principal("nobody"),
        signed_in=lambda _request: False,
        api_prefix=prefix,
    )
