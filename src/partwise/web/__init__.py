"""The upload page: files that ``make web`` builds from ``web/``, and the routes that serve them with a strict policy.

The files are small and change only with the package, so each process holds them in memory: nothing from a request ever
reaches the file system.
"""

from __future__ import annotations

import hashlib
import html
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent / "page"

#: What a browser must get before anyone has signed in; a path that ends with a slash stands for all below it.
PAGE_PATHS = ("/", "/assets/", "/favicon.svg")

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

#: What the page may do, whatever gets into it: its own script, style, workers and calls, and nothing inline. Script is
#: never made from strings, but for the one worker URL that the policy "partwise" lets through.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types partwise",
    )
)

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    headers: dict[str, str]

    async def __call__(self, request: Request) -> Response:
        """Answer a GET or HEAD; 304 when the browser has this very content."""
        if request.headers.get("if-none-match") == self.headers["ETag"]:
            return Response(status_code=304, headers=self.headers)
        return Response(self.content, headers=self.headers)


def page_routes(api_path: str, *, tokens: bool = True) -> list[Route]:
    """The page at ``/`` and what belongs to it.

    ``api_path`` is where browsers find the REST API. ``tokens``: people sign in on the page, with tokens of partwise;
    else the application or the proxy around it signs them in.
    """
    files = {path.relative_to(_FOLDER).as_posix(): path.read_bytes() for path in _FOLDER.rglob("*") if path.is_file()}
    index = files.pop("index.html").replace(
        b'content="/pulp/api/v3/"', f'content="{html.escape(api_path, quote=True)}"'.encode()
    )
    if not tokens:
        index = index.replace(b'content="token"', b'content="elsewhere"')
    routes = [Route("/", _file("index.html", index).__call__)]
    routes += [Route(f"/{name}", _file(name, content).__call__) for name, content in sorted(files.items())]
    return routes


def _file(name: str, content: bytes) -> _File:
    # The names of assets carry a digest of their content, so they never change; all else is asked for anew.
    caching = "public, max-age=31536000, immutable" if name.startswith("assets/") else "no-cache"
    headers = {
        **_HEADERS,
        "Content-Type": _MEDIA_TYPES[Path(name).suffix],
        "Cache-Control": caching,
        "ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    }
    return _File(content, headers)
