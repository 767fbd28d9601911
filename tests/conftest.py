"""What tests of several layers share: real engines, started once, and only when a test asks for one."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from partwise.catalog import migrate
from tests.engines.postgres import Postgres, postgres
from tests.engines.seaweed import CREDENTIALS, Seaweed, seaweed


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    # Not in pytest's folder: that is its user's alone, and the path of a socket must be short.
    with postgres(Path(tempfile.mkdtemp(prefix="pg-"))) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Postgres) -> str:
    """The name of a database with the newest schema, to copy."""
    name = postgres_server.create()
    migrate(postgres_server.url(name))
    return name


@pytest.fixture
def postgres_url(postgres_server: Postgres, postgres_template: str) -> Iterator[str]:
    """The URL of an empty catalog."""
    name = postgres_server.create(postgres_template)
    yield postgres_server.url(name)
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def seaweed_server() -> Iterator[Seaweed]:
    with seaweed(Path(tempfile.mkdtemp(prefix="weed-"))) as server:
        yield server


@pytest.fixture
def s3_url(seaweed_server: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty storage, with what it takes to use it in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return seaweed_server.url(f"tests/{uuid.uuid4().hex}")
