"""Cross-origin access from browsers (CORS). No other origin is allowed unless the operator names it."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from partwise.http.dialect import Dialect

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_REQUEST_FIELDS = ("Authorization", "Content-Type", "Content-Range", "Content-Digest", "Prefer")
_ANSWER_FIELDS = ("Retry-After", "ETag", "Content-Range", "Content-Disposition")

#: Seconds that a browser need not ask again before each request.
_MAX_AGE = 86_400


def cors(origins: Sequence[str], dialects: Sequence[Dialect], more: Sequence[str] = ()) -> list[Middleware]:
    """The middleware that lets pages of ``origins`` in, such as ``https://files.example.org``.

    ``more``: header fields that these pages may send beside those that the server itself knows.

    Browsers send no cookies and no stored passwords along: a page has the rights of whoever gave it a token.
    """
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=_joined(_REQUEST_FIELDS, [dialect.request_fields for dialect in dialects] + [more]),
            expose_headers=_joined(_ANSWER_FIELDS, [dialect.answer_fields for dialect in dialects]),
            max_age=_MAX_AGE,
        )
    ]


def _joined(general: Sequence[str], particular: Sequence[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys([*general, *(name for names in particular for name in names)]))
