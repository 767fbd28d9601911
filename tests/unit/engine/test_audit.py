"""The audit lines of what no request ends: tickets, and events that an endpoint did not accept."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from partwise.catalog import open_catalog
from partwise.core.records import Principal
from partwise.engine.audit import AUDIT
from partwise.engine.deliveries import LONGEST, WAITS, Courier, Endpoint, Receipt
from partwise.engine.engine import Engine
from partwise.engine.ports import Delivery
from partwise.engine.tickets import make_ticket, revoke_tickets
from partwise.engine.uploads import create_upload, delete_upload
from partwise.testing.memory import MemoryStorage
from tests.support.records import new_records
from tests.unit.engine.conftest import Clock

ALICE = Principal("alice")


@pytest.fixture
async def engine(tmp_path: Path, clock: Clock) -> AsyncIterator[Engine]:
    url = new_records(tmp_path / "catalog.db")
    engine = Engine(MemoryStorage(), open_catalog(url), clock=clock)
    await engine.open()
    yield engine
    await engine.stop()


@pytest.fixture
def trail(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, AUDIT)
    return caplog


def told(trail: pytest.LogCaptureFixture, kind: str) -> list[dict[str, object]]:
    """The fields of the lines about ``kind``."""
    lines = [vars(record) for record in trail.records if record.name == AUDIT]
    return [line for line in lines if str(line["action"]).startswith(f"{kind}.")]


async def test_tickets_have_lines(engine: Engine, trail: pytest.LogCaptureFixture) -> None:
    upload = await create_upload(engine, ALICE, size=10, filename="a.iso")
    secret = await make_ticket(engine, ALICE, upload.id)
    await make_ticket(engine, ALICE, upload.id)
    await revoke_tickets(engine, ALICE, upload.id)
    lines = told(trail, "ticket")
    assert [line["action"] for line in lines] == ["ticket.created", "ticket.created", "ticket.revoked"]
    assert all((line["upload"], line["owner"], line["file"]) == (upload.id, "alice", "a.iso") for line in lines)
    assert lines[-1]["count"] == 2
    assert secret not in str(lines)


@pytest.mark.parametrize(
    "receipt, action",
    [
        (Receipt(accepted=False, status=410, gone=True), "webhook.paused"),
        (Receipt(accepted=False, status=500), "webhook.failed"),
    ],
)
async def test_an_event_that_is_given_up_has_one_line(
    engine: Engine, clock: Clock, trail: pytest.LogCaptureFixture, receipt: Receipt, action: str
) -> None:
    async def refuse(_delivery: Delivery) -> Receipt:
        return receipt

    endpoint = Endpoint(name="app", send=refuse)
    courier = Courier(endpoint, engine.catalog, clock, lambda _endpoint, _outcome: None, engine.failpoint)
    await courier.step()
    upload = await create_upload(engine, ALICE, size=0)
    await delete_upload(engine, ALICE, upload.id)
    for _ in range(len(WAITS) + 2):
        await courier.step()
        clock.move(seconds=LONGEST.total_seconds() * 1.2)
    (line,) = told(trail, "webhook")
    assert (line["action"], line["endpoint"], line["kind"]) == (action, "app", "upload.removed")
