"""An older or newer schema of the metadata database: who may change it, and what is said of it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from partwise.catalog.versions import MIGRATIONS, newest_version
from tests.support.server import Http, ServerProcess
from tests.support.until import wait_until


def partwise(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command."""
    return subprocess.run(
        [sys.executable, "-m", "partwise.cli", *arguments],
        env=os.environ | {"COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def version(data: Path) -> str:
    with closing(sqlite3.connect(data / "catalog.sqlite3")) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data folder whose records are those of the second version of the schema."""
    from sqlalchemy import create_engine

    data = tmp_path / "data"
    data.mkdir()
    engine = create_engine(f"sqlite:///{data / 'catalog.sqlite3'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode")
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.upgrade(config, "0002")
    engine.dispose()
    return data


def test_only_who_may_migrates(old: Path) -> None:
    refused = partwise("serve", "--data", str(old), "--port", "0", "--no-migrate")
    assert refused.returncode == 1
    assert "partwise upgrade" in refused.stderr
    assert "0003" in refused.stderr
    listed = partwise("token", "list", "--data", str(old))
    assert listed.returncode == 1
    assert "older version" in listed.stderr
    planned = partwise("upgrade", "--data", str(old), "--dry-run")
    assert planned.returncode == 0
    assert "0003" in planned.stderr + planned.stdout
    assert version(old) == "0002"
    done = partwise("upgrade", "--data", str(old))
    assert done.returncode == 0, done.stderr
    assert version(old) == newest_version()
    assert "up to date" in (again := partwise("upgrade", "--data", str(old))).stderr + again.stdout
    with ServerProcess(old, migrate="false") as server, Http(server.port) as http:
        http.store(b"x")
    assert partwise("token", "list", "--data", str(old)).returncode == 0


class Watchful(ServerProcess):
    program = (
        "-c",
        "from partwise.server import schema_watch; schema_watch.PAUSE_SECONDS = 0.05\n"
        "from partwise.server.run import serve; from partwise.server.settings import Settings; serve(Settings())",
    )


def test_a_server_notices_a_newer_schema_and_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Watchful(tmp_path / "data", log=log, log_format="json") as server, Http(server.port) as http:
        http.store(b"x")
        with closing(sqlite3.connect(tmp_path / "data" / "catalog.sqlite3")) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        wait_until(lambda: "has schema 9999, made by a newer partwise" in log.read_text(), "it says so")
        http.store(b"y")
    refused = partwise("serve", "--data", str(tmp_path / "data"), "--port", "0")
    assert refused.returncode == 1
    assert "newer partwise" in refused.stderr
