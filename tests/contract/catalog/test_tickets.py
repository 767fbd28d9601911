from __future__ import annotations

import pytest

from partwise.core.errors import NotFound
from partwise.engine.ports import Catalog, Ticket
from tests.contract.catalog.support import NOW, SHA_A, SHA_B, UNLIMITED, committed, make_upload


async def test_a_ticket_is_found_while_its_upload_is_there(catalog: Catalog) -> None:
    await catalog.create_upload(make_upload(), UNLIMITED)
    await catalog.create_ticket("u1", SHA_A, NOW)
    assert await catalog.find_ticket(SHA_A) == Ticket(upload_id="u1", owner="ann")
    assert await catalog.find_ticket(SHA_B) is None
    await catalog.begin_delete("u1")
    assert await catalog.find_ticket(SHA_A) is None
    with pytest.raises(NotFound):
        await catalog.create_ticket("u1", SHA_B, NOW)
    await catalog.finish_delete("u1")
    assert await catalog.find_ticket(SHA_A) is None


async def test_no_ticket_without_an_upload(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        await catalog.create_ticket("gone", SHA_A, NOW)


async def test_revoking_takes_all_of_one_upload(catalog: Catalog) -> None:
    await committed(catalog, "u1")
    await catalog.create_upload(make_upload("u2"), UNLIMITED)
    await catalog.create_ticket("u1", SHA_A, NOW)
    await catalog.create_ticket("u1", SHA_B, NOW)
    await catalog.create_ticket("u2", "c" * 64, NOW)
    assert await catalog.revoke_tickets("u1") == 2
    assert await catalog.revoke_tickets("u1") == 0
    assert await catalog.find_ticket(SHA_A) is None
    assert await catalog.find_ticket("c" * 64) == Ticket(upload_id="u2", owner="ann")
