"""Tokens: what is looked up when, what is forgotten, and which requests carry one."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from partwise.core.errors import StorageFailed
from partwise.core.records import Principal, Scope
from partwise.engine.ports import Ticket, Token
from partwise.engine.tickets import PREFIX as TICKET_PREFIX
from partwise.server.auth import Authenticator, credentials_of, digest_of, new_secret
from partwise.server.failures import FailedSignIns

DOWNLOADS = re.compile(r"/artifacts/[^/]+/download/?")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Tokens:
    """The port, in memory."""

    def __init__(self) -> None:
        self.by_digest: dict[str, Token] = {}
        self.asked = 0
        self.used: list[str] = []
        self.tickets: dict[str, Ticket] = {}
        self.failing = False

    async def create_token(self, token: Token, sha256: str) -> None:
        self.by_digest[sha256] = token

    async def find_token(self, sha256: str) -> Token | None:
        self.asked += 1
        return self.by_digest.get(sha256)

    async def list_tokens(self) -> list[Token]:
        return list(self.by_digest.values())

    async def use_token(self, name: str, now: datetime) -> None:
        if self.failing:
            raise StorageFailed("no")
        self.used.append(name)

    async def revoke_token(self, name: str, now: datetime) -> None:
        self.by_digest = {digest: token for digest, token in self.by_digest.items() if token.name != name}

    async def delete_token(self, name: str) -> Token:
        (token,) = [token for token in self.by_digest.values() if token.name == name]
        await self.revoke_token(name, NOW)
        return token

    async def create_ticket(self, upload_id: str, sha256: str, now: datetime) -> None:
        self.tickets[sha256] = Ticket(upload_id=upload_id, owner="ann")

    async def find_ticket(self, sha256: str) -> Ticket | None:
        self.asked += 1
        return self.tickets.get(sha256)

    async def revoke_tickets(self, upload_id: str) -> int:
        before = len(self.tickets)
        self.tickets = {digest: one for digest, one in self.tickets.items() if one.upload_id != upload_id}
        return before - len(self.tickets)


class Seconds:
    """A monotonic clock that is moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def authenticator(tokens: Tokens, seconds: Seconds) -> Authenticator:
    return Authenticator(tokens, clock=lambda: NOW, monotonic=seconds)


async def known(tokens: Tokens, **fields: Any) -> str:
    secret = new_secret()
    token = replace(Token(name="laptop", owner="alice", created=NOW), **fields)
    await tokens.create_token(token, digest_of(secret))
    return secret


def test_secrets_are_long_and_differ() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"partwise_[A-Za-z0-9_-]{43}", secret) for secret in made)


async def test_a_token_stands_for_its_user(tokens: Tokens, authenticator: Authenticator) -> None:
    assert await authenticator.find(await known(tokens)) == Principal("alice")
    assert await authenticator.find(await known(tokens, name="root", owner="root", admin=True)) == Principal(
        "root", admin=True
    )


async def test_the_catalog_is_asked_once_in_five_seconds(
    tokens: Tokens, authenticator: Authenticator, seconds: Seconds
) -> None:
    secret = await known(tokens)
    for _ in range(100):
        assert await authenticator.find(secret)
    assert tokens.asked == 1
    await tokens.revoke_token("laptop", NOW)
    seconds.now += 4.9
    assert await authenticator.find(secret)
    seconds.now += 0.2
    assert await authenticator.find(secret) is None
    assert tokens.asked == 2


async def test_a_new_token_works_at_once_though_it_was_tried_before(
    tokens: Tokens, authenticator: Authenticator
) -> None:
    secret = new_secret()
    assert await authenticator.find(secret) is None
    await tokens.create_token(Token(name="a", owner="a", created=NOW), digest_of(secret))
    assert await authenticator.find(secret) == Principal("a")


async def test_a_ticket_stands_for_the_owner_of_one_upload(
    tokens: Tokens, authenticator: Authenticator, seconds: Seconds
) -> None:
    secret = TICKET_PREFIX + "x" * 43
    await tokens.create_ticket("u1", digest_of(secret), NOW)
    for _ in range(3):
        assert await authenticator.find(secret) == Principal("ann", ticket="u1")
    assert (tokens.asked, tokens.used) == (1, [])
    await tokens.revoke_tickets("u1")
    seconds.now += 5
    assert await authenticator.find(secret) is None


@pytest.mark.parametrize("secret", ["", "short", "x" * 201, "a b" * 10, "partwise_" + "é" * 43, "\n" * 40])
async def test_what_is_no_token_is_not_looked_up(tokens: Tokens, authenticator: Authenticator, secret: str) -> None:
    assert await authenticator.find(secret) is None
    assert tokens.asked == 0


async def test_the_last_use_is_noted_now_and_then(tokens: Tokens, authenticator: Authenticator) -> None:
    await authenticator.find(await known(tokens))
    await authenticator.find(await known(tokens, name="recent", last_used=NOW - timedelta(seconds=30)))
    await authenticator.find(await known(tokens, name="old", last_used=NOW - timedelta(minutes=2)))
    await authenticator.stop()
    assert tokens.used == ["laptop", "old"]


async def test_a_use_that_cannot_be_noted_refuses_nobody(tokens: Tokens, authenticator: Authenticator) -> None:
    tokens.failing = True
    assert await authenticator.find(await known(tokens))
    await authenticator.stop()


def scope(path: str = "/uploads/", method: str = "GET", **headers: str) -> dict[str, Any]:
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": encoded}


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "header, secret, ambient",
    [
        ("Bearer abc", "abc", False),
        ("bearer  abc ", "abc", False),
        (basic("me:abc"), "abc", True),
        (basic(":abc"), "abc", True),
        (basic("me:a:b"), "a:b", True),
    ],
)
def test_credentials(header: str, secret: str, ambient: bool) -> None:
    found = credentials_of(scope(authorization=header), DOWNLOADS)
    assert found is not None
    assert (found.secret, found.ambient) == (secret, ambient)


@pytest.mark.parametrize("header", ["", "abc", "Digest abc", "Basic %%%", basic("no colon"), "Basic /w==", "Basic é"])
def test_no_credentials(header: str) -> None:
    assert credentials_of(scope(authorization=header), DOWNLOADS) is None


def test_two_authorizations_are_none() -> None:
    twice = scope(authorization="Bearer a")
    twice["headers"] *= 2
    assert credentials_of(twice, DOWNLOADS) is None


def test_the_cookie_opens_downloads_alone() -> None:
    cookie = "other=1; partwise_download=abc"
    found = credentials_of(scope("/artifacts/x/download/", cookie=cookie), DOWNLOADS)
    assert found is not None
    assert found.secret == "abc"
    for path, method in (
        ("/artifacts/x/", "GET"),
        ("/artifacts/x/download/", "DELETE"),
        ("/uploads/", "GET"),
        ("/artifacts/x/y/download/", "GET"),
    ):
        assert credentials_of(scope(path, method, cookie=cookie), DOWNLOADS) is None


async def test_a_token_ends_at_its_time(tokens: Tokens) -> None:
    now = NOW
    authenticator = Authenticator(tokens, clock=lambda: now, monotonic=lambda: (now - NOW).total_seconds())
    secret = new_secret()
    token = Token(name="ci", owner="ann", created=NOW, expires=NOW + timedelta(hours=1), scope=Scope.UPLOAD)
    await tokens.create_token(token, digest_of(secret))
    found = await authenticator.find(secret)
    assert found is not None
    assert found.scope is Scope.UPLOAD
    now += timedelta(minutes=59)
    assert await authenticator.find(secret) is not None
    now += timedelta(minutes=1)
    assert await authenticator.find(secret) is None
    await authenticator.stop()


def test_failures_count_for_a_minute_and_for_one_network() -> None:
    now = 0.0
    failures = FailedSignIns(2, lambda: now)

    def of(address: str) -> dict[str, Any]:
        return {"client": (address, 1)}

    for address in ("2001:db8::1", "2001:db8::ffff"):
        assert failures.wait_of(of(address)) == 0
        failures.count(of(address))
    assert failures.wait_of(of("2001:db8::2")) == 60
    assert failures.wait_of(of("2001:db8:0:1::2")) == 0
    assert failures.wait_of({"client": None}) == 0
    now = 60.0
    assert failures.wait_of(of("2001:db8::2")) == 0
    assert FailedSignIns(None).wait_of(of("2001:db8::2")) == 0
