"""tus-js-client in Node.js, unmodified, in the drafts of the IETF that it speaks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import NPM, Program, write_file
from tests.support.folders import make_data_folder
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token
from tests.support.tus import repr_digest

pytestmark = pytest.mark.clients

SIZE = 3_000_001
CHUNK = 200_000

Upload = Callable[..., Program]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that do not kill it."""
    with ServerProcess(tmp_path_factory.mktemp("data"), dialects="pulp,resumable") as process:
        yield process


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[ServerProcess]:
    """One that may be killed."""
    with ServerProcess(make_data_folder(tmp_path / "mortal"), dialects="pulp,resumable") as process:
        yield process


@pytest.fixture(params=["ietf-draft-03", "ietf-draft-05"])
def upload(node: Path, shared: ServerProcess, request: pytest.FixtureRequest) -> Upload:
    """Starts an upload of a file to ``endpoint``, by default the server; options as the client has them."""

    def start(file: Path, endpoint: str = "", **options: Any) -> Program:
        endpoint = endpoint or f"{shared.url}/resumable/"
        options |= {"file": str(file), "endpoint": endpoint, "protocol": request.param}
        return Program(node, NPM / "tus_upload.mjs", json.dumps(options))

    return start


def check(port: int, url: str, data: bytes, **token: str) -> dict[str, Any]:
    """The upload has become an artifact with these bytes; the artifact."""
    with Http(port) as http:
        head = http("HEAD", f"/resumable/{url.rpartition('/')[2]}", **token)
        assert (head.headers["Upload-Offset"], head.headers["Upload-Complete"]) == (str(len(data)), "?1")
        assert head.headers["Repr-Digest"] == repr_digest(data)
        (artifact,) = http("GET", f"{API}artifacts/?sha256={sha256(data)}", **token).json["results"]
        assert http("GET", artifact["file"], **token).body == data
        return dict(artifact)


@pytest.mark.parametrize("size", [0, 1, SIZE])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunkSize": CHUNK},
        {"uploadDataDuringCreation": True},
        {"uploadDataDuringCreation": True, "chunkSize": CHUNK},
        {"stream": True, "chunkSize": CHUNK},
        {"stream": True, "chunkSize": SIZE + CHUNK, "uploadLengthDeferred": True},
    ],
    ids=["whole", "chunks", "with creation", "begins with creation", "stream", "length deferred"],
)
def test_a_file(upload: Upload, shared: ServerProcess, tmp_path: Path, options: dict[str, Any], size: int) -> None:
    file, data = write_file(tmp_path, size)
    headers = {"Content-Disposition": 'inline; filename="disk.img"'}
    with upload(file, headers=headers, **options) as program:
        url = program.until("done")["url"]
    assert check(shared.port, url, data)["filename"] == "disk.img"


def test_the_network_breaks(upload: Upload, shared: ServerProcess, tmp_path: Path) -> None:
    """In the midst of a request: the client asks for the offset and sends what is missing, by itself."""
    file, data = write_file(tmp_path, SIZE)
    with Proxy(shared.port) as proxy:
        proxy.hold_after(SIZE // 2)
        with upload(file, f"{proxy.url}/resumable/", retryDelays=[100] * 50) as program:
            proxy.wait_until_held()
            proxy.cut()
            proxy.release()
            url = program.until("done")["url"]
        assert proxy.passed < 2 * SIZE
    check(shared.port, url, data)


def test_the_server_is_killed(upload: Upload, mortal: ServerProcess, tmp_path: Path) -> None:
    """With kill -9, in the midst of a request; what it had confirmed is not sent again."""
    file, data = write_file(tmp_path, SIZE)
    with Proxy(mortal.port) as proxy:
        proxy.hold_after(SIZE // 2)
        with upload(file, f"{proxy.url}/resumable/", chunkSize=CHUNK, retryDelays=[100] * 200) as program:
            proxy.wait_until_held()
            mortal.kill()
            proxy.release()
            mortal.start()
            url = program.until("done")["url"]
    check(mortal.port, url, data)
    assert sum(sent["size"] for sent in program.all("sent")) <= SIZE + CHUNK


def test_client_and_server_are_killed(upload: Upload, mortal: ServerProcess, tmp_path: Path) -> None:
    """Another process of the client goes on at the address that the first one had noted."""
    file, data = write_file(tmp_path, SIZE)
    options = {"endpoint": f"{mortal.url}/resumable/", "chunkSize": CHUNK, "store": str(tmp_path / "urls")}
    with upload(file, pauseAt=SIZE // 2, **options) as first:
        accepted = first.until("paused")["accepted"]
    mortal.kill()
    mortal.start()
    with upload(file, resume=True, **options) as second:
        second.until("found")
        url = second.until("done")["url"]
    assert sum(sent["size"] for sent in second.all("sent")) <= SIZE - accepted
    check(mortal.port, url, data)


def test_with_a_token(upload: Upload, tmp_path: Path) -> None:
    file, data = write_file(tmp_path, SIZE)
    with ServerProcess(tmp_path / "data", dialects="pulp,resumable", auth="token") as server:
        header = {"Authorization": f"Bearer {make_token(server, 'ann')}"}
        with upload(file, f"{server.url}/resumable/", headers=header) as program:
            url = program.until("done")["url"]
        check(server.port, url, data, **header)
        with upload(file, f"{server.url}/resumable/", retryDelays=[]) as program:
            assert "401" in program.until("failed")["message"]
