"""A real server process, and a plain way to speak to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Engines
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
