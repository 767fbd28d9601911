"""The page as it is served: its policy, its caching, and that nothing in it would need a looser policy."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from starlette.applications import Starlette
from starlette.testclient import TestClient

from partwise.web import POLICY, page_routes


def client(prefix: str = "/pulp/api/v3/") -> TestClient:
    return TestClient(Starlette(routes=page_routes(prefix)))


def test_the_page_and_all_that_it_names_are_there() -> None:
    page = client().get("/")
    assert page.headers["content-security-policy"] == POLICY
    assert page.headers["cache-control"] == "no-cache"
    named = [urljoin("/", name) for name in re.findall(r'(?:src|href)="([^"]+)"', page.text)]
    assert any(name.endswith(".js") for name in named)
    assert any(name.endswith(".css") for name in named)
    for name in named:
        found = client().get(name)
        assert found.status_code == 200
        assert found.headers["x-content-type-options"] == "nosniff"
        assert ("immutable" in found.headers["cache-control"]) is name.startswith("/assets/")


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = client().get("/").text
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert "<style" not in page
    assert not re.search(r"\son\w+=|\sstyle=", page)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)
    assert "unsafe" not in POLICY


def test_the_worker_that_the_script_names_is_served() -> None:
    script = re.search(r'src="\.(/assets/[^"]+\.js)"', client().get("/").text)
    assert script
    worker = re.search(r"lane\.worker-[\w-]+\.js", client().get(script[1]).text)
    assert worker
    assert client().get(f"/assets/{worker[0]}").headers["content-type"].startswith("text/javascript")


def test_a_known_copy_is_not_sent_again() -> None:
    tag = client().get("/").headers["etag"]
    assert client().get("/", headers={"If-None-Match": tag}).status_code == 304


def test_the_page_learns_another_prefix_as_text() -> None:
    page = client('/a"><script>/').get("/").text
    assert 'content="/a&quot;&gt;&lt;script&gt;/"' in page


def test_files_beside_the_page_are_not_served() -> None:
    for path in ("/../__init__.py", "/assets/../../__init__.py", "/page/index.html", "/__init__.py"):
        assert client().get(path).status_code == 404
