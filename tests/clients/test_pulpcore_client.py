"""pulpcore-client, the Python bindings of the Pulp project, unmodified, with a token as Basic password."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import make_data_folder
from tests.support.server import ServerProcess
from tests.support.tokens import make_token

pytestmark = pytest.mark.clients

#: Runs in the client's own environment: BODY may use what stands here, and says its findings with ``say``.
PRELUDE = """
import hashlib, json, os, sys, tempfile, time
from pulpcore.client.pulpcore import ApiClient, ApiException, ArtifactsApi, Configuration, TasksApi, UploadsApi
configuration = Configuration(sys.argv[1], username="me", password=sys.argv[2])
configuration.safe_chars_for_path_param = "/"
client = ApiClient(configuration)
uploads, artifacts, tasks = UploadsApi(client), ArtifactsApi(client), TasksApi(client)
data = os.urandom(30_000)
digest = lambda content: hashlib.sha256(content).hexdigest()

def put(href, start, piece, sha256=None):
    with tempfile.NamedTemporaryFile() as file:
        file.write(piece)
        file.flush()
        return uploads.update(f"bytes {start}-{start + len(piece) - 1}/{len(data)}", href, file.name, sha256=sha256)

def ended(href):
    while (task := tasks.read(href)).state in ("waiting", "running"):
        time.sleep(0.05)
    return task

def refused(call, *arguments):
    try:
        call(*arguments)
    except ApiException as error:
        return error.status

def say(**found):
    print(json.dumps(found, default=str))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = make_data_folder(tmp_path_factory.mktemp("users") / "data")
    with ServerProcess(data, auth="token") as process:
        yield process


@pytest.fixture
def found(server: ServerProcess, python_clients: Path, request: pytest.FixtureRequest) -> Any:
    """Runs a body as a user of the test's own, and gives what it said."""
    token = make_token(server, request.node.name)

    def run(body: str) -> dict[str, Any]:
        command = [str(python_clients / "python"), "-c", PRELUDE + body, server.url, token]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    return run


def test_chunks_in_any_order_become_an_artifact(found: Any) -> None:
    said = found("""
href = uploads.create({"size": len(data)}).pulp_href
for start in (20_000, 0, 10_000):
    put(href, start, data[start : start + 10_000], digest(data[start : start + 10_000]))
chunks = [(chunk.offset, chunk.size) for chunk in uploads.read(href).chunks]
task = ended(uploads.commit(href, {"sha256": digest(data)}).task)
(made,) = task.created_resources
artifact = artifacts.read(made)
listed = artifacts.list(sha256=digest(data))
say(chunks=chunks, state=task.state, right=artifact.sha256 == digest(data), size=artifact.size,
    listed=[each.pulp_href == made for each in listed.results], count=listed.count,
    user=uploads.list(limit=10).count, tasks=tasks.list(state="completed").count)
""")
    assert said == {
        "chunks": [[0, 10_000], [10_000, 10_000], [20_000, 10_000]],
        "state": "completed",
        "right": True,
        "size": 30_000,
        "listed": [True],
        "count": 1,
        "user": 1,
        "tasks": 1,
    }


def test_a_wrong_digest_of_a_chunk_or_of_the_file_is_refused(found: Any) -> None:
    said = found("""
href = uploads.create({"size": len(data)}).pulp_href
wrong_chunk = refused(put, href, 0, data[:10_000], digest(b"another"))
after = len(uploads.read(href).chunks)
hole = refused(uploads.commit, href, {"sha256": digest(data)})
put(href, 0, data)
task = ended(uploads.commit(href, {"sha256": digest(b"another")}).task)
again = ended(uploads.commit(href, {"sha256": digest(data)}).task)
say(wrong_chunk=wrong_chunk, after=after, hole=hole, state=task.state, why=task.error["description"], again=again.state)
""")
    assert "digests=true" in said.pop("why")
    assert said == {"wrong_chunk": 400, "after": 0, "hole": 409, "state": "failed", "again": "completed"}


def test_what_is_deleted_is_gone(found: Any) -> None:
    said = found("""
href = uploads.create({"size": len(data)}).pulp_href
uploads.delete(href)
with tempfile.NamedTemporaryFile() as file:
    file.write(data)
    file.flush()
    made = artifacts.create(file.name, sha256=digest(data)).pulp_href
    same = artifacts.create(file.name, sha256=digest(data)).pulp_href
artifacts.delete(made)
say(upload=refused(uploads.read, href), same=made == same, artifact=refused(artifacts.read, made))
""")
    assert said == {"upload": 404, "same": True, "artifact": 404}


def test_without_a_token_nothing_is_told(found: Any) -> None:
    said = found("""
configuration.password = "wrong"
say(read=refused(uploads.list), create=refused(uploads.create, {"size": 1}))
""")
    assert said == {"read": 401, "create": 401}


@pytest.mark.parametrize("auth", ["none", "token"])
def test_status(python_clients: Path, tmp_path: Path, auth: str) -> None:
    """The client sends no password there, and insists on all members that it knows."""
    code = """
import sys
from pulpcore.client.pulpcore import ApiClient, Configuration, StatusApi
print(StatusApi(ApiClient(Configuration(sys.argv[1]))).status_read().database_connection.connected)
"""
    with ServerProcess(make_data_folder(tmp_path / "data"), auth=auth) as process:
        command = [str(python_clients / "python"), "-c", code, process.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
