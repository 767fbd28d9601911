"""The core of tus 1.0.0. ``must`` names the sentences of the protocol that a test covers."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from partwise.server.handover import LOW_WATER
from tests.protocol.tus.sentences import must
from tests.support.server import API, Answer, ServerProcess, exchange, sha256
from tests.support.sockets import unread
from tests.support.tus import BYTES, ROOT, Tus, metadata, repr_digest
from tests.support.until import wait_until


def wait_for_artifact(tus: Tus, path: str) -> Answer:
    """HEAD until it tells the digest."""
    deadline = time.monotonic() + 20
    while True:
        answer = tus.head(path)
        if "Repr-Digest" in answer.headers or time.monotonic() > deadline:
            return answer
        time.sleep(0.02)


@must("patch-answer")
def test_an_upload_from_start_to_artifact(tus: Tus) -> None:
    """Core: HEAD tells the offset to go on at, PATCH sends from there."""
    data = os.urandom(300_000)
    path = tus.create(len(data))
    assert tus.offset(path) == 0
    assert tus.patch(path, 0, data[:100_000]).headers["Upload-Offset"] == "100000"
    assert tus.offset(path) == 100_000
    answer = tus.patch(path, 100_000, data[100_000:])
    assert (answer.status, answer.headers["Upload-Offset"], answer.body) == (204, "300000", b"")
    head = tus.head(path)
    assert head.headers["Upload-Offset"] == head.headers["Upload-Length"] == "300000"
    assert head.headers["Repr-Digest"] == repr_digest(data)
    assert "Upload-Expires" not in head.headers
    assert tus.artifact(data) == data


@must("head-offset")
def test_head_tells_the_offset_always(tus: Tus) -> None:
    """HEAD: Upload-Offset MUST be in the answer, even if it is 0 or the upload is complete."""
    assert tus.head(tus.create(10)).headers["Upload-Offset"] == "0"
    assert tus.head(tus.create(0)).headers["Upload-Offset"] == "0"


@must("head-length")
def test_head_tells_the_length(tus: Tus) -> None:
    """HEAD: if the size is known, Upload-Length MUST be in the answer."""
    assert tus.head(tus.create(10)).headers["Upload-Length"] == "10"


@must("head-cache")
def test_head_is_not_cached(tus: Tus) -> None:
    """HEAD: the answer MUST NOT be cached: Cache-Control: no-store."""
    assert tus.head(tus.create(10)).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("name", ["ab9f8a4e-14a7-4c1b-8ac3-6cd2f8f5a1de", "nothing", "..%2f..%2fetc"])
@must("head-absent", "patch-absent")
def test_what_is_not_there_is_not_found(tus: Tus, method: str, name: str) -> None:
    """HEAD: if the resource is not found, 404, 410 or 403, and no Upload-Offset; PATCH: 404 as well."""
    answer = tus(method, ROOT + name, Upload_Offset="0", Content_Type=BYTES)
    assert answer.status == 404
    assert "Upload-Offset" not in answer.headers


@must("patch-type")
def test_patch_wants_its_media_type(tus: Tus) -> None:
    """PATCH: other media types than application/offset+octet-stream: 415."""
    path = tus.create(4)
    for kind in ("application/octet-stream", "text/plain", ""):
        answer = tus("PATCH", path, b"abcd", Upload_Offset="0", Content_Type=kind)
        assert answer.status == 415
    assert tus.offset(path) == 0
    assert tus("PATCH", path, b"abcd", Upload_Offset="0", Content_Type=f"{BYTES}; a=b").status == 204


@pytest.mark.parametrize("offset", [0, 2, 4, 9])
@must("patch-offset")
def test_an_offset_that_does_not_match_is_a_conflict(tus: Tus, offset: int) -> None:
    """PATCH: offsets that do not match: 409, and the upload is not modified."""
    path = tus.create(10)
    tus.patch(path, 0, b"abc")
    assert tus.patch(path, offset, b"d").status == 409
    assert tus.offset(path) == 3


@pytest.mark.parametrize("offset", ["", "-1", "1.5", "0x0", "²", "1e3", "99999999999999999999"])
@must("upload-offset")
def test_an_offset_is_a_whole_number(tus: Tus, offset: str) -> None:
    """Upload-Offset: MUST be a non-negative integer."""
    answer = tus("PATCH", tus.create(4), b"abcd", Upload_Offset=offset, Content_Type=BYTES)
    assert answer.status == 400


@must("patch-offset")
def test_patch_without_an_offset_is_refused(tus: Tus) -> None:
    """PATCH: Upload-Offset MUST be in the request."""
    assert tus("PATCH", tus.create(4), b"abcd", Content_Type=BYTES).status == 400


def test_a_body_beyond_the_length_is_refused(tus: Tus) -> None:
    """Upload-Length is the size of the entire upload: nothing can come after it."""
    path = tus.create(4)
    assert tus.patch(path, 0, b"abcde").status == 413
    assert tus.offset(path) == 0
    assert tus.patch(path, 0, b"abcd").status == 204
    answer = tus.patch(path, 4, b"e")
    assert answer.problem == (413, "beyond-length")


@must("patch-answer")
def test_an_empty_patch_changes_nothing(tus: Tus) -> None:
    path = tus.create(4)
    for data, offset in ((b"", 0), (b"ab", 0), (b"", 2), (b"cd", 2), (b"", 4)):
        answer = tus.patch(path, offset, data)
        assert (answer.status, answer.headers["Upload-Offset"]) == (204, str(offset + len(data)))


@pytest.mark.parametrize("version", [None, "0.2.2", "1.0", "2.0.0", "1.0.0, 2.0.0"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "PATCH", "DELETE"])
@must("tus-resumable-other")
def test_other_versions_are_refused(tus: Tus, method: str, version: str | None) -> None:
    """Tus-Resumable: if the version is not supported: 412, Tus-Version MUST be in the answer, and the request
    MUST NOT be processed."""
    path = tus.create(4)
    headers = {"Upload_Offset": "0", "Content_Type": BYTES, "Upload_Length": "1"}
    if version is not None:
        headers["Tus_Resumable"] = version
    answer = tus.http(method, ROOT if method == "POST" else path, b"abcd", **headers)
    assert answer.status == 412
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert tus.offset(path) == 0


@must("tus-resumable")
def test_every_answer_tells_the_version(tus: Tus) -> None:
    """Tus-Resumable: MUST be in every answer but that to OPTIONS."""
    path = tus.create(4)
    answers = [
        tus("POST", ROOT, Upload_Length="1"),
        tus("POST", ROOT),
        tus.head(path),
        tus.head(f"{ROOT}none"),
        tus.patch(path, 3, b"a"),
        tus.patch(path, 0, b"a"),
        tus("GET", path),
        tus("PUT", path),
        tus("DELETE", path),
    ]
    assert [answer.status for answer in answers] == [201, 400, 200, 404, 409, 204, 409, 405, 204]
    assert all(answer.headers["Tus-Resumable"] == "1.0.0" for answer in answers)


@pytest.mark.parametrize("path", [ROOT, "/tus", f"{ROOT}anything"])
@must("options", "tus-version", "tus-extension", "creation-listed", "with-upload-listed", "concat-listed")
def test_options_tells_what_the_server_can(tus: Tus, path: str) -> None:
    """OPTIONS: 204 or 200 with Tus-Version; Tus-Extension lists what is supported; no Tus-Resumable is needed."""
    answer = tus.http("OPTIONS", path)
    assert answer.status == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Extension"].split(",") == [
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "checksum",
        "expiration",
        "termination",
        "concatenation",
    ]
    assert "Tus-Max-Size" not in answer.headers  # this server has no limit
    assert tus.http("OPTIONS", path, Tus_Resumable="0.2.2").status == 204


@pytest.mark.parametrize("sent", ["POST", "PUT", "GET"])
@must("method-override")
def test_another_method_can_be_meant(tus: Tus, sent: str) -> None:
    """X-HTTP-Method-Override: MUST be taken for the request's method; the actual one MUST be ignored."""
    path = tus.create(4)
    override = {"Upload_Offset": "0", "Content_Type": BYTES, "X_HTTP_Method_Override": "PATCH"}
    assert tus(sent, path, b"abcd", **override).status == 204
    assert tus(sent, path, X_HTTP_Method_Override="HEAD").headers["Upload-Offset"] == "4"
    assert tus(sent, path, X_HTTP_Method_Override="DELETE").status == 204
    assert tus.head(path).status == 404
    assert tus(sent, path, X_HTTP_Method_Override="PUT").status == 405


def test_a_body_without_announced_length(tus: Tus) -> None:
    """PATCH: the body may come in chunks of the transfer coding; it ends where it ends."""
    path = tus.create(10)
    headers = {"Upload_Offset": "0", "Content_Type": BYTES, "Transfer_Encoding": "chunked"}
    answer = tus("PATCH", path, b"4\r\nabcd\r\n0\r\n\r\n", **headers)
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "4")
    headers["Upload_Offset"] = "4"
    answer = tus("PATCH", path, b"0\r\n\r\n", **headers)
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "4")
    assert tus("PATCH", path, b"7\r\nefghijk\r\n0\r\n\r\n", **headers).status == 400  # one byte too many
    assert tus("PATCH", path, b"6\r\nefghij\r\n0\r\n\r\n", **headers).status == 204
    assert tus.artifact(b"abcdefghij") == b"abcdefghij"


def open_patch(server: ServerProcess, path: str, offset: int, length: int, data: bytes) -> socket.socket:
    """Begin a PATCH of ``length`` bytes, and send only ``data``."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n"
        f"Content-Type: {BYTES}\r\nContent-Length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode() + data)
    return connection


@pytest.mark.parametrize("size", [1_000, 3_000_000])
@must("patch-kept")
def test_what_came_of_a_cut_request_is_kept(tus: Tus, server: ServerProcess, size: int) -> None:
    """PATCH: as much of the received data as possible SHOULD be stored."""
    data = os.urandom(2 * size)
    path = tus.create(len(data))
    with open_patch(server, path, 0, len(data), data[:size]) as connection:
        # What a fast network brings together with its end need not be read whole.
        wait_until(lambda: unread(connection) < min(size, LOW_WATER), "the server reads what came")
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    wait_until(lambda: tus.offset(path) > 0, "what came is recorded")
    offset = tus.offset(path)
    assert 0 < offset <= size
    assert tus.patch(path, offset, data[offset:]).status == 204
    assert tus.artifact(data) == data


@pytest.mark.parametrize("size", [1_000, 3_000_000])
def test_asking_for_the_offset_ends_a_dead_twin(tus: Tus, server: ServerProcess, size: int) -> None:
    """A client whose network broke asks on a new connection while the server still waits on the old one: it is told
    an offset that stays, with all that came before in it, and goes on at once."""
    data = os.urandom(2 * size)
    path = tus.create(len(data))
    with open_patch(server, path, 0, len(data), data[:size]) as connection:
        # A question that comes before the request has its turn finds nothing to end.
        wait_until(lambda: tus.offset(path) > 0, "what came is recorded")
        offset = tus.offset(path)
        assert 0 < offset <= size
        assert tus.patch(path, offset, data[offset:]).status == 204
        assert connection.recv(12) in (b"HTTP/1.1 409", b"")
    assert wait_for_artifact(tus, path).headers["Repr-Digest"] == repr_digest(data)


def test_of_two_requests_at_one_offset_one_wins(tus: Tus, server: ServerProcess) -> None:
    """PATCH: no byte of the one is mixed with the other's; who loses is told so with 409."""
    size = 2_000_000
    bodies = [bytes([number]) * size for number in range(4)]
    path = tus.create(size)
    answers: list[bytes] = []

    def send(body: bytes) -> None:
        head = (
            f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            f"Content-Type: {BYTES}\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
        )
        try:
            answers.append(exchange(server.port, head.encode() + body)[:12])
        except OSError:  # reset after its refusal
            answers.append(b"HTTP/1.1 409")

    threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {b"HTTP/1.1 204", b"HTTP/1.1 409"}
    offset = tus.offset(path)
    if offset < size:  # the winner was itself cut by a newer one that then lost
        assert tus.patch(path, offset, bytes(size - offset)).status == 204
    assert tus.head(path).headers["Upload-Offset"] == str(size)


def test_rest_sees_and_finishes_what_tus_began(tus: Tus) -> None:
    """One engine: an upload is the same over both protocols."""
    data = os.urandom(50_000)
    path = tus.create(len(data))
    href = f"{API}uploads/{path.removeprefix(ROOT)}/"
    tus.patch(path, 0, data[:20_000])
    seen = tus.http("GET", href).json
    assert seen["chunks"] == [{"offset": 0, "size": 20_000}]
    assert seen["missing"] == [{"offset": 20_000, "size": 30_000}]
    assert tus.http.put(href, 20_000, data[20_000:], len(data)).status == 200
    commit = tus.http.commit(href, data)
    assert (commit.status, commit.json["state"]) == (200, "completed")
    assert tus.head(path).headers["Repr-Digest"] == repr_digest(data)


def test_tus_finishes_what_rest_began(tus: Tus) -> None:
    """The offset is the end of what came without a gap; the owner commits, as REST has it."""
    data = os.urandom(50_000)
    href = tus.http.create(len(data))
    path = ROOT + href.removeprefix(f"{API}uploads/").rstrip("/")
    tus.http.put(href, 20_000, data[20_000:30_000])
    assert tus.offset(path) == 0
    tus.http.put(href, 0, data[:20_000])
    assert tus.offset(path) == 30_000
    assert tus.patch(path, 30_000, data[30_000:]).status == 204
    assert "Repr-Digest" not in tus.head(path).headers
    assert tus.http.commit(href, data).status == 200
    assert tus.head(path).headers["Repr-Digest"] == repr_digest(data)


def test_what_rest_completed_the_server_completes(tus: Tus) -> None:
    """The last byte of a tus upload that comes over REST ends it too, without a commit."""
    data = b"0123456789"
    path = tus.create(len(data))
    href = f"{API}uploads/{path.removeprefix(ROOT)}/"
    tus.http.put(href, 0, data)
    assert wait_for_artifact(tus, path).headers["Repr-Digest"] == repr_digest(data)


def test_a_complete_upload_can_be_read_at_its_place(tus: Tus) -> None:
    """No part of the protocol, but what tus-js-client's own tests do, and people with curl: without Tus-Resumable."""
    data = os.urandom(5000)
    path = tus.create(len(data), Upload_Metadata=metadata(filename="a b.txt", filetype="text/plain"))
    assert tus.http("GET", path).problem == (409, "wrong-state")
    tus.patch(path, 0, data)
    answer = tus.http("GET", path)
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, data, "text/plain")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="a b.txt"'
    assert (answer.headers["X-Content-Type-Options"], answer.headers["Repr-Digest"]) == ("nosniff", repr_digest(data))
    part = tus.http("GET", path, Range="bytes=10-19")
    assert (part.status, part.body) == (206, data[10:20])
    assert tus("DELETE", path).status == 204
    assert tus.http("GET", path).status == 404


def test_what_was_deleted_over_rest_can_be_read_no_more(tus: Tus) -> None:
    data = os.urandom(5000)
    path = tus.create(len(data))
    tus.patch(path, 0, data)
    (artifact,) = tus.http("GET", f"{API}artifacts/?sha256={sha256(data)}").json["results"]
    assert tus.http("DELETE", artifact["pulp_href"]).status == 204
    assert tus.http("GET", path).status == 404
