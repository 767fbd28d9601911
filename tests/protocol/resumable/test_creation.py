"""Creation of uploads, their state and limits. ``must`` names the sentences of the draft that a test covers."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from partwise.engine.receiver import SEGMENT
from tests.protocol.resumable.client import REGISTRY, ROOT, Client, limits
from tests.protocol.resumable.sentences import must
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tus import repr_digest
from tests.support.until import wait_until

#: On PostgreSQL and an object store with --all-engines.
pytestmark = pytest.mark.more_engines

DATA = os.urandom(300_000)


@must(
    "create-whole", "create-104", "104-versioned", "create-location", "create-answer", "complete-meaning", "want-digest"
)
def test_a_file_in_one_request(client: Client, http: Http) -> None:
    answer = client.create(DATA, complete=True, Want_Repr_Digest="sha-256=1")
    [announced] = answer.interim
    assert (announced.status, announced.reason) == (104, "Upload Resumption Supported")
    assert announced.headers["upload-draft-interop-version"] == "8"
    assert announced.headers["location"].startswith(ROOT)
    assert limits(announced)["max-age"] > 0
    assert set(announced.headers) == {"upload-draft-interop-version", "location", "upload-limit"}
    assert answer.status == 201
    assert answer.headers["location"] == announced.headers["location"]
    assert answer.headers["upload-complete"] == "?1"
    assert answer.headers["repr-digest"] == repr_digest(DATA)
    assert (answer.json["sha256"], answer.json["size"]) == (sha256(DATA), len(DATA))
    assert http("GET", answer.json["file"]).body == DATA
    assert http("GET", f"{API}artifacts/?sha256={sha256(DATA)}").json["count"] == 1


@must("create-part", "create-length", "create-location", "create-answer", "complete-meaning")
def test_the_first_part_of_a_file(client: Client) -> None:
    answer = client.create(DATA[:1000], Upload_Length=str(len(DATA)))
    assert answer.status == 201
    assert answer.interim[0].headers["location"] == answer.headers["location"]
    assert (answer.headers["upload-complete"], answer.headers["upload-offset"]) == ("?0", "1000")
    assert limits(answer)["max-age"] > 0
    head = client("HEAD", answer.headers["location"])
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == ("1000", str(len(DATA)))


@must("create-empty", "complete-explicit")
def test_creations_without_content(client: Client) -> None:
    whole = client.create(b"", complete=True)
    assert (whole.status, whole.headers["upload-complete"], whole.json["size"]) == (201, "?1", 0)
    assert client.create(None, complete=True).json["sha256"] == sha256(b"")
    careful = client.created(b"", Upload_Length="0")
    assert client.state(careful) == (0, False), "its length is reached, but nobody said that it is complete"
    assert client.append(careful, 0, b"", complete=True).json["size"] == 0


@must("create-methods")
@pytest.mark.parametrize("method, status", [("POST", 201), ("PUT", 201), ("PATCH", 405), ("DELETE", 405)])
def test_methods(client: Client, method: str, status: int) -> None:
    assert client(method, ROOT, b"abc", Upload_Complete="?1").status == status


@must("create-metadata")
@pytest.mark.parametrize(
    "disposition, name",
    [
        ("inline; filename=\"file name.jpg\"; filename*=UTF-8''gro%C3%9F.jpg", "groß.jpg"),
        ('attachment; filename="a.bin"', "a.bin"),
        ('inline; filename="../../etc/passwd"', "passwd"),
        ('inline; filename="Größe"'.encode().decode("latin-1"), "Größe"),
        ("inline", None),
    ],
)
def test_name_and_type_of_the_file(client: Client, http: Http, disposition: str, name: str | None) -> None:
    data = os.urandom(100)
    answer = client.create(data, complete=True, Content_Disposition=disposition, Content_Type="image/jpeg")
    assert answer.json["filename"] == name
    [artifact] = http("GET", f"{API}artifacts/?sha256={sha256(data)}").json["results"]
    assert (artifact["filename"], artifact["media_type"]) == (name, "image/jpeg")


@must("create-unfit", "complete-meaning")
def test_a_content_coding_is_refused(client: Client) -> None:
    answer = client.create(DATA, Content_Encoding="gzip")
    assert (answer.status, answer.headers["upload-complete"], answer.interim) == (415, "?1", [])


@must("create-conventional")
def test_a_conventional_upload(client: Client, http: Http) -> None:
    before = http.uploads()
    answer = client("POST", ROOT, DATA)
    assert (answer.status, answer.json["sha256"], answer.interim) == (201, sha256(DATA), [])
    assert not {"upload-complete", "upload-offset", "upload-limit"} & set(answer.headers)
    wrong = client("POST", ROOT, DATA, Repr_Digest=repr_digest(b""))
    assert wrong.status == 400
    assert len(http.uploads(100) - before) == 1, "what was refused leaves nothing behind"


@must("complete-form", "offset-form", "length-form")
@pytest.mark.parametrize("value", ["1", "true", "?2", '"?1"', "?1, ?0", "?"])
def test_values_that_are_not_booleans_are_ignored(client: Client, value: str) -> None:
    assert "upload-complete" not in client("POST", ROOT, b"abc", Upload_Complete=value).headers
    path = client.created(b"abc")
    append = {"Content_Type": "application/partial-upload", "Upload_Offset": "3"}
    assert client("PATCH", path, b"d", Upload_Complete=value, **append).status == 400
    assert client.state(path) == (3, False)
    assert client("PATCH", path, b"d", Upload_Complete="?0;a=1", **append).status == 204, "parameters are ignored"


@must("offset-form", "length-form")
@pytest.mark.parametrize("value", ["-1", "1.5", "0x0", '"3"', "3, 3", "1e3", "9999999999999999", "", ":Mw==:"])
def test_values_that_are_no_lengths_are_ignored(client: Client, value: str) -> None:
    path = client.created(b"abc", Upload_Length=value)
    assert "upload-length" not in client("HEAD", path).headers
    assert client.append(path, 3, b"d", Upload_Offset=value).status == 400
    assert client.state(path) == (3, False)


@must("length-match", "length-problem", "length-content")
def test_lengths_that_contradict_each_other(client: Client, http: Http) -> None:
    before = http.uploads()
    for answer in (
        client.create(b"abc", complete=True, Upload_Length="4"),
        client.create(b"abc", Upload_Length="2"),
    ):
        assert (answer.status, answer.json["type"]) == (400, f"{REGISTRY}inconsistent-upload-length")
        assert (answer.headers["upload-complete"], answer.interim) == ("?0", [])
        assert answer.headers["content-type"] == "application/problem+json"
    assert not http.uploads(100) - before
    path = client.created(b"abc", Upload_Length="5")
    for answer in (
        client.append(path, 3, b"d", complete=True),
        client.append(path, 3, b"d", Upload_Length="6"),
        client.append(path, 3, b"def"),
        client.append(path, 3, b"d", complete=True, chunked=True),
    ):
        assert (answer.status, answer.json["type"]) == (400, f"{REGISTRY}inconsistent-upload-length")
        assert answer.headers["upload-complete"] == "?0"
    assert client.state(path) == (4, False), "the last one was appended before its end was known"
    assert client.append(path, 4, b"e", complete=True).status == 201
    deferred = client.created(b"abc")
    assert client.append(deferred, 3, b"", Upload_Length="2").status == 400


@must("length-content", "transfer", "create-length", "append-length")
def test_where_the_length_comes_from(client: Client) -> None:
    path = client.created(DATA[:1000], chunked=True)
    assert "upload-length" not in client("HEAD", path).headers
    assert client.append(path, 1000, DATA[1000:2000], chunked=True).headers["upload-offset"] == "2000"
    assert client.append(path, 2000, b"", Upload_Length=str(len(DATA))).status == 204
    assert client("HEAD", path).headers["upload-length"] == str(len(DATA))
    assert client.append(path, 2000, DATA[2000:], complete=True).json["sha256"] == sha256(DATA)
    assert client.create(DATA, complete=True, chunked=True).json["sha256"] == sha256(DATA)


@must("limit-options", "limit-form", "limit-413")
def test_limits(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, dialects="resumable", max_upload_size=1000) as server, Client(server.port) as client:
        options = client("OPTIONS", ROOT)
        assert options.status == 204
        assert limits(options)["max-size"] == 1000
        path = client.created(b"abc")
        assert limits(client("HEAD", path))["max-size"] == 1000
        for refused in (
            client.create(b"", Upload_Length="1001"),
            client.create(bytes(1001), complete=True),
            client.append(path, 3, bytes(998)),
            client.append(path, 3, bytes(998), chunked=True),
        ):
            assert (refused.status, limits(refused)["max-size"]) == (413, 1000)
            assert refused.headers["upload-complete"] == "?0"
        assert client.append(path, 3, bytes(997), complete=True).status == 201


@must("limit-age")
def test_the_end_of_life_comes_no_closer(client: Client) -> None:
    path = client.created(b"abc")
    first = limits(client("HEAD", path))["max-age"]
    client.append(path, 3, b"d")
    assert limits(client("HEAD", path))["max-age"] >= first - 1, "an append puts it off"


@must("create-cut", "offset-kept", "usable")
def test_a_creation_that_is_cut(resumable_server: ServerProcess, client: Client) -> None:
    """The client has the address by 104, and goes on with what is missing."""
    with Client(resumable_server.port) as cut:
        cut.begin("POST", ROOT, ("Content-Length", str(len(DATA))), Upload_Complete="?1")
        path = cut.read().headers["location"]
        cut.send(DATA[:200_000])
    wait_until(lambda: client.state(path)[0], "an end of the request")
    offset, complete = client.state(path)
    assert 0 < offset <= 200_000
    assert not complete
    assert client.append(path, offset, DATA[offset:], complete=True).json["sha256"] == sha256(DATA)
    assert client.state(path) == (len(DATA), True)


def test_a_cut_creation_without_104_leaves_nothing(resumable_server: ServerProcess, http: Http) -> None:
    before = http.uploads()
    with Client(resumable_server.port, version=None) as cut:
        cut.begin("POST", ROOT, ("Content-Length", "1000"), Upload_Complete="?1")
        cut.send(b"abc")
        wait_until(lambda: http.uploads(100) - before, "an upload")
    wait_until(lambda: not http.uploads(100) - before, "an end of the upload")


@must("create-progress", "append-progress", "offset-kept")
def test_progress_is_told_while_content_comes(client: Client) -> None:
    """What is told is recorded: the client may forget it."""
    data = os.urandom(4 << 20) * (SEGMENT * 2 // (4 << 20) + 1)
    half = len(data) // 2
    created = client.create(data[:half], Upload_Length=str(len(data)))
    announced, progress = created.interim[0], created.interim[1:]
    path = announced.headers["location"]
    appended = client.append(path, half, data[half:], complete=True)
    assert appended.json["sha256"] == sha256(data)
    for told, start, end in ((progress, 0, half), (appended.interim, half, len(data))):
        offsets = [int(each.headers["upload-offset"]) for each in told]
        assert offsets, "each request has more than a segment"
        assert offsets == sorted(offsets)
        assert start < offsets[0] <= offsets[-1] <= end
        for each in told:
            assert (each.status, each.headers["upload-draft-interop-version"]) == (104, "8")
            assert "location" not in each.headers


@must("104-version")
@pytest.mark.parametrize("version", [None, 2, 9, 88])
def test_no_104_for_other_versions(resumable_server: ServerProcess, version: int | None) -> None:
    with Client(resumable_server.port, version) as client:
        answer = client.create(DATA, complete=True)
        assert (answer.status, answer.headers["upload-complete"], answer.interim) == (201, "?1", [])


def test_no_104_to_http_1_0(client: Client) -> None:
    """Such a client understands no interim answers (RFC 9110, section 15.2)."""
    fields = [("Upload-Draft-Interop-Version", "8"), ("Upload-Complete", "?1"), ("Content-Length", "3")]
    client.head("POST", ROOT, fields, protocol="HTTP/1.0")
    client.send(b"abc")
    answer = client.final()
    assert (answer.status, answer.interim) == (201, [])


@must("104-continue")
def test_continue_is_sent_beside_104(client: Client) -> None:
    fields = [("Content-Length", "200000"), ("Expect", "100-continue")]
    client.begin("POST", ROOT, *fields, Upload_Complete="?1")
    assert {client.read().status, client.read().status} == {100, 104}
    client.send(DATA[:200_000])
    assert client.final().json["sha256"] == sha256(DATA[:200_000])


@must("unguessable")
def test_addresses_are_random(client: Client) -> None:
    paths = {client.created() for _ in range(3)}
    assert len(paths) == 3
    assert {uuid.UUID(path.removeprefix(ROOT)).version for path in paths} == {4}
