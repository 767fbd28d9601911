from __future__ import annotations

import pytest

from partwise.core.errors import Conflict, NotFound
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
