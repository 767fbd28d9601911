"""One real server for all attacks: whatever they do, it must go on serving."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.engines import new_data_folder
from tests.support.folders import fast_folder
from tests.support.server import Http, ServerProcess


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder()))
        # A largest size, or a size that no disk has would be answered by 507, as it should be.
        yield stack.enter_context(ServerProcess(new_data_folder(Path(folder) / "data"), max_upload_size="1GiB"))


@pytest.fixture
def http(server: ServerProcess) -> Iterator[Http]:
    """A connection, and the look afterwards whether the server is well."""
    with Http(server.port) as connection:
        yield connection
    with Http(server.port) as connection:
        assert connection("GET", "/readyz").status == 200
        assert connection.store(b"still serving")["state"] == "completed"
