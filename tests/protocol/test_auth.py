"""A server that needs tokens: what it refuses, and that nobody reaches what is someone else's, whatever the call."""

from __future__ import annotations

import json
import os
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from partwise.protocols.pulp.operations import OPERATIONS, Operation
from tests.conftest import Engines
from tests.support.server import API, Answer, Http, ServerProcess, exchange, form, sha256
from tests.support.tokens import make_token, partwise_token

DATA = b"0123456789"

pytestmark = pytest.mark.more_engines


class User:
    """Requests with one token."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        with Http(self.port) as http:
            return http(method, path, body, Authorization=f"Bearer {self.token}", **headers)

    def upload(self, size: int = len(DATA)) -> str:
        return str(self("POST", f"{API}uploads/", {"size": size}).json["pulp_href"])

    def store(self, data: bytes) -> dict[str, Any]:
        href = self.upload(len(data))
        span = f"bytes 0-{len(data) - 1}/{len(data)}"
        assert self("PUT", href, data, Content_Range=span).status == 200
        answer = self("PUT", f"{href}commit", {"sha256": sha256(data)})
        assert answer.status == 200, answer.body
        return dict(answer.json)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data"), auth="token") as process:
        yield process


def user(server: ServerProcess, name: str, *options: str) -> User:
    return User(server.port, make_token(server, name, *options))


@pytest.fixture(scope="module")
def alice(server: ServerProcess) -> User:
    return user(server, "alice")


@pytest.fixture(scope="module")
def bob(server: ServerProcess) -> User:
    return user(server, "bob")


@pytest.fixture(scope="module")
def admin(server: ServerProcess) -> User:
    return user(server, "root", "--admin")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_call_needs_a_token(server: ServerProcess, operation: Operation) -> None:
    path = API + operation.path.format(upload_id="a", artifact_id="a", task_id="a")
    with Http(server.port) as http:
        if not operation.greets:
            assert http(operation.method, path).problem == (401, "not-signed-in")
        assert http(operation.method, path, Authorization="Bearer partwise_" + "x" * 43).status == 401


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/docs/errors", f"{API}docs/api.json", f"{API}docs/openapi.json"]
)
def test_what_is_open_to_all(server: ServerProcess, path: str) -> None:
    with Http(server.port) as http:
        assert http("GET", path).status == 200
        assert http("POST", path).status == 401


def test_a_status_without_a_token_tells_versions_alone(server: ServerProcess, alice: User) -> None:
    """As Pulp's clients ask for it; they are in the description of the API too, which anyone may read."""
    hers = alice("GET", f"{API}status/").json
    assert hers["storage"] is None  # free space is for admins
    assert hers["user"] == "alice"
    assert hers["limits"] == {"max_upload_size": None, "quota": None}
    with Http(server.port) as http:
        for path in (f"{API}status/", f"{API}status"):
            answer = http("GET", path)
            assert (answer.status, answer.json) == (200, hers | {"storage": None, "user": None, "limits": None})
            assert http("GET", path, Authorization="Bearer x").status == 401
            assert http("GET", path, Authorization="").status == 401
            assert http("POST", path).status == 401
        assert http("GET", f"{API}status/x").status == 401


@pytest.mark.parametrize("path", ["/nothing", "/session", "/livez/x", f"{API}docs/"])
def test_what_is_not_open(server: ServerProcess, path: str) -> None:
    with Http(server.port) as http:
        assert http("GET", path).status == 401


def test_a_refusal_names_both_schemes_but_to_scripts(server: ServerProcess) -> None:
    with Http(server.port) as http:

        def challenges(**headers: str) -> list[str]:
            return http("GET", f"{API}tasks/", **headers).headers.get_all("WWW-Authenticate") or []

        assert challenges() == ['Bearer realm="partwise"', 'Basic realm="partwise", charset="UTF-8"']
        assert challenges(Sec_Fetch_Dest="empty") == ['Bearer realm="partwise"']
        assert challenges(X_Requested_With="XMLHttpRequest") == ['Bearer realm="partwise"']
        assert challenges(Authorization="Bearer x")[0] == 'Bearer realm="partwise", error="invalid_token"'


def test_basic_with_any_user_name(server: ServerProcess, alice: User) -> None:
    with Http(server.port) as http:
        for name in ("alice", "", "anyone"):
            encoded = b64encode(f"{name}:{alice.token}".encode()).decode()
            answer = http("POST", f"{API}uploads/", {"size": 1}, Authorization=f"Basic {encoded}")
            assert answer.json["user"] == "alice"
        encoded = b64encode(f"{alice.token}:".encode()).decode()
        assert http("GET", f"{API}status/", Authorization=f"Basic {encoded}").status == 401


def test_another_sites_page_cannot_use_stored_credentials(server: ServerProcess, alice: User) -> None:
    encoded = "Basic " + b64encode(f"a:{alice.token}".encode()).decode()
    with Http(server.port) as http:

        def create(origin: str) -> Answer:
            return http("POST", f"{API}uploads/", {"size": 1}, Authorization=encoded, Origin=origin)

        assert create("https://evil.example").problem == (403, "foreign-origin")
        assert create("null").status == 403
        two = ("https://evil.example", f"http://127.0.0.1:{server.port}")
        for first, second in (two, two[::-1]):
            request = (
                f"POST {API}uploads/ HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: {encoded}\r\n"
                f"Origin: {first}\r\nOrigin: {second}\r\nContent-Length: 10\r\n"
                f"Content-Type: application/json\r\nConnection: close\r\n\r\n"
            ).encode()
            assert exchange(server.port, request + b'{"size":1}').startswith(b"HTTP/1.1 403 ")
        assert create(f"http://127.0.0.1:{server.port}").status == 201
        assert create(f"https://127.0.0.1:{server.port}").status == 201  # behind a proxy that ends TLS


def test_a_body_is_not_asked_for_without_a_token(server: ServerProcess) -> None:
    head = (
        f"PUT {API}uploads/x/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n"
        "Content-Range: bytes 0-999999/*\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")


def calls_on_what_is_alices(alice: User) -> list[tuple[str, str, Any, dict[str, str]]]:
    """Each call of the table on things of hers, with a body and header fields that would do."""
    open_, done = alice.upload(), alice.store(os.urandom(10))
    ids = {
        "artifact_id": done["artifact"].split("/")[-2],
        "task_id": alice("GET", f"{API}tasks/").json["results"][0]["pulp_href"].split("/")[-2],
    }
    bodies: dict[str, tuple[Any, dict[str, str]]] = {
        "uploads_update": (DATA, {"Content_Range": "bytes 0-9/10"}),
        "uploads_commit": ({"sha256": sha256(DATA)}, {}),
        "uploads_commit_now": ({"sha256": sha256(DATA)}, {}),
        "uploads_copy": ([{"offset": 0, "size": 1, "artifact": done["artifact"], "from": 0}], {}),
    }
    calls = []
    for operation in OPERATIONS:
        if "{" not in operation.path:
            continue
        for upload in (open_, done["pulp_href"]) if "upload_id" in operation.path else (open_,):
            path = API + operation.path.format(upload_id=upload.split("/")[-2], **ids)
            calls.append((operation.method, path, *bodies.get(operation.id, (None, {}))))
    content, kind = form(DATA)
    calls.append(("PUT", open_, content, {"Content_Range": "bytes 0-9/10", "Content_Type": kind}))
    calls.append(("GET", f"{open_}?digests=true", None, {}))
    calls += [("POST", f"{API}artifacts/", {"upload": each}, {}) for each in (open_, done["pulp_href"])]
    return calls


def test_another_users_things_are_not_there(alice: User, bob: User) -> None:
    calls = calls_on_what_is_alices(alice)
    assert len(calls) >= 16
    before = alice("GET", f"{API}uploads/").json, alice("GET", f"{API}artifacts/").json
    for method, path, body, headers in calls:
        assert bob(method, path, body, **headers).problem == (404, "not-found"), (method, path)
    assert (alice("GET", f"{API}uploads/").json, alice("GET", f"{API}artifacts/").json) == before


def owners(items: list[dict[str, Any]]) -> set[str]:
    return {item.get("user") or item["created_by"] for item in items}


def test_another_users_things_are_in_no_listing(alice: User, bob: User, admin: User) -> None:
    content = os.urandom(20)
    stored = alice.store(content)
    for listing in ("uploads/", "artifacts/", "tasks/", f"artifacts/?sha256={sha256(content)}"):
        theirs = bob("GET", API + listing).json["results"]
        assert owners(theirs) <= {"bob"}
        assert "alice" in owners(admin("GET", API + listing).json["results"])
    assert admin("GET", f"{stored['artifact']}download/").body == content


def test_content_of_others_completes_nothing(alice: User, bob: User) -> None:
    content = os.urandom(30)
    alice.store(content)
    wish = {"size": len(content), "sha256": sha256(content)}
    assert bob("POST", f"{API}uploads/", wish).json["state"] == "open"
    assert alice("POST", f"{API}uploads/", wish).json["state"] == "completed"


def test_an_owners_delete_leaves_the_others_artifact(alice: User, bob: User) -> None:
    content = os.urandom(40)
    hers, his = alice.store(content)["artifact"], bob.store(content)["artifact"]
    assert hers != his
    assert alice("DELETE", hers).status == 204
    assert bob("GET", f"{his}download/").body == content


def test_an_admin_acts_for_the_owner(alice: User, admin: User) -> None:
    href = alice.upload()
    assert admin("PUT", href, DATA, Content_Range="bytes 0-9/10").status == 200
    done = admin("PUT", f"{href}commit", {"sha256": sha256(DATA)}).json
    assert done["user"] == "alice"
    assert alice("GET", done["artifact"]).status == 200
    assert admin("DELETE", done["artifact"]).status == 204


def test_the_cookie_for_downloads(server: ServerProcess, alice: User, bob: User) -> None:
    content = os.urandom(50)
    artifact = alice.store(content)["artifact"]
    answer = alice("POST", "/session", Origin="https://x")
    assert answer.status == 204
    cookie = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=strict", "Secure", f"Path={API}artifacts/"} <= set(cookie.split("; "))
    assert "Secure" not in alice("POST", "/session", Origin="http://x").headers["Set-Cookie"]
    pair = cookie.partition(";")[0]
    with Http(server.port) as http:
        assert http("GET", f"{artifact}download/", Cookie=pair).body == content
        assert http("GET", artifact, Cookie=pair).status == 401
        assert http("DELETE", artifact, Cookie=pair).status == 401
        assert http("GET", f"{artifact}download/").status == 401
    his = bob("POST", "/session").headers["Set-Cookie"].partition(";")[0]
    with Http(server.port) as http:
        assert http("GET", f"{artifact}download/", Cookie=his).status == 404
    assert "Max-Age=0" in alice("DELETE", "/session").headers["Set-Cookie"]


def test_a_second_token_of_the_same_user_and_revocation(server: ServerProcess) -> None:
    first = user(server, "carol")
    second = user(server, "carol-laptop", "--user", "carol")
    href = first.upload()
    assert second("GET", href).status == 200
    partwise_token(server, "revoke", "carol-laptop")
    deadline = time.monotonic() + 10
    while second("GET", href).status != 401:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert first("GET", href).status == 200
    partwise_token(server, "create", "carol", code=1)  # it is in use
    again = user(server, "carol-laptop", "--user", "carol")  # a revoked one's name is free
    assert again("GET", href).status == 200
    assert second("GET", href).status == 401
    partwise_token(server, "revoke", "nobody", code=7)


def test_tokens_are_kept_as_digests_and_their_use_is_noted(server: ServerProcess, alice: User) -> None:
    assert alice("GET", f"{API}status/").status == 200
    listed = partwise_token(server, "list")
    assert "alice" in listed
    assert alice.token not in listed
    for path in Path(server.data).glob("*.*"):  # none where the records are in PostgreSQL
        assert alice.token.encode() not in path.read_bytes()
    tokens = [json.loads(line) for line in partwise_token(server, "list", "--json").splitlines()]
    assert next(token for token in tokens if token["name"] == "alice")["last_used"]


def test_names_that_cannot_be_shown_are_refused(server: ServerProcess) -> None:
    for name in ("", " ", "a\nb", "x" * 101):
        partwise_token(server, "create", name, code=2)


def test_the_api_says_that_it_needs_credentials(server: ServerProcess) -> None:
    with Http(server.port) as http:
        security = http("GET", f"{API}docs/api.json").json["security"]
    assert {"basicAuth": []} in security
    assert {} not in security
