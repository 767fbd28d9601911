"""A real server process, and a plain way to speak to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from partwise.client import Client
from tests.conftest import Engines
from tests.support.proxy import Proxy
from tests.support.server import Http, ServerProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, engines: Engines) -> Iterator[ServerProcess]:
    """One server for all tests of the session: each makes uploads of its own."""
    with ServerProcess(tmp_path_factory.mktemp("data")) as process:
        yield process


@pytest.fixture
def http(server: ServerProcess) -> Iterator[Http]:
    """A connection to the server."""
    with Http(server.port) as connection:
        yield connection


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    """The Python client of the server, which is the module's own where it has one."""
    with Client(server.url, patience_seconds=10) as made:
        yield made


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[Proxy]:
    """A proxy before the server, which the test may have cut and hold connections."""
    with Proxy(server.port) as made:
        yield made
