"""Retrieval, append and cancellation. ``must`` names the sentences of the draft that a test covers."""

from __future__ import annotations

import base64
import os
from typing import Any

import pytest

from tests.protocol.resumable.client import PARTIAL, REGISTRY, ROOT, Client, limits
from tests.protocol.resumable.sentences import must
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tus import repr_digest
from tests.support.until import wait_until

#: On PostgreSQL and an object store with --all-engines.
pytestmark = pytest.mark.more_engines

DATA = os.urandom(300_000)


@must("append-whole", "append-part", "append-type", "complete-meaning", "want-digest")
def test_a_file_in_parts(client: Client, http: Http) -> None:
    path = client.created(DATA[:1000])
    part = client.append(path, 1000, DATA[1000:2000])
    assert (part.status, part.headers["upload-complete"], part.body) == (204, "?0", b"")
    last = client.append(path, 2000, DATA[2000:], complete=True)
    assert (last.status, last.headers["upload-complete"]) == (201, "?1")
    assert last.headers["repr-digest"] == repr_digest(DATA)
    assert http("GET", last.json["file"]).body == DATA
    whole = client.create(DATA, complete=True)
    assert last.json == whole.json, "the answer is the one that a single request has"


@must("head-offset", "head-complete", "head-length", "head-limit", "head-cache")
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_retrieval(client: Client, method: str) -> None:
    path = client.created(b"abc")
    answer = client(method, path)
    assert (answer.status, answer.body) == (204, b"")
    assert (answer.headers["upload-offset"], answer.headers["upload-complete"]) == ("3", "?0")
    assert "upload-length" not in answer.headers
    assert limits(answer)["max-age"] > 0
    assert answer.headers["cache-control"] == "no-store"
    client.append(path, 3, b"de", complete=True)
    answer = client(method, path)
    assert (answer.headers["upload-offset"], answer.headers["upload-complete"]) == ("5", "?1")
    assert answer.headers["upload-length"] == "5"


@pytest.mark.parametrize("method", ["HEAD", "GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("name", ["ab9f8a4e-14a7-4c1b-8ac3-6cd2f8f5a1de", "nothing", "files", "..%2f..%2fetc"])
def test_what_is_not_there(client: Client, method: str, name: str) -> None:
    fields = {"Upload_Offset": "0", "Upload_Complete": "?0", "Content_Type": PARTIAL} if method == "PATCH" else {}
    answer = client(method, ROOT + name, b"abc" if fields else None, **fields)
    assert answer.status == 404
    assert "upload-offset" not in answer.headers


@must("append-type")
@pytest.mark.parametrize("kind", ["application/octet-stream", "application/offset+octet-stream", "text/plain", ""])
def test_other_media_types(client: Client, kind: str) -> None:
    path = client.created(b"abc")
    answer = client.append(path, 3, b"d", Content_Type=kind)
    assert (answer.status, answer.headers["upload-complete"], answer.headers["upload-offset"]) == (415, "?0", "3")
    assert client.append(path, 3, b"d", Content_Type=f"{PARTIAL}; a=b").status == 204


@must("append-offset", "problem-offset")
@pytest.mark.parametrize("offset", [0, 2, 4, 1_000_000])
def test_another_offset(client: Client, offset: int) -> None:
    path = client.created(b"abc", Upload_Length="10")
    answer = client.append(path, offset, b"d")
    assert (answer.status, answer.headers["upload-complete"], answer.headers["upload-offset"]) == (409, "?0", "3")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["type"] == f"{REGISTRY}mismatching-upload-offset"
    assert (answer.json["expected-offset"], answer.json["provided-offset"]) == (3, offset)
    assert client.state(path) == (3, False)


@must("append-empty", "complete-explicit")
def test_completed_without_content(client: Client) -> None:
    path = client.created(DATA, Upload_Length=str(len(DATA)))
    assert client.state(path) == (len(DATA), False)
    assert client.append(path, len(DATA), b"").status == 204
    assert client.state(path) == (len(DATA), False)
    assert client.append(path, len(DATA), None, complete=True).json["sha256"] == sha256(DATA)
    assert client.state(path) == (len(DATA), True)


@must("append-replay", "complete-closed", "append-offset")
def test_after_completion(client: Client) -> None:
    path = client.created(b"abc")
    final = client.append(path, 3, b"de", complete=True)
    again = client.append(path, 5, b"", complete=True)
    assert (again.status, again.json, again.headers["upload-complete"]) == (final.status, final.json, "?1")
    for body, complete in ((b"f", True), (b"f", False), (b"", False)):
        refused = client.append(path, 5, body, complete=complete)
        assert (refused.status, refused.headers["upload-complete"]) == (400, "?0")
        assert refused.json["type"] == f"{REGISTRY}completed-upload"
    other = client.append(path, 3, b"de", complete=True)
    assert (other.status, other.headers["upload-offset"], other.headers["upload-complete"]) == (409, "5", "?0")
    assert client.state(path) == (5, True)


@must("append-beyond", "length-problem")
def test_content_beyond_the_length(client: Client) -> None:
    """Announced, it is refused at once. Without a Content-Length it ends the upload."""
    path = client.created(b"abc", Upload_Length="5")
    assert client.append(path, 3, b"def").status == 400
    assert client.state(path) == (3, False)
    answer = client.append(path, 3, bytes(1000), chunked=True)
    assert (answer.status, answer.json["type"]) == (400, f"{REGISTRY}inconsistent-upload-length")
    assert client("HEAD", path).status == 404
    full = client.created(b"abc", Upload_Length="3")
    assert client.append(full, 3, b"", chunked=True).status == 204
    assert client.append(full, 3, b"d", chunked=True).status == 400
    assert client("HEAD", full).status == 404


def begun(server: ServerProcess, path: str, offset: int, length: int, data: bytes, **fields: str) -> Client:
    """A client in the midst of an append, whose content the server has begun to receive."""
    client = Client(server.port)
    more = {"Content_Type": PARTIAL, "Upload_Offset": str(offset), "Upload_Complete": "?1", **fields}
    client.begin("PATCH", path, ("Content-Length", str(length)), ("Expect", "100-continue"), **more)
    assert client.read().status == 100
    client.send(data)
    return client


@must("append-cut", "offset-kept")
def test_an_append_that_is_cut(resumable_server: ServerProcess, client: Client) -> None:
    path = client.created(DATA[:1000])
    begun(resumable_server, path, 1000, len(DATA) - 1000, DATA[1000:200_000]).close()
    wait_until(lambda: client.state(path)[0] > 1000, "an end of the request")
    offset, complete = client.state(path)
    assert not complete
    assert client.append(path, offset, DATA[offset:], complete=True).json["sha256"] == sha256(DATA)


@must("newer", "usable")
@pytest.mark.parametrize("newer", ["HEAD", "PATCH"])
def test_a_newer_request_ends_one_that_hangs(resumable_server: ServerProcess, client: Client, newer: str) -> None:
    """What came of the older one counts, and the offset that is told is good for the next append."""
    path = client.created(DATA[:1000])
    with begun(resumable_server, path, 1000, len(DATA) - 1000, DATA[1000:200_000]):
        if newer == "HEAD":
            offset, complete = client.state(path)
            assert not complete
        else:
            answer = client.append(path, 1, b"x")
            assert answer.status == 409
            offset = int(answer.headers["upload-offset"])
        assert 1000 <= offset <= 200_000
        assert client.append(path, offset, DATA[offset:], complete=True).json["sha256"] == sha256(DATA)


@must("cancel", "cancel-running")
def test_cancellation(resumable_server: ServerProcess, client: Client, http: Http) -> None:
    path = client.created(b"abc")
    href = f"{API}uploads/{path.removeprefix(ROOT)}/"
    with begun(resumable_server, path, 3, 1000, b"def") as running:
        answer = client("DELETE", path)
        assert (answer.status, answer.body) == (204, b"")
        assert running.final().status in (404, 409)
    for method in ("HEAD", "PATCH", "DELETE"):
        fields: dict[str, Any] = {"Upload_Offset": "3", "Upload_Complete": "?0", "Content_Type": PARTIAL}
        assert client(method, path, None, **(fields if method == "PATCH" else {})).status == 404
    assert http("GET", href).status == 404


def test_the_artifact_outlives_a_cancellation(client: Client, http: Http) -> None:
    final = client.create(DATA, complete=True)
    assert client("DELETE", final.headers["location"]).status == 204
    assert http("GET", final.json["file"]).body == DATA


@must("content-digest")
def test_content_of_another_digest(client: Client) -> None:
    path = client.created(b"abc")
    wrong = client.append(path, 3, b"def", Content_Digest=repr_digest(b"deg"))
    assert (wrong.status, wrong.headers["upload-complete"], wrong.headers["upload-offset"]) == (400, "?0", "3")
    assert client.state(path) == (3, False)
    malformed = client.append(path, 3, b"def", Content_Digest="sha-256=1")
    assert malformed.status == 400
    other = client.append(path, 3, b"def", Content_Digest=f"sha-512=:{base64.b64encode(bytes(64)).decode()}:")
    assert (other.status, client.state(path)) == (400, (3, False))
    assert client.append(path, 3, b"def", Content_Digest=repr_digest(b"def")).status == 204
    assert client.append(path, 6, b"", complete=True).json["sha256"] == sha256(b"abcdef")
    created = client.create(b"abc", complete=True, Content_Digest=repr_digest(b"xyz"))
    assert (created.status, created.headers["upload-complete"], created.headers["upload-offset"]) == (400, "?0", "0")
    assert created.headers["location"] == created.interim[0].headers["location"]


@must("repr-digest")
def test_a_file_of_another_digest(client: Client, http: Http) -> None:
    """The upload has failed and says so. It can still be corrected over the HTTP API, which knows ranges."""
    assert client.create(DATA, complete=True, Repr_Digest=repr_digest(DATA)).status == 201
    path = client.created(b"abX", Repr_Digest=repr_digest(b"abcde"))
    failed = client.append(path, 3, b"de", complete=True)
    assert (failed.status, failed.headers["upload-complete"]) == (400, "?1")
    assert failed.json["actual"] == sha256(b"abXde")
    assert client.state(path) == (5, True), "there is nothing to go on with"
    assert client.append(path, 5, b"", complete=True).json["actual"] == sha256(b"abXde")
    href = f"{API}uploads/{path.removeprefix(ROOT)}/"
    assert http("GET", href).json["state"] == "open"
    assert http.put(href, 0, b"abc", 5).status == 200
    assert client.append(path, 5, b"", complete=True).json["sha256"] == sha256(b"abcde")


def test_an_upload_of_the_http_api(client: Client, http: Http) -> None:
    """It goes on here, and the other way round."""
    href = http.create(len(DATA), filename="a.bin")
    assert http.put(href, 0, DATA[:1000], len(DATA)).status == 200
    path = ROOT + href.rstrip("/").rpartition("/")[2]
    assert client.state(path) == (1000, False)
    assert client.append(path, 1000, DATA[1000:], complete=True).json["filename"] == "a.bin"
    path = client.created(DATA[:1000], Upload_Length=str(len(DATA)))
    href = f"{API}uploads/{path.removeprefix(ROOT)}/"
    assert http("GET", href).json["received"] == 1000
    assert http.put(href, 1000, DATA[1000:], len(DATA)).status == 200
    assert client.state(path) == (len(DATA), False)
    assert http.commit(href, DATA).status == 200
    assert client.state(path) == (len(DATA), True)


def test_chunks_beyond_a_gap(client: Client, http: Http) -> None:
    """An append goes as far as the gap does."""
    href = http.create(10)
    assert http.put(href, 5, b"fghij", 10).status == 200
    path = ROOT + href.rstrip("/").rpartition("/")[2]
    assert client.state(path) == (0, False)
    overlap = client.append(path, 0, b"abcdefghij", complete=True)
    assert (overlap.status, overlap.headers["upload-offset"]) == (409, "0")
    assert client.append(path, 0, b"abcde").status in (201, 204)
    assert client.state(path)[0] == 10
    assert client.append(path, 10, b"", complete=True).json["sha256"] == sha256(b"abcdefghij")
