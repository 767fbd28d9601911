"""drf-chunked-upload's clients: what they send, in their order and beside it, and what fails for them elsewhere."""

from __future__ import annotations

import hashlib
import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import API, Answer, Http, ServerProcess, form, sha256
from tests.support.tokens import make_token

DATA = random.Random(7).randbytes(1_000_003)
CHUNK = 300_000
OFFSETS = range(0, len(DATA), CHUNK)


def md5(data: bytes, name: str = "md5") -> str:
    return hashlib.new(name, data, usedforsecurity=False).hexdigest()


class Drf:
    """A client on one connection, as the package's README writes one with requests."""

    def __init__(self, http: Http, **headers: str) -> None:
        self.http, self.headers = http, headers

    def put(self, path: str, offset: int, data: bytes, total: int | str = len(DATA), **fields: str) -> Answer:
        fields.setdefault("filename", "disk.img")
        content, kind = form(data, **fields)
        span = f"bytes {offset}-{offset + len(data) - 1}/{total}"
        return self.http("PUT", path, content, Content_Type=kind, Content_Range=span, **self.headers)

    def begin(self, data: bytes = DATA[:CHUNK], **fields: str) -> str:
        answer = self.put("/drf/", 0, data, **fields)
        assert answer.status == 200, answer.body
        return f"/drf/{answer.json['id']}/"

    def chunk(self, path: str, offset: int) -> Answer:
        return self.put(path, offset, DATA[offset : offset + CHUNK])

    def complete(self, path: str, **fields: str) -> Answer:
        return self.http("POST", path, fields or {"md5": md5(DATA)}, **self.headers)

    def get(self, path: str) -> Answer:
        return self.http("GET", path, **self.headers)


@pytest.fixture(scope="module")
def drf_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("drf"), dialects="pulp,drf") as server:
        yield server


@pytest.fixture
def http(drf_server: ServerProcess) -> Iterator[Http]:
    with Http(drf_server.port) as connection:
        yield connection


@pytest.fixture
def drf(http: Http) -> Drf:
    return Drf(http)


def content_of(http: Http, record: dict[str, Any], **headers: str) -> bytes:
    path = record["file"].partition("//")[2].partition("/")[2]
    return http("GET", f"/{path}", **headers).body


def test_one_chunk_behind_the_other(drf: Drf, drf_server: ServerProcess) -> None:
    path, answer = "/drf/", None
    for offset in OFFSETS:
        answer = drf.chunk(path, offset)
        assert answer.status == 200, answer.body
        record = answer.json
        assert record["offset"] == min(offset + CHUNK, len(DATA))
        assert (record["status"], record["completed_at"], record["file"]) == (1, None, None)
        assert record["url"] == f"{drf_server.url}/drf/{record['id']}/"
        path = record["url"].removeprefix(drf_server.url)
    done = drf.complete(path)
    assert done.status == 200
    assert (done.json["status"], done.json["offset"], done.json["filename"]) == (2, len(DATA), "disk.img")
    assert content_of(drf.http, done.json) == DATA
    assert drf.complete(path).json == done.json, "a repeat after a lost answer"
    assert drf.get(path).json == done.json
    assert done.json["id"] in [each["id"] for each in drf.get("/drf/").json]


def test_chunks_in_any_order_at_once_and_again(drf_server: ServerProcess, drf: Drf) -> None:
    path = drf.begin()
    offsets = [offset for offset in OFFSETS if offset] * 3
    random.Random(1).shuffle(offsets)

    def send(offset: int) -> int:
        with Http(drf_server.port) as connection:
            while (answer := Drf(connection).chunk(path, offset)).status != 200:
                # A twin of it is being received: its client tries again, from where it is told.
                assert (answer.status, answer.json["detail"]) == (400, "Offsets do not match")
            return answer.status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(send, offsets)) == {200}
    done = drf.complete(path)
    assert done.status == 200, done.body
    assert content_of(drf.http, done.json) == DATA


def test_the_same_first_chunk_four_times_at_once(drf_server: ServerProcess, http: Http) -> None:
    """Each is an upload of its own; one that is given up expires. Elsewhere none of the files could be completed."""

    def begin(_number: int) -> str:
        with Http(drf_server.port) as connection:
            return Drf(connection).begin(DATA)

    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(begin, range(4)))
    assert len(set(paths)) == 4
    for path in paths:
        assert Drf(http).complete(path).status == 200


def test_completed_four_times_at_once(drf_server: ServerProcess, drf: Drf) -> None:
    """One of them moves the bytes away while the others read them."""
    path = drf.begin(DATA)

    def complete(_number: int) -> Answer:
        with Http(drf_server.port) as connection:
            return Drf(connection).complete(path)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(complete, range(4)))
    assert [answer.status for answer in answers] == [200] * 4, [answer.body for answer in answers]
    assert len({answer.json["file"] for answer in answers}) == 1


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_checksums_of_other_algorithms_in_any_case(drf: Drf, name: str) -> None:
    path = drf.begin(DATA)
    assert drf.complete(path, **{name: md5(DATA[1:], name)}).json["detail"] == "checksum does not match"
    assert drf.get(path).json["status"] == 1, "it stays open"
    assert drf.complete(path, **{name: md5(DATA, name).upper()}).status == 200


def test_what_is_not_whole_never_completes(drf: Drf) -> None:
    path = drf.begin()
    answer = drf.complete(path, md5=md5(DATA[:CHUNK]))
    assert answer.status == 400
    assert answer.json["detail"].startswith("checksum does not match")
    assert answer.json["missing"] == [{"offset": CHUNK, "size": len(DATA) - CHUNK}]


def test_refusals(drf: Drf, http: Http) -> None:
    answer = drf.put("/drf/", 5, b"12345", total=10)
    assert (answer.status, answer.json) == (
        400,
        {"detail": "Offsets do not match", "expected_offset": 0, "provided_offset": 5},
    )
    path = drf.begin()
    overlap = drf.put(path, CHUNK - 1, b"12")
    assert (overlap.status, overlap.json["expected_offset"], overlap.json["provided_offset"]) == (400, CHUNK, CHUNK - 1)
    assert drf.put(path, CHUNK, b"1", total=len(DATA) + 1).status == 400
    assert drf.put(path, CHUNK, b"1", total="*").status == 400
    assert drf.put("/drf/", 0, b"1", total=1, filename="").json["field"] == "filename"
    assert drf.put("/drf/", 0, b"1", total=1, filename="x" * 256).status == 400
    assert drf.complete(path, crc32="1").json["detail"].startswith("Checksum of type 'md5' is required")
    assert http("PUT", path, b"raw", Content_Range="bytes 0-2/3").status == 415
    assert http("DELETE", path).json == {"detail": 'Method "DELETE" not allowed.'}
    assert http("PATCH", "/drf/").status == 405
    assert drf.get("/drf/00000000-0000-0000-0000-000000000000/").status == 404
    assert drf.get("/drf/nonsense").status == 404
    empty = http("POST", "/drf/", b"", Content_Type="multipart/form-data; boundary=b")
    assert (empty.status, empty.json["detail"]) == (400, "The submitted file is empty.")


def whole(http: Http, data: bytes, **fields: str) -> Answer:
    content, kind = form(data, **fields)
    return http("POST", "/drf/", content, Content_Type=kind)


def test_a_file_in_one_request(http: Http) -> None:
    before = http.uploads()
    done = whole(http, DATA, filename="a.bin", md5=md5(DATA))
    assert (done.status, done.json["status"], done.json["filename"]) == (200, 2, "a.bin")
    assert content_of(http, done.json) == DATA
    assert whole(http, DATA, filename="a.bin", md5=md5(b"")).json["detail"] == "checksum does not match"
    assert whole(http, DATA, filename="a.bin").status == 400
    assert whole(http, b"", filename="a.bin", md5=md5(b"")).json["detail"] == "The submitted file is empty."
    assert whole(http, DATA, md5=md5(DATA)).json["field"] == "filename"
    assert len(http.uploads(100) - before) == 1, "what was refused leaves nothing behind"


def test_the_file_is_given_where_no_other_protocol_is_on(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, dialects="drf", auth="token") as server, Http(server.port) as http:
        hers, his = (Drf(http, Authorization=f"Token {make_token(server, name)}") for name in ("alice", "bob"))
        writer = f"Token {make_token(server, 'ci', '--user', 'alice', '--scope', 'upload')}"
        record = hers.complete(hers.begin(DATA)).json
        path = record["file"].removeprefix(server.url)
        assert hers.get(path).body == hers.get(path.rstrip("/")).body == DATA
        part = http("GET", path, Range="bytes=5-9", **hers.headers)
        assert (part.status, part.body) == (206, DATA[5:10])
        assert his.get(path).status == 404
        assert http("GET", path).status == 401
        assert http("GET", path, Authorization=writer).status == 403


def test_owners(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, dialects="drf,pulp", auth="token", quota=2_500_000) as server:
        alice, bob = (f"Token {make_token(server, name)}" for name in ("alice", "bob"))
        with Http(server.port) as http:
            assert Drf(http).get("/drf/").status == 401
            assert (
                Drf(http, Authorization="Token wrong")
                .get("/drf/")
                .json["detail"]
                .startswith("Invalid or revoked token")
            )
            hers, his = Drf(http, Authorization=alice), Drf(http, Authorization=bob)
            path = hers.begin()
            assert his.get(path).status == 404
            assert his.chunk(path, CHUNK).status == 404
            assert his.complete(path).status == 404
            assert his.get("/drf/").json == []
            for offset in OFFSETS[1:]:
                assert hers.chunk(path, offset).status == 200
            done = hers.complete(path).json
            assert done["user"] == "alice"
            assert content_of(http, done, Authorization=alice) == DATA
            assert hers.put("/drf/", 0, b"1", total=2_000_000).status == 413


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle_of_a_chunk(tmp_path: Path, workers: int) -> None:
    """What was acknowledged is kept; elsewhere record and file differ from then on."""
    with ServerProcess(tmp_path, dialects="drf,pulp", workers=workers) as server:
        with Http(server.port) as http:
            path = Drf(http).begin()
        with Http(server.port) as http, suppress(OSError, HTTPException):
            content, kind = form(DATA[CHUNK:], filename="x")

            def half() -> Iterator[bytes]:
                yield content[: len(content) // 2]
                os.kill(server.pid, signal.SIGKILL)
                yield content[len(content) // 2 :]

            span = f"bytes {CHUNK}-{len(DATA) - 1}/{len(DATA)}"
            fields = {"Content_Type": kind, "Content_Range": span, "Content_Length": str(len(content))}
            http("PUT", path, half(), **fields)
        server.kill()
        server.start()
        with Http(server.port) as http:
            drf = Drf(http)
            # With two workers the parent was killed, and its worker may have received the rest.
            assert drf.get(path).json["offset"] in ((CHUNK,) if workers == 1 else (CHUNK, len(DATA)))
            assert drf.put(path, CHUNK, DATA[CHUNK:]).json["offset"] == len(DATA)
            done = drf.complete(path)
            assert done.status == 200
            assert content_of(http, done.json) == DATA
            (artifact,) = http("GET", f"{API}artifacts/").json["results"]
            assert (artifact["md5"], artifact["sha1"]) == (md5(DATA), None)


def test_begun_here_and_seen_there(drf: Drf, http: Http) -> None:
    path = drf.begin()
    href = f"{API}uploads/{path.split('/')[2]}/"
    shown = http("GET", href).json
    assert (shown["size"], shown["received"], shown["filename"]) == (len(DATA), CHUNK, "disk.img")
    assert http.put(href, CHUNK, DATA[CHUNK:], len(DATA)).status == 200
    assert drf.complete(path).status == 200
    assert http("GET", href).json["sha256"] == sha256(DATA)
