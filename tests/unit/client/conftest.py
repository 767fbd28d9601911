from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from partwise.client import Client
from tests.unit.client.fake_server import FakeServer, running


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Journals of tests stay with the tests, and no profile or proxy of this machine counts."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in (
        "PARTWISE_SERVER",
        "PARTWISE_TOKEN",
        "PARTWISE_PROFILE",
        "http_proxy",
        "HTTP_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "state" / "partwise" / "uploads"


@pytest.fixture
def client(fake: FakeServer) -> Iterator[Client]:
    with Client(fake.url, patience_seconds=5) as made:
        yield made
