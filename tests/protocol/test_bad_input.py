"""What clients get wrong, by accident or on purpose: each is refused in a documented way, and changes nothing."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from typing import Any

import pytest

from tests.support.server import API, Answer, Http, ServerProcess, exchange, form, sha256


@pytest.mark.parametrize(
    "size",
    [-1, "-1", True, False, 1.5, "1e9", "٣", "0x10", "", " 10", "1_000", [], {}, None, 2**62, 2**63, 10**30, "9" * 30],
    ids=repr,
)
def test_what_is_no_size(http: Http, size: Any) -> None:
    answer = http("POST", f"{API}uploads/", {"size": size})
    assert answer.problem == (400, "bad-size")
    assert answer.json["size"] == [answer.json["detail"]]


def test_size_is_required(http: Http) -> None:
    answer = http("POST", f"{API}uploads/", {})
    assert answer.problem == (400, "bad-body")
    assert answer.json["size"] == ["This field is required."]


@pytest.mark.files_only("an object store does not tell how much it holds, and nothing is reserved there")
def test_more_than_the_disk_holds(http: Http) -> None:
    free = http("GET", f"{API}status/").json["storage"]["free"]
    assert http("POST", f"{API}uploads/", {"size": 2**61}).problem == (507, "out-of-space")
    assert http("GET", f"{API}status/").json["storage"]["free"] > free / 2


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"1",
        b"\xff",
        b'{"size": NaN}',
        b"[" * 60_000,
        b'{"size": 1, "filename": "\\ud800"}',
        b"{" + b" " * 70_000 + b"}",
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_is_no_json(http: Http, content: bytes) -> None:
    answer = http("POST", f"{API}uploads/", content, Content_Type="application/json")
    assert answer.status == 400
    assert answer.problem[1] in {"bad-body", "bad-size"}


@pytest.mark.parametrize(
    "member, value",
    [
        ("filename", "x" * 1025),
        ("filename", "a\0b"),
        ("filename", 7),
        ("media_type", "no type"),
        ("media_type", "text/plain\r\nX: y"),
        ("sha256", "abc"),
        ("sha256", "g" * 64),
        ("sha256", 5),
    ],
)
def test_wrong_members_of_a_new_upload(http: Http, member: str, value: object) -> None:
    answer = http("POST", f"{API}uploads/", {"size": 1, member: value})
    assert answer.status == 400
    assert answer.json[member] == [answer.json["detail"]]


@pytest.mark.parametrize(
    "field",
    [
        "bytes 0-9",
        "bytes */10",
        "bytes 5-4/10",
        "bytes 0-9/11",
        "bytes 1-10/10",
        "bytes 0-9/9",
        "bytes -1-9/10",
        "bytes 0-9/10, bytes 0-9/10",
        "items 0-9/10",
        "bytes 0-9/ten",
        "bytes 99999999999999999999-99999999999999999999/*",
        "bytes 10-19/*",
        "0-9/10",
        "",
    ],
)
def test_unusable_content_ranges(http: Http, field: str) -> None:
    href = http.create(10)
    answer = http("PUT", href, b"0123456789", Content_Range=field)
    assert answer.problem == (400, "bad-content-range")
    assert answer.json["field"] == "Content-Range"
    assert http("GET", href).json["chunks"] == []


def test_content_range_missing_or_twice(server: ServerProcess, http: Http) -> None:
    href = http.create(10)
    assert http("PUT", href, b"0123456789").problem == (400, "bad-content-range")
    head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/10\r\n"
    answer = exchange(server.port, (head + "Content-Range: bytes 0-9/10\r\n\r\n0123456789").encode())
    assert b"bad-content-range" in answer


@pytest.mark.parametrize("length", [0, 1, 9, 11, 200_000])
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "form"])
def test_bodies_that_do_not_fill_their_range(http: Http, length: int, raw: bool) -> None:
    href = http.create(10)
    content, kind = (b"x" * length, "application/octet-stream") if raw else form(b"x" * length)
    answer = http("PUT", href, content, Content_Type=kind, Content_Range="bytes 0-9/10")
    assert answer.problem == (400, "body-size-mismatch")
    shown = http("GET", href).json
    assert (shown["chunks"], shown["received"]) == ([], 0)


def test_chunked_bodies(http: Http) -> None:
    href = http.create(10)
    span = "bytes 0-9/10"
    for pieces in ([b"123"], [b"12345", b"123456"], []):
        answer = http("PUT", href, iter(pieces), Content_Range=span)
        assert answer.problem == (400, "body-size-mismatch")
    answer = http("PUT", href, iter([b"01234", b"56789"]), Content_Range=span)
    assert (answer.status, answer.json["received"]) == (200, 10)


def test_wrong_chunk_digests(http: Http) -> None:
    href, data = http.create(10), b"0123456789"
    other = "sha-256=:" + "A" * 43 + "=:"
    assert http.put(href, 0, data, Content_Digest=other).problem == (400, "chunk-digest-mismatch")
    assert http.put_form(href, 0, data, sha256="0" * 64).problem == (400, "chunk-digest-mismatch")
    assert http.put_form(href, 0, data, sha256="0" * 63).problem == (400, "bad-digest")
    for field in ("sha-256=abc", "sha-256=:YWJj:", "((", "sha-256"):
        assert http.put(href, 0, data, Content_Digest=field).problem == (400, "bad-digest")
    assert http("GET", href).json["chunks"] == []
    assert http.put(href, 0, data, Content_Digest="unixsum=:YWJj:").status == 200


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "form"])
def test_chunks_with_a_sha512(http: Http, raw: bool) -> None:
    data = b"0123456789"
    right, wrong = (base64.b64encode(hashlib.sha512(each).digest()).decode() for each in (data, b"another"))
    content, kind = (data, "application/octet-stream") if raw else form(data)

    def put(href: str, field: str) -> Answer:
        return http("PUT", href, content, Content_Range="bytes 0-9/10", Content_Type=kind, Content_Digest=field)

    href = http.create(10)
    refused = put(href, f"sha-512=:{wrong}:")
    assert refused.problem == (400, "chunk-digest-mismatch")
    assert hashlib.sha512(data).hexdigest() in refused.json["detail"]
    sha = base64.b64encode(bytes.fromhex(sha256(data))).decode()
    assert put(href, f"sha-256=:{sha}:, sha-512=:{wrong}:").problem == (400, "chunk-digest-mismatch")
    for field in ("sha-512=:YWJj:", "sha-512=1", "sha-512"):
        assert put(href, field).problem == (400, "bad-digest")
    assert http("GET", href).json["chunks"] == []
    assert put(href, f"unixsum=:AA==:, sha-512=:{right}:, sha-256=:{sha}:").status == 200
    assert http.commit(href, data).status == 200


def test_two_digests_that_disagree(http: Http) -> None:
    href, data = http.create(10), b"0123456789"
    content, kind = form(data, sha256=sha256(data))
    digest = "sha-256=:" + "A" * 43 + "=:"
    answer = http("PUT", href, content, Content_Type=kind, Content_Range="bytes 0-9/10", Content_Digest=digest)
    assert answer.problem == (400, "bad-digest")
    assert http("GET", href).json["chunks"] == []


def test_a_wrong_replacement_leaves_the_range_missing_or_as_it_was(http: Http) -> None:
    href, data = http.create(10), b"0123456789"
    http.put(href, 0, data)
    assert http.put_form(href, 0, b"x" * 10, sha256=sha256(data)).problem == (400, "chunk-digest-mismatch")
    # In a file it was overwritten, and is missing; an object stays until another takes its place.
    if http("GET", href).json["missing"] != [{"offset": 0, "size": 10}]:
        assert http.commit(href, data).status == 200


@pytest.mark.parametrize("span", [(0, 9), (5, 10), (1, 3), (0, 20)])
def test_partial_overlap_names_the_chunks(http: Http, span: tuple[int, int]) -> None:
    href = http.create(20)
    http.put(href, 0, b"0123456789")
    answer = http.put(href, span[0], b"x" * span[1])
    assert answer.problem == (409, "chunk-overlap")
    assert (answer.json["chunks"], answer.json["count"]) == ([{"offset": 0, "size": 10}], 1)


def test_commit_with_missing_ranges(http: Http) -> None:
    href = http.create(30)
    http.put(href, 10, b"0123456789")
    for method, path in (("PUT", "commit"), ("POST", "commit/")):
        answer = http(method, href + path, {"sha256": "0" * 64})
        assert answer.problem == (409, "incomplete-upload")
        assert answer.json["missing"] == [{"offset": 0, "size": 10}, {"offset": 20, "size": 10}]
        assert answer.json["count"] == 2
    assert http("GET", href).json["state"] == "open"


def test_commit_with_a_wrong_digest_leaves_the_upload_open(http: Http) -> None:
    data = os.urandom(1000)
    href = http.create(len(data))
    http.put(href, 0, data[:500])
    http.put(href, 500, data[500:])
    answer = http("PUT", f"{href}commit", {"sha256": "0" * 64})
    assert answer.problem == (400, "artifact-digest-mismatch")
    assert (answer.json["expected"], answer.json["actual"]) == ("0" * 64, sha256(data))
    assert "digests=true" in answer.json["detail"]
    task = http.ended(http("POST", f"{href}commit/", {"sha256": "1" * 64}).json["task"])
    assert task["state"] == "failed"
    assert sha256(data) in task["error"]["description"]
    assert http("GET", href).json["state"] == "open"
    assert http.commit(href, data).status == 200
    assert http("PUT", f"{href}commit", {"sha256": "0" * 64}).problem == (400, "artifact-digest-mismatch")


def test_chunks_after_the_commit(http: Http) -> None:
    upload = http.store(b"0123456789")
    answer = http.put(upload["pulp_href"], 0, b"0123456789")
    assert answer.problem == (409, "wrong-state")
    assert answer.json["state"] == "completed"


@pytest.mark.parametrize("id_", ["6f1a3c52-8d0e-4b7f-9a46-2e5b1c0d7f38", "x", "..%2f..", "%00", "%ff", "a" * 3000])
def test_what_does_not_exist(http: Http, id_: str) -> None:
    upload = f"{API}uploads/{id_}/"
    calls = [
        http("GET", upload),
        http("DELETE", upload),
        http.put(upload, 0, b"0123456789"),
        http.commit(upload, b""),
        http("POST", f"{upload}commit/", {"sha256": sha256(b"")}),
        http("GET", f"{API}artifacts/{id_}/"),
        http("GET", f"{API}artifacts/{id_}/download/"),
        http("DELETE", f"{API}artifacts/{id_}/"),
        http("GET", f"{API}tasks/{id_}/"),
    ]
    assert {answer.problem[0] for answer in calls} == {404}


def test_artifact_of_what_is_no_completed_upload(http: Http) -> None:
    assert http("POST", f"{API}artifacts/", {"upload": http.create(5)}).problem == (409, "wrong-state")
    for wrong in ("/etc/passwd", "", "../uploads/x", "x" * 500):
        assert http("POST", f"{API}artifacts/", {"upload": wrong}).problem == (404, "not-found")
    assert http("POST", f"{API}artifacts/", {}).problem == (400, "bad-body")
    content, kind = form(b"x", name="other")
    assert http("POST", f"{API}artifacts/", content, Content_Type=kind).problem == (400, "bad-body")
    upload = http.store(b"abc")
    wish = {"upload": upload["pulp_href"], "sha256": "0" * 64}
    assert http("POST", f"{API}artifacts/", wish).problem == (400, "artifact-digest-mismatch")


def test_a_file_without_a_length(http: Http) -> None:
    content, kind = form(b"x")
    answer = http("POST", f"{API}artifacts/", iter([content]), Content_Type=kind)
    assert answer.problem == (411, "length-required")


def test_encoded_bodies(http: Http) -> None:
    href = http.create(10)
    answer = http.put(href, 0, b"0123456789", Content_Encoding="gzip")
    assert answer.problem == (415, "unsupported-media-type")
    created = http("POST", f"{API}uploads/", {"size": 1}, Content_Encoding="gzip")
    assert created.problem == (415, "unsupported-media-type")


def test_wrong_paths_and_methods(http: Http) -> None:
    assert http("GET", "/nothing").problem == (404, "no-such-path")
    assert http("GET", f"{API}nothing/").problem == (404, "no-such-path")
    answer = http("PATCH", http.create(1))
    assert answer.problem == (405, "method-not-allowed")
    assert {"GET", "PUT", "DELETE"} <= {method.strip() for method in answer.headers["Allow"].split(",")}


@pytest.mark.parametrize("query", ["offset=-1", "limit=x", "offset=" + "9" * 40, "limit=1.5"])
def test_unreadable_pages(http: Http, query: str) -> None:
    for kind in ("uploads", "artifacts", "tasks"):
        assert http("GET", f"{API}{kind}/?{query}").problem == (400, "bad-request")


def test_expect_is_refused_before_the_body_moves(server: ServerProcess, http: Http) -> None:
    href = http.create(10)
    head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 10\r\n"
    refused = exchange(server.port, f"{head}Content-Range: bytes 5-14/15\r\n\r\n".encode())
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert b"100 Continue" not in refused
    assert b"bad-content-range" in refused


def test_expect_is_answered_when_the_body_is_wanted(server: ServerProcess, http: Http) -> None:
    href = http.create(10)
    head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 10\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(f"{head}Content-Range: bytes 0-9/10\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"0123456789")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("size", [10, 200_000])
def test_old_clients_get_no_interim_answer(server: ServerProcess, http: Http, size: int) -> None:
    href = http.create(size)
    head = f"PUT {href} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {size}\r\nExpect: 100-continue\r\n"
    answer = exchange(server.port, f"{head}Content-Range: bytes 0-{size - 1}/{size}\r\n\r\n".encode() + b"x" * size)
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_an_early_refusal_reaches_a_client_that_goes_on_sending(server: ServerProcess, http: Http) -> None:
    href = http.create(10)
    size = 32 << 20
    answer = http("PUT", href, bytes(size), Content_Range=f"bytes 0-{size - 1}/{size}")
    assert answer.problem == (400, "bad-content-range")
    assert answer.headers["Connection"] == "close"
    assert http("GET", href).status == 200


def test_a_cut_body_leaves_the_range_missing(server: ServerProcess, http: Http) -> None:
    href = http.create(1_000_000)
    for content_type in ("application/octet-stream", "multipart/form-data; boundary=B"):
        head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nContent-Type: {content_type}\r\n"
        part = '--B\r\nContent-Disposition: form-data; name="file"\r\n\r\n' if "form" in content_type else ""
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(f"{head}Content-Range: bytes 0-999999/1000000\r\n\r\n{part}".encode() + bytes(300_000))
    # The dead request holds its range for a moment; the newer one takes it over.
    data = os.urandom(1_000_000)
    assert http("GET", href).json["chunks"] == []
    assert http.put(href, 0, data).status == 200
    assert http.commit(href, data).status == 200


def test_length_and_chunked_encoding_at_once(server: ServerProcess, http: Http) -> None:
    href = http.create(10)
    head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n"
    answer = exchange(server.port, f"{head}Content-Range: bytes 0-9/10\r\n\r\na\r\n0123456789\r\n0\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_delete_while_a_chunk_is_in_flight(server: ServerProcess, http: Http) -> None:
    href = http.create(1000)
    head = f"PUT {href} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nContent-Range: bytes 0-999/1000\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")  # the server waits for the body
        connection.sendall(bytes(500))
        assert http("DELETE", href).status == 204
        connection.sendall(bytes(500))
        status = connection.recv(1000).split(b" ")[1]
        assert status in {b"404", b"409"}
    assert http("GET", href).problem == (404, "not-found")
