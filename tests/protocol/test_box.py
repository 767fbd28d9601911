"""Box's API as its SDKs use it: sessions, parts in any order, uploads of one request, files, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.proxy import Proxy
from tests.support.server import API, Answer, Http, ServerProcess, sha256
from tests.support.tokens import make_token
from tests.support.until import wait_until

DATA = random.Random(11).randbytes(900_001)
PART = 262_144
OFFSETS = range(0, len(DATA), PART)
BOX = "/box/2.0"


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def digest(data: bytes, name: str = "sha") -> str:
    return f"{name}={base64.b64encode(hashlib.sha1(data).digest()).decode()}"


class Box:
    """A client on one connection."""

    def __init__(self, http: Http, **headers: str) -> None:
        self.http, self.headers = http, headers

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return self.http(method, path, body, **headers, **self.headers)

    def session(self, size: int = len(DATA), name: str = "disk.img") -> dict[str, Any]:
        members = {"folder_id": "0", "file_size": size, "file_name": name}
        answer = self("POST", f"{BOX}/files/upload_sessions", members)
        assert answer.status == 201, answer.body
        return dict(answer.json)

    def begin(self, size: int = len(DATA)) -> str:
        return f"{BOX}/files/upload_sessions/{self.session(size)['id']}"

    def part(
        self, path: str, offset: int, data: bytes | None = None, *, headers: dict[str, str] | None = None
    ) -> Answer:
        data = DATA[offset : offset + PART] if data is None else data
        span = f"bytes {offset}-{offset + len(data) - 1}/{len(DATA)}"
        fields = {"Digest": digest(data), "Content_Range": span, "Content_Type": "application/octet-stream"} | (
            headers or {}
        )
        return self("PUT", path, data, **fields)

    def parts(self, path: str) -> None:
        for offset in OFFSETS:
            assert self.part(path, offset).status == 200

    def commit(self, path: str, data: bytes = DATA, **headers: str) -> Answer:
        return self("POST", f"{path}/commit", {"parts": []}, Digest=digest(data), **headers)


@pytest.fixture(scope="module")
def box_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("box"), dialects="pulp,box", chunk_size=PART) as server:
        yield server


@pytest.fixture
def http(box_server: ServerProcess) -> Iterator[Http]:
    with Http(box_server.port) as connection:
        yield connection


@pytest.fixture
def box(http: Http) -> Box:
    return Box(http)


def content_of(box: Box, file: dict[str, Any]) -> bytes:
    """The bytes of a file, as the SDKs get them: behind a redirect."""
    answer = box("GET", f"{BOX}/files/{file['id']}/content")
    assert answer.status == 302
    path = answer.headers["Location"].partition("//")[2].partition("/")[2]
    return box("GET", f"/{path}").body


def test_a_session(box: Box, box_server: ServerProcess) -> None:
    session = box.session()
    assert (session["part_size"], session["total_parts"], session["num_parts_processed"]) == (PART, len(OFFSETS), 0)
    assert (
        session["session_endpoints"]["commit"] == f"{box_server.url}{BOX}/files/upload_sessions/{session['id']}/commit"
    )
    path = f"{BOX}/files/upload_sessions/{session['id']}"
    for offset in reversed(OFFSETS):
        data = DATA[offset : offset + PART]
        part = box.part(path, offset).json["part"]
        assert (part["offset"], part["size"], part["sha1"]) == (offset, len(data), sha1(data))
        assert box.part(path, offset, headers={"Digest": digest(data, "SHA")}).json["part"] == part, "the same again"
    assert box("GET", path).json["num_parts_processed"] == len(OFFSETS)
    page = box("GET", f"{path}/parts?offset=1&limit=2").json
    assert [entry["offset"] for entry in page["entries"]] == [PART, 2 * PART]
    assert (page["offset"], page["limit"], page["total_count"]) == (1, 2, len(OFFSETS))
    done = box.commit(path)
    assert done.status == 201, done.body
    (file,) = done.json["entries"]
    assert (file["name"], file["size"], file["sha1"], file["etag"]) == ("disk.img", len(DATA), sha1(DATA), sha256(DATA))
    assert content_of(box, file) == DATA
    again = box.commit(path)
    assert (again.status, again.json) == (201, done.json), "a repeat after a lost answer"
    shown = box("GET", f"{BOX}/files/{file['id']}").json
    assert shown == file
    assert file["id"] in [each["id"] for each in box("GET", f"{BOX}/folders/0/items").json["entries"]]


def test_parts_of_no_announced_length(box: Box) -> None:
    """As the SDK for Node.js sends them."""
    path = box.begin()
    for offset in OFFSETS:
        data = DATA[offset : offset + PART]
        span = f"bytes {offset}-{offset + len(data) - 1}/{len(DATA)}"
        answer = box("PUT", path, iter([data[:1000], data[1000:]]), Digest=digest(data), Content_Range=span)
        assert answer.status == 200, answer.body
    assert box.commit(path).status == 201


def test_the_same_part_four_times_at_once(box_server: ServerProcess, box: Box) -> None:
    path = box.begin()

    def send(offset: int) -> int:
        with Http(box_server.port) as connection:
            while (answer := Box(connection).part(path, offset)).status == 503:
                assert answer.headers["Retry-After"], "SDKs send it again by themselves"
            return answer.status

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(send, [offset for offset in OFFSETS for _ in range(4)])) == {200}
    assert box("GET", path).json["num_parts_processed"] == len(OFFSETS)
    assert box.commit(path).status == 201


def test_commits_at_once(box_server: ServerProcess, box: Box) -> None:
    path = box.begin()
    box.parts(path)

    def commit(_number: int) -> Answer:
        with Http(box_server.port) as connection:
            return Box(connection).commit(path)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(commit, range(4)))
    assert [answer.status for answer in answers] == [201] * 4, [answer.body for answer in answers]
    assert len({answer.json["entries"][0]["id"] for answer in answers}) == 1


def test_damaged_bytes_are_refused(box: Box) -> None:
    path = box.begin()
    answer = box.part(path, 0, headers={"Digest": digest(b"other")})
    assert (answer.status, answer.json["code"]) == (412, "precondition_failed")
    assert box("GET", path).json["num_parts_processed"] == 0
    box.parts(path)
    wrong = box.commit(path, b"other")
    assert (wrong.status, wrong.json["code"]) == (412, "precondition_failed")
    assert box.commit(path).status == 201, "the session is as before"


def test_a_commit_with_bytes_missing(box: Box) -> None:
    path = box.begin()
    assert box.part(path, PART).status == 200
    answer = box.commit(path)
    assert (answer.status, answer.json["code"]) == (400, "bad_request")
    assert answer.json["context_info"]["missing"] == [
        {"offset": 0, "size": PART},
        {"offset": 2 * PART, "size": len(DATA) - 2 * PART},
    ]


def test_aborted(box: Box) -> None:
    path = box.begin()
    assert box.part(path, 0).status == 200
    assert box("DELETE", path).status == 204
    for answer in (box("GET", path), box.part(path, 0), box.commit(path), box("DELETE", path)):
        assert (answer.status, answer.json["code"], answer.json["type"]) == (404, "not_found", "error")


def test_an_empty_file(box: Box) -> None:
    session = box.session(0)
    assert session["total_parts"] == 0
    done = box.commit(f"{BOX}/files/upload_sessions/{session['id']}", b"")
    assert done.json["entries"][0]["sha1"] == sha1(b"")


def test_sessions_of_many_parts_have_larger_ones(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, dialects="box", chunk_size=1000, min_free=0) as server, Http(server.port) as http:
        session = Box(http).session(25_000_000)
        assert (session["part_size"], session["total_parts"]) == (4000, 6250)


@pytest.mark.parametrize(
    "members, field",
    [
        ({}, "file_size"),
        ({"file_size": "many", "file_name": "a", "folder_id": "0"}, "file_size"),
        ({"file_size": -1, "file_name": "a", "folder_id": "0"}, "file_size"),
        ({"file_size": 1, "folder_id": "0"}, "file_name"),
        ({"file_size": 1, "file_name": "", "folder_id": "0"}, "file_name"),
        ({"file_size": 1, "file_name": "a"}, "folder_id"),
    ],
)
def test_sessions_that_are_refused(box: Box, members: dict[str, Any], field: str) -> None:
    answer = box("POST", f"{BOX}/files/upload_sessions", members)
    assert (answer.status, answer.json["context_info"]["field"]) == (400, field)


def test_what_box_has_and_this_has_not(box: Box) -> None:
    members = {"folder_id": "17", "file_size": 1, "file_name": "a"}
    assert box("POST", f"{BOX}/files/upload_sessions", members).status == 404
    assert box("GET", f"{BOX}/folders/17").status == 404
    for method, path in (("POST", "upload_sessions"), ("POST", "content"), ("OPTIONS", "content")):
        answer = box(method, f"{BOX}/files/5/{path}", {"file_size": 1})
        assert (answer.status, answer.json["code"]) == (403, "access_denied_insufficient_permissions")
    assert box("GET", f"{BOX}/collections").status == 404
    assert box("PATCH", f"{BOX}/users/me").json["code"] == "method_not_allowed"
    assert box("GET", f"{BOX}/files/00").status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Digest": ""},
        {"Digest": "md5=AAAA"},
        {"Content_Range": "bytes 0-9/*"},
        {"Content_Range": f"bytes 0-9/{len(DATA) + 1}"},
        {"Content_Range": f"bytes 0-9/{len(DATA)}"},
        {"Content_Range": "nonsense"},
    ],
)
def test_parts_that_are_refused(box: Box, headers: dict[str, str]) -> None:
    path = box.begin()
    assert box.part(path, 0, headers=headers).status == 400
    assert box("GET", path).json["num_parts_processed"] == 0


def test_a_part_that_overlaps_another(box: Box) -> None:
    path = box.begin()
    assert box.part(path, 0).status == 200
    assert (box.part(path, 1, b"xyz").status, box.part(path, 1, b"xyz").json["code"]) == (409, "conflict")


def test_a_list_of_parts_beyond_all_measure(box: Box) -> None:
    path = box.begin()
    answer = box("POST", f"{path}/commit", b" " * ((4 << 20) + 1), Digest=digest(DATA))
    assert answer.status == 400
    box.parts(path)
    long = json.dumps({"parts": [{"part_id": "0" * 8, "offset": 0, "size": 1, "sha1": "0" * 40}] * 10_000})
    assert box("POST", f"{path}/commit", long.encode(), Digest=digest(DATA)).status == 201


def whole(box: Box, data: bytes, attributes: object, part: str = "file", filename: str = "", **headers: str) -> Answer:
    text = attributes if isinstance(attributes, str) else json.dumps(attributes)
    content = (
        f'--b\r\nContent-Disposition: form-data; name="attributes"\r\n\r\n{text}\r\n'
        f'--b\r\nContent-Disposition: form-data; name="{part}"; filename="{filename}"\r\n\r\n'
    ).encode()
    body = content + data + b"\r\n--b--\r\n"
    return box("POST", f"{BOX}/files/content", body, Content_Type="multipart/form-data; boundary=b", **headers)


HERE = {"name": "a.bin", "parent": {"id": "0"}, "content_created_at": None}


@pytest.mark.parametrize("part, filename", [("file", ""), ("file", "unused"), ("content", "x")])
def test_a_file_in_one_request(box: Box, part: str, filename: str) -> None:
    data = DATA + part.encode() + filename.encode()
    done = whole(box, data, HERE, part, filename, Content_MD5=sha1(data))
    assert done.status == 201, done.body
    (file,) = done.json["entries"]
    assert (file["name"], file["sha1"], file["size"]) == ("a.bin", sha1(data), len(data))
    assert content_of(box, file) == data


def test_a_file_in_one_request_of_no_announced_length(box: Box) -> None:
    head = f'--b\r\nContent-Disposition: form-data; name="attributes"\r\n\r\n{json.dumps(HERE)}\r\n'.encode()
    head += b'--b\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\n'
    body = iter([head, DATA[:500_000], DATA[500_000:], b"\r\n--b--\r\n"])
    done = box("POST", f"{BOX}/files/content", body, Content_Type="multipart/form-data; boundary=b")
    assert done.json["entries"][0]["sha1"] == sha1(DATA)


def test_files_in_one_request_that_are_refused(box: Box, http: Http) -> None:
    before = http.uploads()
    assert whole(box, DATA, HERE, Content_MD5=sha1(b"")).status == 412
    assert whole(box, DATA, HERE, Content_MD5="nonsense").status == 400
    assert whole(box, DATA, HERE | {"parent": {"id": "7"}}).status == 404
    assert whole(box, DATA, HERE | {"name": ""}).status == 400
    assert whole(box, DATA, "[]").status == 400
    assert whole(box, DATA, "{").status == 400
    assert whole(box, DATA, HERE, part="other").status == 400
    assert box("POST", f"{BOX}/files/content", b"raw").status == 415
    assert not http.uploads(100) - before, "nothing is left behind"


def test_files(box: Box) -> None:
    (file,) = whole(box, b"delete me", HERE | {"name": "Größe.txt"}).json["entries"]
    path = f"{BOX}/files/{file['id']}"
    assert box("GET", path).json == file
    assert file["sha1"] == sha1(b"delete me")
    assert box("GET", path).json["name"] == "Größe.txt"
    assert box("DELETE", path, If_Match="other").status == 412
    assert box("DELETE", path, If_Match=file["etag"]).status == 204
    for method in ("GET", "DELETE"):
        assert box(method, path).status == 404
    assert box("GET", f"{path}/content").status == 404
    folder = box("GET", f"{BOX}/folders/0").json
    assert (folder["type"], folder["id"]) == ("folder", "0")
    assert folder["item_collection"]["total_count"] == box("GET", f"{BOX}/folders/0/items?limit=1").json["total_count"]
    me = box("GET", f"{BOX}/users/me").json
    assert me["id"].isdecimal()
    assert me["name"] == "local"


def test_a_part_of_a_download(box: Box) -> None:
    (file,) = whole(box, DATA, HERE).json["entries"]
    answer = box("GET", f"/box/dl/{file['id']}", Range="bytes=5-9")
    assert (answer.status, answer.body) == (206, DATA[5:10])


def test_owners_tokens_and_limits(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"auth": "token", "quota": 2_000_000, "max_upload_size": 1_900_000}
    with ServerProcess(tmp_path, dialects="box", chunk_size=PART, **settings) as server, Http(server.port) as http:
        alice, bob = make_token(server, "alice"), make_token(server, "bob")
        nobody = Box(http)("GET", f"{BOX}/users/me")
        assert (nobody.status, nobody.json["code"]) == (401, "unauthorized")
        hers, his = (Box(http, Authorization=f"Bearer {token}") for token in (alice, bob))
        path = hers.begin()
        for answer in (
            his("GET", path),
            his.part(path, 0),
            his.commit(path),
            his("DELETE", path),
            his("GET", f"{path}/parts"),
        ):
            assert answer.status == 404
        hers.parts(path)
        (file,) = hers.commit(path).json["entries"]
        for method, rest in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            assert his(method, f"{BOX}/files/{file['id']}{rest}").status == 404
        assert his("GET", f"/box/dl/{file['id']}").status == 404
        assert his("GET", f"{BOX}/folders/0/items").json["total_count"] == 0
        assert hers("GET", f"{BOX}/users/me").json["login"] == "alice"

        def room(size: int) -> tuple[int, str | None]:
            answer = hers("OPTIONS", f"{BOX}/files/content", {"name": "a", "parent": {"id": "0"}, "size": size})
            return answer.status, answer.json.get("code")

        assert room(1_000_000) == (200, None)
        assert room(1_500_000) == room(1_950_000) == (403, "storage_limit_exceeded")
        too_large = hers(
            "POST", f"{BOX}/files/upload_sessions", {"folder_id": "0", "file_size": 1_500_000, "file_name": "a"}
        )
        assert (too_large.status, too_large.json["code"]) == (403, "storage_limit_exceeded")

        def sign_in(secret: str) -> Answer:
            fields = f"grant_type=client_credentials&client_id=x&client_secret={secret}"
            kind = "application/x-www-form-urlencoded"
            return http("POST", "/box/oauth2/token", fields.encode(), Content_Type=kind)

        assert sign_in(alice).json["access_token"] == alice
        assert sign_in("partwise_" + "x" * 40).status == sign_in("").status == 401
        assert http("GET", "/box/oauth2/token").status == 405


def test_below_a_path_behind_a_proxy(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"public_url": "https://files.example.org/up", "base_path": "/up", "min_free": 0}
    with ServerProcess(tmp_path, dialects="box", **settings) as server, Http(server.port) as http:
        session = Box(http).session(5)
        prefix = "https://files.example.org/up/box/2.0/files/upload_sessions/"
        assert session["session_endpoints"]["upload_part"] == prefix + session["id"]


def test_killed_in_the_middle_of_a_part(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, dialects="box", chunk_size=PART) as server:
        with Http(server.port) as http:
            path = Box(http).begin()
            assert Box(http).part(path, 0).status == 200
        data = DATA[PART : 2 * PART]
        head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\nDigest: {digest(data)}\r\n"
        span = f"Content-Range: bytes {PART}-{2 * PART - 1}/{len(DATA)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall((head + span).encode() + data[: PART // 2])
            server.kill()
        server.start()
        with Http(server.port) as http:
            box = Box(http)
            assert box("GET", path).json["num_parts_processed"] == 1
            box.parts(path)
            (file,) = box.commit(path).json["entries"]
            assert content_of(box, file) == DATA
            assert box("GET", f"{BOX}/files/{file['id']}").json["sha1"] == sha1(DATA)


def test_a_cut_line_and_a_lost_answer(box_server: ServerProcess, box: Box) -> None:
    path = box.begin()
    with Proxy(box_server.port) as proxy:
        proxy.hold_after(PART // 2)
        with Http(proxy.port) as http, ThreadPoolExecutor(1) as pool:
            sent = pool.submit(Box(http).part, path, 0)
            proxy.wait_until_held()
            proxy.cut()
            with pytest.raises(ConnectionError):
                sent.result()
        proxy.release()
    wait_until(lambda: box("GET", path).json["num_parts_processed"] == 0, "nothing of it is there")
    assert box.part(path, 0).status == 200
    # The answer to a whole part is lost: the client sends it again.
    assert box.part(path, 0).status == 200
    box.parts(path)
    assert box.commit(path).status == 201


def test_begun_here_and_seen_there(box: Box, http: Http) -> None:
    session = box.session()
    href = f"{API}uploads/{session['id']}/"
    path = f"{BOX}/files/upload_sessions/{session['id']}"
    assert box.part(path, 0).status == 200
    assert http("GET", href).json["received"] == PART
    assert http.put(href, PART, DATA[PART:], len(DATA)).status == 200
    assert box.commit(path).status == 201
    assert http("GET", href).json["sha256"] == sha256(DATA)
    there = http.create(len(DATA))
    seen = box("GET", f"{BOX}/files/upload_sessions/{there.split('/')[-2]}").json
    assert (seen["part_size"], seen["total_parts"]) == (PART, len(OFFSETS))
