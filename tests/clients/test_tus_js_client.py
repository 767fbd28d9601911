"""tus-js-client in Node.js, unmodified: whole, parallel, interrupted, and resumed after the server was killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import NPM, Program, write_file
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token
from tests.support.tus import Tus, repr_digest

pytestmark = pytest.mark.clients

SIZE = 3_000_001
CHUNK = 200_000

Upload = Callable[..., Program]

in_parallel = pytest.mark.parametrize("parallel", [1, 4])


@pytest.fixture
def upload(node: Path, server: ServerProcess) -> Upload:
    """Starts an upload of a file to ``endpoint``, by default the server; options as the client has them."""

    def start(file: Path, endpoint: str = "", **options: Any) -> Program:
        options |= {"file": str(file), "endpoint": endpoint or f"{server.url}/tus/"}
        return Program(node, NPM / "tus_upload.mjs", json.dumps(options))

    return start


def path_of(url: str) -> str:
    """The path of an upload."""
    return f"/tus/{url.rpartition('/')[2]}"


def check(port: int, url: str, data: bytes, **token: str) -> dict[str, Any]:
    """The upload has become an artifact with these bytes; the artifact."""
    with Http(port) as http:
        tus = Tus(http)
        head = tus("HEAD", path_of(url), **token)
        assert head.headers["Upload-Offset"] == head.headers["Upload-Length"] == str(len(data))
        assert head.headers["Repr-Digest"] == repr_digest(data)
        (artifact,) = http("GET", f"{API}artifacts/?sha256={sha256(data)}", **token).json["results"]
        assert http("GET", artifact["file"], **token).body == data
        return dict(artifact)


@in_parallel
@pytest.mark.parametrize("chunk_size", [None, CHUNK])
def test_a_file(upload: Upload, server: ServerProcess, tmp_path: Path, parallel: int, chunk_size: int | None) -> None:
    file, data = write_file(tmp_path, SIZE)
    metadata = {"filename": "großer name.bin", "filetype": "application/x-tar"}
    options = {} if chunk_size is None else {"chunkSize": chunk_size}
    with upload(file, parallelUploads=parallel, metadata=metadata, **options) as program:
        url = program.until("done")["url"]
    artifact = check(server.port, url, data)
    assert (artifact["filename"], artifact["media_type"]) == ("großer name.bin", "application/x-tar")
    requests = len(program.all("sent"))
    assert requests == (parallel if chunk_size is None else -(-SIZE // parallel // CHUNK) * parallel)


@pytest.mark.parametrize("size", [0, 1, SIZE])
@pytest.mark.parametrize(
    "options",
    [
        {"uploadDataDuringCreation": True},
        {"uploadDataDuringCreation": True, "chunkSize": CHUNK},
        {"overridePatchMethod": True, "chunkSize": CHUNK},
        {"stream": True, "chunkSize": CHUNK},
        {"stream": True, "chunkSize": SIZE + CHUNK, "uploadLengthDeferred": True},
    ],
    ids=["with creation", "begins with creation", "method override", "stream", "length deferred"],
)
def test_other_ways(upload: Upload, server: ServerProcess, tmp_path: Path, options: dict[str, Any], size: int) -> None:
    file, data = write_file(tmp_path, size)
    with upload(file, **options) as program:
        url = program.until("done")["url"]
    check(server.port, url, data)
    methods = {sent["method"] for sent in program.all("sent")}
    assert methods <= {"POST" if "overridePatchMethod" in options else "PATCH"}


@in_parallel
def test_the_network_breaks(upload: Upload, server: ServerProcess, tmp_path: Path, parallel: int) -> None:
    """In the midst of a request: the client asks for the offset and sends what is missing, by itself."""
    file, data = write_file(tmp_path, SIZE)
    with Proxy(server.port) as proxy:
        proxy.hold_after(SIZE // 2)
        with upload(file, f"{proxy.url}/tus/", parallelUploads=parallel, retryDelays=[100] * 50) as program:
            proxy.wait_until_held()
            proxy.cut()
            proxy.release()
            url = program.until("done")["url"]
        assert proxy.passed < 2 * SIZE
    check(server.port, url, data)


def test_the_network_hangs(upload: Upload, server: ServerProcess, tmp_path: Path) -> None:
    """The server still waits for the old connections when the client comes back on new ones: those win."""
    file, data = write_file(tmp_path, SIZE)
    store = str(tmp_path / "urls")
    options = {"store": store}
    with Proxy(server.port) as proxy:
        proxy.hold_after(SIZE // 2)
        with upload(file, f"{proxy.url}/tus/", **options) as first:
            proxy.wait_until_held()
            Path(store).write_text(Path(store).read_text().replace(proxy.url, server.url))
            with upload(file, resume=True, **options) as second:
                url = second.until("done")["url"]
            assert any(sent["offset"] for sent in second.all("sent")), "what had come is not sent again"
            assert first.all("done") == []
    check(server.port, url, data)


@in_parallel
def test_the_server_is_killed(upload: Upload, mortal: ServerProcess, tmp_path: Path, parallel: int) -> None:
    """With kill -9, in the midst of requests; what it had confirmed is not sent again."""
    file, data = write_file(tmp_path, SIZE)
    with Proxy(mortal.port) as proxy:
        proxy.hold_after(SIZE // 2)
        endpoint = f"{proxy.url}/tus/"
        options = {"parallelUploads": parallel, "chunkSize": CHUNK, "retryDelays": [100] * 200}
        with upload(file, endpoint, **options) as program:
            proxy.wait_until_held()
            mortal.kill()
            proxy.release()
            mortal.start()
            url = program.until("done")["url"]
    check(mortal.port, url, data)
    assert sum(sent["size"] for sent in program.all("sent")) <= SIZE + parallel * CHUNK


@in_parallel
def test_client_and_server_are_killed(upload: Upload, mortal: ServerProcess, tmp_path: Path, parallel: int) -> None:
    """Another process of the client goes on at the addresses that the first one had noted."""
    file, data = write_file(tmp_path, SIZE)
    endpoint = f"{mortal.url}/tus/"
    options = {"parallelUploads": parallel, "chunkSize": CHUNK, "store": str(tmp_path / "urls")}
    with upload(file, endpoint, pauseAt=SIZE // 2, **options) as first:
        accepted = first.until("paused")["accepted"]
    mortal.kill()
    mortal.start()
    with upload(file, endpoint, resume=True, **options) as second:
        assert len(second.until("found").get("parts") or [1]) == parallel
        url = second.until("done")["url"]
    # Requests of the first that were under way when it was killed may have been recorded without its knowledge.
    assert sum(sent["size"] for sent in second.all("sent")) <= SIZE - accepted
    check(mortal.port, url, data)


@in_parallel
def test_an_upload_is_given_up(upload: Upload, server: ServerProcess, tmp_path: Path, parallel: int) -> None:
    """It is terminated, the parts too: nothing of it stays."""
    file, _ = write_file(tmp_path, SIZE)
    with Http(server.port) as http:
        before = {item["pulp_href"] for item in http("GET", f"{API}uploads/?state=open").json["results"]}
    with upload(file, parallelUploads=parallel, chunkSize=CHUNK, abort=SIZE // 2) as program:
        program.until("aborted")
        with Http(server.port) as http:
            deadline = time.monotonic() + 20
            while (
                not {
                    item["pulp_href"]
                    for item in http("GET", f"{API}uploads/?state=open").json["results"]
                    if item["received"]  # a creation that was under way is unknown to the client
                }
                <= before
            ):
                assert time.monotonic() < deadline
                time.sleep(0.05)


@in_parallel
def test_with_a_token(upload: Upload, tmp_path: Path, parallel: int) -> None:
    file, data = write_file(tmp_path, SIZE)
    with ServerProcess(tmp_path / "data", auth="token") as server:
        token = make_token(server, "ann")
        header = {"Authorization": f"Bearer {token}"}
        with upload(file, f"{server.url}/tus/", parallelUploads=parallel, headers=header) as program:
            url = program.until("done")["url"]
        check(server.port, url, data, **header)
        with upload(file, f"{server.url}/tus/", retryDelays=[]) as program:
            assert "401" in program.until("failed")["message"]


def test_uppy(node: Path, server: ServerProcess, tmp_path: Path) -> None:
    """Uppy's core with its tus plugin: several files, each in parallel parts."""
    files = dict(write_file(tmp_path, size, f"{size}.bin") for size in (5, 70_000, SIZE))
    options = {"endpoint": f"{server.url}/tus/", "parallelUploads": 3, "chunkSize": CHUNK}
    wish = {"files": [str(file) for file in files], "options": options}
    with Program(node, NPM / "uppy_upload.mjs", json.dumps(wish)) as program:
        done = program.until("done")
    assert done["failed"] == []
    for uploaded in done["successful"]:
        data = files[tmp_path / uploaded["name"]]
        artifact = check(server.port, uploaded["url"], data)
        assert (artifact["size"], artifact["filename"]) == (len(data), uploaded["name"])
