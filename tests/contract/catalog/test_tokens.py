from __future__ import annotations

import pytest
from sqlalchemy import Connection, select

from partwise.catalog import SqlCatalog
from partwise.catalog.tables import tokens
from partwise.core.errors import Conflict, NotFound
from partwise.core.records import Scope
from partwise.engine.ports import Token, Tokens
from tests.contract.catalog.support import NOW, SHA_A, SHA_B, later


async def test_a_token_is_found_by_the_digest_of_its_secret_until_revoked(catalog: Tokens) -> None:
    token = Token(name="laptop", owner="ann", created=NOW, admin=True)
    await catalog.create_token(token, SHA_A)
    assert await catalog.find_token(SHA_A) == token
    assert await catalog.find_token(SHA_B) is None
    await catalog.use_token("laptop", later(1))
    await catalog.use_token("unknown", later(1))
    await catalog.revoke_token("laptop", later(2))
    await catalog.revoke_token("laptop", later(3))
    assert await catalog.find_token(SHA_A) is None
    (kept,) = await catalog.list_tokens()
    assert (kept.last_used, kept.revoked) == (later(1), later(2))


async def test_a_name_is_free_again_when_its_token_was_revoked(catalog: Tokens) -> None:
    await catalog.create_token(Token(name="b", owner="ann", created=NOW), SHA_A)
    with pytest.raises(Conflict):
        await catalog.create_token(Token(name="b", owner="bob", created=NOW), SHA_B)
    await catalog.revoke_token("b", NOW)
    await catalog.create_token(Token(name="b", owner="bob", created=NOW), SHA_B)
    assert await catalog.find_token(SHA_A) is None, "the old secret stays worthless"
    found = await catalog.find_token(SHA_B)
    assert found is not None
    assert found.owner == "bob"
    assert [token.name for token in await catalog.list_tokens()] == ["b"]
    with pytest.raises(NotFound):
        await catalog.revoke_token("c", NOW)


async def test_an_older_server_does_not_find_a_token_that_allows_less(catalog: SqlCatalog) -> None:
    def older(connection: Connection) -> list[str]:
        found = connection.execute(select(tokens.c.name).where(tokens.c.sha256.in_((SHA_A, SHA_B))))
        return list(found.scalars())

    await catalog.create_token(Token(name="all", owner="ann", created=NOW), SHA_A)
    await catalog.create_token(Token(name="read", owner="ann", created=NOW, scope=Scope.READ), SHA_B)
    await catalog.create_token(Token(name="short", owner="ann", created=NOW, expires=later(9)), "c" * 64)
    assert await catalog.runner.read(older) == ["all"]
    assert (await catalog.find_token(SHA_B)) == Token(name="read", owner="ann", created=NOW, scope=Scope.READ)
    found = await catalog.find_token("c" * 64)
    assert found is not None
    assert found.expires == later(9)
    assert (await catalog.delete_token("read")).name == "read"
    assert await catalog.find_token(SHA_B) is None
    with pytest.raises(NotFound):
        await catalog.delete_token("read")
