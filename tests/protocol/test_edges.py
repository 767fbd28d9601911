"""The edges: methods that are meant, names in forms, odd files in the data folder, and what others may learn."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Scope

from partwise.http import downloads
from partwise.http.intake import ABORT
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token

BOUNDARY = "xyz"


# the method that is meant


@pytest.mark.parametrize("sent", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize("meant", ["DELETE", "PATCH", "delete"])
def test_another_sites_page_changes_nothing_by_an_override(http: Http, sent: str, meant: str) -> None:
    href = http.create(10)
    tus = f"/tus/{href.split('/')[-2]}"
    fields = {"Tus-Resumable": "1.0.0", "X-HTTP-Method-Override": meant, "Origin": "http://evil.example"}
    fields |= {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    answer = http(sent, tus, b"0123456789" if sent == "POST" else None, **fields)
    assert answer.status == 403
    assert http("GET", href).json["received"] == 0
    assert http("POST", tus, Tus_Resumable="1.0.0", X_HTTP_Method_Override="DELETE").status == 204


def test_an_override_means_nothing_elsewhere(http: Http) -> None:
    href = http.create(10)
    assert http("GET", href, X_HTTP_Method_Override="DELETE").status == 200
    assert http("GET", href).status == 200


# what others may learn


def test_only_admins_see_the_free_space(tmp_path: Path) -> None:
    """It tells whether somebody else has the content that one has just committed."""
    with ServerProcess(tmp_path, auth="token") as server, Http(server.port) as http:
        for admin in (False, True):
            token = make_token(server, f"user{admin}", *(["--admin"] if admin else []))
            status = http("GET", f"{API}status/", Authorization=f"Bearer {token}").json
            assert (status["storage"] is not None) == admin
            assert status["user"] == f"user{admin}"


# names and types in forms


def store_form(http: Http, head: bytes, content: bytes) -> Any:
    form = b"--" + BOUNDARY.encode() + b"\r\n" + head + b"\r\n\r\n" + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    return http("POST", f"{API}artifacts/", form, Content_Type=f"multipart/form-data; boundary={BOUNDARY}")


@pytest.mark.parametrize("size", [10, 200_000])
@pytest.mark.parametrize(
    "kind",
    [
        b"text/\xc3\xa9",
        b"text/pl\x0bain",
        b"\x7f/x",
        b"a/" + b"b" * 3000,
        b"no type",
        b"a/b; c=\x00",
        b"text/plain; n=\xe2\x82\xac",
    ],
)
def test_types_that_no_header_field_can_hold_are_refused(http: Http, kind: bytes, size: int) -> None:
    head = b'Content-Disposition: form-data; name="file"; filename="f"\r\nContent-Type: ' + kind
    answer = store_form(http, head, os.urandom(size))
    assert answer.problem == (400, "bad-body")
    assert "Traceback" not in answer.json["detail"]
    assert "Error(" not in answer.json["detail"]


@pytest.mark.parametrize("size", [10, 200_000])
@pytest.mark.parametrize(
    "name,status",
    [
        ("Ünïcode 🎈.iso".encode(), 201),
        (b"vt\x0bdel\x7f", 201),
        (b"x" * 1024, 201),
        (b"x" * 1025, 400),
        (b"nul\x00", 400),
        ("Größe".encode("latin-1"), 400),
        ("файл".encode("cp1251"), 400),
    ],
)
def test_names_in_forms(http: Http, name: bytes, status: int, size: int) -> None:
    content = os.urandom(size)
    answer = store_form(http, b'Content-Disposition: form-data; name="file"; filename="' + name + b'"', content)
    assert answer.status == status, answer.body
    if status == 201:
        for method in ("GET", "HEAD"):
            assert http(method, answer.json["file"]).status == 200
    else:
        assert "UnicodeDecodeError" not in answer.json["detail"]


# odd files in the data folder


def test_what_is_no_file_in_the_place_of_one_stops_nobody(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, Http(server.port) as http:
        contents = [os.urandom(50) for _ in range(12)]
        stored = [http.store(content) for content in contents]
        for number, one in enumerate(stored):
            path = tmp_path / "artifacts" / one["sha256"][:2] / one["sha256"][2:]
            path.unlink()
            if number % 3 == 0:
                os.mkfifo(path)
            elif number % 3 == 1:
                path.mkdir()
            else:
                path.symlink_to("/dev/zero")

        def get(one: dict[str, Any]) -> int:
            with Http(server.port) as http:
                return http("GET", f"{one['artifact']}download/").status

        with ThreadPoolExecutor(12) as pool:
            assert set(pool.map(get, stored)) <= {404, 500}
        assert http("GET", "/readyz").status == 200
        # Sending a file again heals what a link or a FIFO stands for.
        for number in (0, 2):
            again = http.store(contents[number])
            assert http("GET", f"{again['artifact']}download/").body == contents[number]
        for one in stored:
            assert http("DELETE", one["artifact"]).status in (204, 404, 503)


# limits


def test_artifacts_are_counted(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, max_artifacts=3) as server, Http(server.port) as http:
        first = http.store(b"1")
        http.store(b"2")
        href = http.create(1)
        answer = http("POST", f"{API}uploads/", {"size": 1})
        assert answer.problem == (413, "too-many-artifacts")
        assert answer.json["limit"] == 3
        form = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--{BOUNDARY}--\r\n'
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        assert http("POST", f"{API}artifacts/", form.encode(), Content_Type=kind).status == 413
        assert http("DELETE", href).status == 204
        assert http.store(b"3")["state"] == "completed"
        assert http("POST", f"{API}uploads/", {"size": 1}).status == 413
        assert http("DELETE", first["artifact"]).status == 204
        assert http.store(b"4")["state"] == "completed"


def test_many_who_ask_at_once_stay_within_the_number(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, max_artifacts=5, workers=2) as server:

        def store(number: int) -> int:
            with Http(server.port) as http:
                return http("POST", f"{API}uploads/", {"size": number + 1}).status

        with ThreadPoolExecutor(16) as pool:
            assert sorted(pool.map(store, range(32))) == [201] * 5 + [413] * 27


# readers that do not read


async def test_a_reader_that_takes_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "READ_SECONDS", 0.05)
    never = asyncio.get_running_loop().create_future()
    cut: list[bool] = []
    sent: list[Message] = []

    async def blocks() -> Any:
        yield b"first"
        yield b"second"

    async def send(message: Message) -> None:
        sent.append(message)
        if message.get("body") == b"second":
            await never

    async def receive() -> Message:
        await never
        raise AssertionError

    scope: Scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "extensions": {ABORT: lambda: cut.append(True)}}
    await downloads.PacedResponse(blocks(), 200, {})(scope, receive, send)
    assert cut == [True]
    assert [message.get("body") for message in sent] == [None, b"first", b"second"]


def test_readers_that_take_nothing_hold_little_memory(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server, Http(server.port) as http:
        data = os.urandom(8 << 20)
        path = f"{http.store(data)['artifact']}download/"
        assert sha256(http("GET", path).body) == sha256(data)
        before = _resident(server.pid)
        idle = []
        for _ in range(100):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            idle.append(connection)
        for connection in idle:
            assert connection.recv(10) == b"HTTP/1.1 2"
        assert http("GET", "/livez").status == 200
        grown = _resident(server.pid) - before
        for connection in idle:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with closing(connection):
                pass
        assert grown < 100 * (800 << 10), f"{grown // 100} bytes a reader"


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
