"""PgBouncer before PostgreSQL: sessions work; where transactions share connections, the server says so and ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.pgbouncer import PGBOUNCER, pgbouncer
from tests.engines.postgres import Postgres
from tests.support.server import Http, ServerProcess

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed (Debian: apt-get install pgbouncer)"),
]


def through(url: str, postgres: Postgres, port: int) -> str:
    return url.replace(f":{postgres.port}/", f":{port}/")


def test_sessions_work(tmp_path: Path, postgres_server: Postgres, s3_url: str) -> None:
    url = postgres_server.url(postgres_server.create())
    with pgbouncer(postgres_server.port, "session") as port:
        server = ServerProcess(
            tmp_path / "data", catalog=through(url, postgres_server, port), storage=s3_url, workers=2
        )
        with server, Http(server.port) as http:
            data = os.urandom(100_000)
            stored = http.store(data)
            assert http("GET", f"{stored['artifact']}download/").body == data
            assert http("GET", "/readyz").status == 200
            where = "datname = '{}' AND application_name = 'partwise'".format(url.rpartition("/")[2])
            count = f"SELECT count(*) FROM pg_stat_activity WHERE {where}"
            assert postgres_server.execute(count) > 0
        assert server.port


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_shared_sessions_are_refused_with_a_sentence(
    tmp_path: Path, postgres_server: Postgres, postgres_url: str, mode: str
) -> None:
    with pgbouncer(postgres_server.port, mode) as port:
        environment = os.environ | {
            "PARTWISE_CATALOG": through(postgres_url, postgres_server, port),
            "PARTWISE_PORT": "0",
            "PARTWISE_DATA": str(tmp_path / "data"),
            "COLUMNS": "400",
        }
        done = subprocess.run(
            [sys.executable, "-m", "partwise.cli", "serve"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "pool_mode = session" in done.stderr
    assert "Traceback" not in done.stderr
