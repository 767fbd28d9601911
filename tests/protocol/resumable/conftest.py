"""A server that speaks the draft, and a client of it over a raw socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Engines
from tests.protocol.resumable.client import Client
from tests.support.server import Http, ServerProcess


@pytest.fixture(scope="session")
def resumable_server(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Iterator[ServerProcess]:
    """One server for all tests: each makes uploads of its own."""
    with ServerProcess(tmp_path_factory.mktemp("resumable"), dialects="pulp,resumable") as server:
        yield server


@pytest.fixture
def client(resumable_server: ServerProcess) -> Iterator[Client]:
    """A client of interop version 8."""
    with Client(resumable_server.port) as client:
        yield client


@pytest.fixture
def http(resumable_server: ServerProcess) -> Iterator[Http]:
    """A plain connection to the same server."""
    with Http(resumable_server.port) as connection:
        yield connection
