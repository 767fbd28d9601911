"""Every storage under one suite. The teardown fails when a test leaves anything behind: it is part of the contract."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from partwise.engine.ports import Storage
from partwise.storage.local import LocalStorage
from partwise.testing.memory import MemoryFile, MemoryStorage
from tests.support.folders import make_data_folder

#: Seconds that a newcomer waits for a range: short, for tests let it run out.
PATIENCE = 0.5


@dataclass(frozen=True)
class Harness:
    """A storage, and how a test reaches past it."""

    storage: Storage
    #: Puts bytes where an artifact's are, as nothing of the product does.
    plant: Callable[[str, bytes], None]


def _local(data: Path) -> Harness:
    storage = LocalStorage(make_data_folder(data), patience=PATIENCE)

    def plant(sha256: str, content: bytes) -> None:
        path = Path(storage.artifact_path(sha256))
        path.unlink(missing_ok=True)
        path.write_bytes(content)

    return Harness(storage, plant)


def _memory(data: Path) -> Harness:
    storage = MemoryStorage(capacity=1 << 40, patience=PATIENCE)

    def plant(sha256: str, content: bytes) -> None:
        storage.artifacts[sha256] = MemoryFile(bytearray(content))

    return Harness(storage, plant)


@pytest.fixture(params=[_memory, _local], ids=["memory", "local"])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    made: Harness = request.param(tmp_path / "data")
    await made.storage.start()
    yield made
    await made.storage.stop()
    assert list(made.storage.list_staged()) == [], "a staging file was left behind"
    assert list(made.storage.list_artifacts()) == [], "an artifact was left behind"
    assert list((tmp_path / "data").glob("staging/*")) == []
    assert list((tmp_path / "data").glob("artifacts/*/*")) == []


@pytest.fixture
def storage(harness: Harness) -> Storage:
    return harness.storage


@pytest.fixture(autouse=True)
def _no_leaks(tmp_path: Path) -> Iterator[None]:
    """No descriptor of the data folder, so no lock either, and no thread outlives a test and its loop's executor."""
    before = set(threading.enumerate())
    yield
    kept = [path for path in open_paths() if path.startswith(str(tmp_path))]
    assert kept == [], "descriptors were left open"
    threads = [thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio_")]
    assert threads == [], "threads were left running"


def open_paths() -> list[str]:
    """What the descriptors of this process lead to."""
    paths = []
    for number in os.listdir("/proc/self/fd"):
        try:
            paths.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue  # the one that listed the folder
    return paths
