"""Behind a proxy that puts the server below a path: through a real nginx, which passes the path on or takes it off."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from partwise.client import Client
from partwise.server.settings import Settings
from tests.support.nginx import NGINX, free_port, guide_site, nginx
from tests.support.server import Http, ServerProcess, sha256
from tests.support.tokens import make_token
from tests.support.until import wait_until

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

BELOW = "/partwise"
API = f"{BELOW}/pulp/api/v3/"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("below")
    server = ServerProcess(
        folder / "data",
        log=folder / "log",
        log_format="json",
        public_url=f"https://files.example.org{BELOW}/",
        trusted_proxies="127.0.0.0/8",
        auth="token",
    )
    with server:
        yield server


@pytest.fixture(scope="module")
def token(server: ServerProcess) -> str:
    return make_token(server, "ann", "--admin")


@pytest.fixture(params=["passed on", "taken off"])
def port(request: pytest.FixtureRequest, server: ServerProcess, tmp_path: Path) -> Iterator[int]:
    """That of nginx."""
    port = free_port()
    site = guide_site(server.port, f"listen 127.0.0.1:{port}").replace("location / {", f"location {BELOW}/ {{")
    if request.param == "taken off":
        site = site.replace("proxy_pass http://partwise;", "proxy_pass http://partwise/;")
    with nginx(tmp_path, port, site):
        yield port


@pytest.fixture
def http(port: int) -> Iterator[Http]:
    with Http(port) as connection:
        yield connection


def test_every_path_that_pulps_clients_are_told_leads_there(http: Http, token: str) -> None:
    who = {"Authorization": f"Bearer {token}"}
    data = os.urandom(1000)
    created = http("POST", f"{API}uploads/", {"size": len(data)}, **who)
    href = created.json["pulp_href"]
    assert href.startswith(f"{API}uploads/")
    assert created.headers["Location"] == href
    assert http.put(href, 0, data, **who).status == 200
    begun = http("POST", f"{href}commit/", {"sha256": sha256(data)}, **who)
    task = begun.json["task"]
    assert task.startswith(f"{API}tasks/")
    while (state := http("GET", task, **who).json)["state"] != "completed":
        assert state["state"] in ("waiting", "running")
    artifact = http("GET", href, **who).json["artifact"]
    assert http("GET", f"{artifact}download/", **who).body == data
    # A path that was told may be told back.
    made = http("POST", f"{API}artifacts/", {"upload": href, "sha256": sha256(data)}, **who)
    assert made.status in (200, 201, 202), made.body
    http("POST", f"{API}uploads/", {"size": 1}, **who)
    page = http("GET", f"{API}uploads/?limit=1", **who).json
    assert page["next"].startswith(f"{API}uploads/?")
    second = http("GET", page["next"], **who).json
    assert second["previous"].startswith(f"{API}uploads/?")
    described = http("GET", f"{API}docs/openapi.json").json["paths"]
    assert all(path.startswith(API) for path in described)


def test_every_path_that_tus_clients_are_told_leads_there(http: Http, token: str) -> None:
    who = {"Authorization": f"Bearer {token}", "Tus_Resumable": "1.0.0"}
    parts = []
    for data in (b"01234", b"56789"):
        created = http("POST", f"{BELOW}/tus/", b"", Upload_Length="5", Upload_Concat="partial", **who)
        location = created.headers["Location"]
        assert location.startswith(f"{BELOW}/tus/")
        sent = http("PATCH", location, data, Upload_Offset="0", Content_Type="application/offset+octet-stream", **who)
        assert sent.status == 204, sent.body
        parts.append(location)
    final = http("POST", f"{BELOW}/tus/", b"", Upload_Concat=f"final;{' '.join(parts)}", **who)
    assert final.status == 201, final.body
    assert http("HEAD", final.headers["Location"], **who).headers["Upload-Length"] == "10"


def test_problems_lead_to_the_page_of_errors(http: Http, token: str) -> None:
    for answer in (
        http("GET", f"{API}uploads/"),
        http("GET", f"{API}uploads/none/", Authorization=f"Bearer {token}"),
        http("GET", f"{BELOW}/nothing", Authorization=f"Bearer {token}"),
    ):
        page, _, name = answer.json["type"].partition("#")
        assert page == f"{BELOW}/docs/errors"
        assert f'id="{name}"'.encode() in http("GET", page).body


def test_the_page_finds_its_parts_and_the_api(http: Http) -> None:
    for path in (f"{BELOW}/livez", f"{BELOW}/readyz"):
        assert http("GET", path).status == 200
    page = http("GET", f"{BELOW}/")
    assert page.status == 200
    (api,) = re.findall(r'name="partwise-api" content="([^"]*)"', page.body.decode())
    assert api == API
    parts = re.findall(r'(?:href|src)="([^"]+)"', page.body.decode())
    assert len(parts) >= 3
    for part in parts:
        assert http("GET", urljoin(f"{BELOW}/", part)).status == 200


def test_the_cookie_for_downloads_is_for_the_downloads_there(http: Http, token: str) -> None:
    answer = http("POST", f"{BELOW}/session", b"", Authorization=f"Bearer {token}", Origin="https://files.example.org")
    assert answer.status == 204, answer.body
    assert f"Path={API}artifacts/" in answer.headers["Set-Cookie"]
    assert "Secure" in answer.headers["Set-Cookie"]


def test_the_servers_own_pages_may_change_things_whatever_the_host_field_says(http: Http, token: str) -> None:
    basic = {"Authorization": f"Basic {_basic(token)}"}
    for origin, status in (("https://files.example.org", 201), ("https://evil.example.org", 403)):
        answer = http("POST", f"{API}uploads/", {"size": 1}, Origin=origin, **basic)
        assert answer.status == status


def _basic(token: str) -> str:
    import base64

    return base64.b64encode(f"ann:{token}".encode()).decode()


def test_the_python_client_works_there(port: int, token: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3 << 20))
    with Client(f"http://127.0.0.1:{port}{API}", token=token) as client:
        assert client.upload(path).sha256 == sha256(path.read_bytes())


def test_the_log_has_the_clients_address(http: Http, server: ServerProcess, token: str) -> None:
    """nginx adds the address that it saw to what the client claims: the claim does not count."""
    with Http(server.port) as direct:
        direct("GET", f"{API}uploads/", X_Forwarded_For="203.0.113.7, 10.0.0.1", Authorization=f"Bearer {token}")
    log = server.data.parent / "log"
    wait_until(lambda: '"client": "10.0.0.1"' in log.read_text(), "the line is written")
    assert "203.0.113.7" not in log.read_text()


def test_nobody_else_is_believed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with ServerProcess(tmp_path / "data", log=log, log_format="json") as server, Http(server.port) as http:
        http("GET", "/pulp/api/v3/uploads/", X_Forwarded_For="203.0.113.7")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["client"] for line in lines if line["event"] == "request"] == ["127.0.0.1"]


@pytest.mark.parametrize(
    "name, value",
    [
        ("base_path", "/a b"),
        ("public_url", "files.example.org"),
        ("public_url", "https://x/?a"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("trusted_proxies", "proxy"),
    ],
)
def test_mistakes_are_told(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"is not a valid (path|URL|network)\. Write for example"):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_the_base_path_is_that_of_the_public_url() -> None:
    assert Settings(public_url="https://x/a/b/").base == "/a/b"
    assert Settings(public_url="https://x").base == ""
    assert Settings(public_url="https://x/a", base_path="b/").base == "/b"
