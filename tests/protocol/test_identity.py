"""Users named by a proxy or by an issuer of JSON Web Tokens, against a real server."""

from __future__ import annotations

import base64
import hmac
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from tests.support.server import API, Http, ServerProcess
from tests.support.tokens import make_token

ISSUER, AUDIENCE = "https://login.example.org", "partwise"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings: dict[str, Any] = {
        "auth": "proxy",
        "proxy_user_header": "X-Remote-User",
        "trusted_proxies": "127.0.0.1",
        "admins": "root",
    }
    with ServerProcess(tmp_path_factory.mktemp("proxied"), **settings) as process:
        yield process


def test_a_trusted_proxy_names_the_user(proxied: ServerProcess) -> None:
    with Http(proxied.port) as http:
        created = http("POST", f"{API}uploads/", {"size": 1}, X_Remote_User="ann")
        assert (created.status, created.json["user"]) == (201, "ann")
        href = created.json["pulp_href"]
        assert http("GET", href, X_Remote_User="bob").status == 404
        assert http("GET", href, X_Remote_User="root").status == 200
        assert http("GET", f"{API}status/", X_Remote_User="ann").json["user"] == "ann"
        assert http("GET", f"{API}status/").json["user"] is None
        for nobody in ({}, {"X_Remote_User": ""}, {"X_Remote_User": "x" * 101}, {"Authorization": "Bearer junk"}):
            assert http("GET", href, **nobody).status == 401, nobody
        # Whatever else the request has: the proxy may have gone by a cookie.
        for more in ({}, {"Authorization": "Bearer junk"}):
            foreign = http("DELETE", href, X_Remote_User="ann", Origin="https://elsewhere.example", **more)
            assert foreign.problem == (403, "foreign-origin")
        own = f"http://127.0.0.1:{proxied.port}"
        assert http("DELETE", href, X_Remote_User="ann", Origin=own).status == 204


def test_a_field_that_is_there_twice_is_refused(proxied: ServerProcess) -> None:
    with Http(proxied.port) as http:
        connection = http._connection
        connection.putrequest("GET", f"{API}uploads/")
        for name in ("ann", "root"):
            connection.putheader("X-Remote-User", name)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 400
        assert json.loads(answer.read())["type"].endswith("#bad-request")


def test_names_are_utf8(proxied: ServerProcess) -> None:
    with Http(proxied.port) as http:
        name = "Zoë".encode().decode("latin-1")
        assert http("POST", f"{API}uploads/", {"size": 1}, X_Remote_User=name).json["user"] == "Zoë"


def test_tokens_work_beside_the_proxy(proxied: ServerProcess) -> None:
    bearer = f"Bearer {make_token(proxied, 'robot', '--admin')}"
    with Http(proxied.port) as http:
        assert http("POST", f"{API}uploads/", {"size": 1}, Authorization=bearer).json["user"] == "robot"
        assert http("GET", "/metrics", Authorization=bearer).status == 200


def test_from_another_address_the_field_counts_for_nothing(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"auth": "proxy", "proxy_user_header": "X-Remote-User", "trusted_proxies": "10.0.0.0/8"}
    with ServerProcess(tmp_path / "data", **settings) as server, Http(server.port) as http:
        answer = http("GET", f"{API}uploads/", X_Remote_User="root", X_Forwarded_For="10.0.0.1")
        assert answer.problem == (401, "not-signed-in")


@pytest.mark.parametrize(
    "settings, missing",
    [
        ({"auth": "proxy", "trusted_proxies": "127.0.0.1"}, "proxy_user_header"),
        ({"auth": "proxy", "proxy_user_header": "X-User"}, "trusted_proxies"),
        ({"auth": "oidc", "oidc_audience": "a", "oidc_jwks": "/x"}, "oidc_issuer"),
        ({"auth": "oidc", "oidc_issuer": "i", "oidc_jwks": "/x"}, "oidc_audience"),
        ({"auth": "oidc", "oidc_issuer": "i", "oidc_audience": "a"}, "oidc_jwks"),
    ],
)
def test_no_start_without_what_identity_rests_on(tmp_path: Path, settings: dict[str, str], missing: str) -> None:
    environment = os.environ | {f"PARTWISE_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "partwise.cli", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert missing in ran.stderr
    assert not (tmp_path / "data").exists()


class Issuer:
    """Signs tokens, and tells its keys."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "one", "alg": "ES256"})
        self.keys: list[Any] = [self.key]
        self.asked = 0
        self.url = ""

    def jwks(self) -> dict[str, Any]:
        return dict(KeySet(self.keys).as_dict(private=False))

    def token(self, key: Any = None, algorithm: str = "ES256", kid: str | None = "one", **claims: Any) -> str:
        now = int(time.time())
        members = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 300} | claims
        members = {name: value for name, value in members.items() if value is not None}
        header = {"alg": algorithm} | ({"kid": kid} if kid else {})
        return jwt.encode(header, members, key or self.key, algorithms=[algorithm])


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    made = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked += 1
            body = json.dumps(made.jwks()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}/keys"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[ServerProcess]:
    url = issuer.url
    settings: dict[str, Any] = {
        "auth": "oidc",
        "oidc_issuer": ISSUER,
        "oidc_audience": AUDIENCE,
        "oidc_jwks": url,
        "admins": "root",
    }
    with ServerProcess(tmp_path_factory.mktemp("signed"), **settings) as process:
        yield process


def test_a_token_of_the_issuer_opens_what_is_the_users(signed: ServerProcess, issuer: Issuer) -> None:
    with Http(signed.port) as http:
        created = http("POST", f"{API}uploads/", {"size": 1}, Authorization=f"Bearer {issuer.token()}")
        assert (created.status, created.json["user"]) == (201, "ann")
        href = created.json["pulp_href"]
        for name, status in (("bob", 404), ("root", 200)):
            assert http("GET", href, Authorization=f"Bearer {issuer.token(sub=name)}").status == status
        audiences = issuer.token(aud=["other", AUDIENCE])
        assert http("GET", href, Authorization=f"Bearer {audiences}").status == 200
        own = f"Bearer {make_token(signed, 'ann')}"
        assert http("GET", href, Authorization=own).status == 200


def hs256(secret: bytes, claims: dict[str, Any]) -> str:
    """A token signed with a secret, by hand: no library signs with a public key."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    text = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "one"}, claims))
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


def test_what_is_not_the_issuers_opens_nothing(signed: ServerProcess, issuer: Issuer) -> None:
    now = int(time.time())
    other = ECKey.generate_key("P-256", {"kid": "one"})
    public = issuer.key.as_pem(private=False)
    head, _, tail = issuer.token().partition(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    tokens = {
        "expired": issuer.token(exp=now - 60),
        "without an end": issuer.token(exp=None),
        "of another issuer": issuer.token(iss="https://evil.example"),
        "without an issuer": issuer.token(iss=None),
        "for others": issuer.token(aud="other"),
        "for nobody": issuer.token(aud=None),
        "not yet": issuer.token(nbf=now + 600),
        "without a name": issuer.token(sub=None),
        "with an empty name": issuer.token(sub=""),
        "with a number": issuer.token(sub=5),
        "of another key": issuer.token(other),
        "with the public key as a secret": hs256(
            public, {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": now + 99}
        ),
        "unsigned": f"{none}.{tail.partition('.')[0]}.",
        "changed": f"{head}.{tail[:-4]}AAAA",
        "nothing": "a.b.c",
        "empty": "",
    }
    with Http(signed.port) as http:
        for what, token in tokens.items():
            answer = http("GET", f"{API}uploads/", Authorization=f"Bearer {token}")
            assert answer.status == 401, what


def test_a_new_key_is_looked_up_and_not_for_each_token(signed: ServerProcess, issuer: Issuer) -> None:
    with Http(signed.port) as http:
        assert http("GET", f"{API}uploads/", Authorization=f"Bearer {issuer.token()}").status == 200
        before = issuer.asked
        unknown = RSAKey.generate_key(2048, {"kid": "two"})
        for _ in range(3):
            token = issuer.token(unknown, "RS256", "two")
            assert http("GET", f"{API}uploads/", Authorization=f"Bearer {token}").status == 401
        assert issuer.asked - before <= 1
