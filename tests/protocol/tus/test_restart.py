"""After a kill -9 of the server: what a client may rely on when it asks for the offset."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from partwise.engine.receiver import SEGMENT
from tests.protocol.tus.test_core import open_patch
from tests.support.engines import new_data_folder
from tests.support.server import API, Http, ServerProcess
from tests.support.tus import ROOT, Tus, repr_digest


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[ServerProcess]:
    # One process: those of several whose parent is killed end in an orderly way.
    with ServerProcess(new_data_folder(tmp_path / "data")) as server:
        yield server


def test_every_confirmed_byte_is_still_there(mortal: ServerProcess) -> None:
    """And the upload is visible over REST as it was, and becomes the file."""
    data = os.urandom(900_000)
    with Http(mortal.port) as http:
        tus = Tus(http)
        path = tus.create(len(data))
        assert tus.patch(path, 0, data[:300_000]).status == 204
        assert tus.patch(path, 300_000, data[300_000:500_000]).status == 204
    mortal.kill()
    mortal.start()
    with Http(mortal.port) as http:
        tus = Tus(http)
        assert tus.offset(path) == 500_000
        assert http("GET", f"{API}uploads/{path.removeprefix(ROOT)}/").json["received"] == 500_000
        assert tus.patch(path, 500_000, data[500_000:]).status == 204
        assert tus.head(path).headers["Repr-Digest"] == repr_digest(data)
        assert tus.artifact(data) == data


def test_of_one_large_request_most_is_kept(mortal: ServerProcess) -> None:
    """Clients of tus send all that is left in one request: a kill must not cost all of it."""
    data = os.urandom(2 * SEGMENT)
    with Http(mortal.port) as http:
        path = Tus(http).create(len(data))
        href = f"{API}uploads/{path.removeprefix(ROOT)}/"
        with open_patch(mortal, path, 0, len(data), data[: SEGMENT + SEGMENT // 2]):
            deadline = time.monotonic() + 60
            while not (kept := http("GET", href).json["received"]):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            mortal.kill()
    assert SEGMENT <= kept < SEGMENT + SEGMENT // 2
    mortal.start()
    with Http(mortal.port) as http:
        tus = Tus(http)
        assert tus.offset(path) == kept
        assert tus.patch(path, kept, data[kept:]).status == 204
        assert tus.head(path).headers["Repr-Digest"] == repr_digest(data)
