"""Tokens that allow less, and addresses that send wrong ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token, partwise_token

DATA = b"the contents of a file"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("scopes")
    settings: dict[str, Any] = {"auth": "token", "max_failed_sign_ins": 5, "trusted_proxies": "127.0.0.1"}
    with ServerProcess(folder / "data", dialects="pulp,box", **settings) as server:
        yield server


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_allows_what_its_scope_says(server: ServerProcess) -> None:
    uploads = bearer(make_token(server, "ci", "--user", "ann", "--scope", "upload", "--expires", "30d"))
    reads = bearer(make_token(server, "viewer", "--user", "ann", "--scope", "read"))
    with Http(server.port) as http:
        href = http("POST", f"{API}uploads/", {"size": len(DATA)}, **uploads).json["pulp_href"]
        assert http.put(href, 0, DATA, **reads).problem == (403, "out-of-scope")
        assert http.put(href, 0, DATA, **uploads).status == 200
        artifact = http("PUT", f"{href}commit", {"sha256": sha256(DATA)}, **uploads).json["artifact"]
        assert http("GET", artifact, **uploads).status == 200
        for method, path in (("GET", f"{artifact}download/"), ("GET", f"{artifact}signature/"), ("DELETE", artifact)):
            assert http(method, path, **uploads).problem == (403, "out-of-scope"), path
        assert http("GET", f"{artifact}download/", **reads).body == DATA
        assert http("POST", f"{API}uploads/", {"size": 1}, **reads).problem == (403, "out-of-scope")
        assert http("DELETE", artifact, **reads).problem == (403, "out-of-scope")


def test_a_deleted_token_leaves_the_list_and_its_name(server: ServerProcess) -> None:
    make_token(server, "old")
    partwise_token(server, "revoke", "old")
    partwise_token(server, "delete", "old")
    names = [json.loads(line)["name"] for line in partwise_token(server, "list", "--json").splitlines()]
    assert "old" not in names
    make_token(server, "old", "--user", "ben")
    partwise_token(server, "delete", "nobody", code=7)


def test_an_address_that_guesses_is_refused_and_its_neighbours_are_not(server: ServerProcess) -> None:
    known = bearer(make_token(server, "known", "--user", "ann"))
    wrong = bearer("partwise_" + "x" * 43)
    here, there = {"X_Forwarded_For": "203.0.113.9"}, {"X_Forwarded_For": "203.0.113.10"}
    with Http(server.port) as http:
        assert http("GET", f"{API}uploads/", **known, **here).status == 200
        for _ in range(5):
            assert http("GET", f"{API}uploads/", **wrong, **here).status == 401
        refused = http("GET", f"{API}uploads/", **wrong, **here)
        assert refused.problem == (429, "too-many-failures")
        assert 0 < int(refused.headers["Retry-After"]) <= 60
        assert http("GET", f"{API}uploads/", **known, **here).status == 200
        assert http("GET", f"{API}uploads/", **here).status == 401
        assert http("GET", f"{API}uploads/", **wrong, **there).status == 401


def test_who_guesses_in_the_body_of_a_sign_in_is_refused_too(server: ServerProcess) -> None:
    """Box's clients send their secret there, and no header field."""
    known = make_token(server, "client")
    here, there = {"X_Forwarded_For": "203.0.113.11"}, {"X_Forwarded_For": "203.0.113.12"}
    with Http(server.port) as http:

        def sign_in(secret: str, **fields: str) -> int:
            return http("POST", "/box/oauth2/token", {"client_secret": secret}, **fields).status

        assert sign_in(known, **here) == 200
        assert [sign_in("partwise_" + "x" * 43, **here) for _ in range(6)] == [401] * 5 + [429]
        assert http("GET", f"{API}uploads/", **bearer(known), **here).status == 200
        assert sign_in(known, **there) == 200
