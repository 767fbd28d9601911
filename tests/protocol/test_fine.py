"""Fine Uploader's wire: parts in any order, at once and again; its end, its deletion, and what others' servers lose."""

from __future__ import annotations

import os
import random
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.support.server import API, Answer, Http, ServerProcess, sha256
from tests.support.tokens import make_token

DATA = random.Random(3).randbytes(1_000_003)
PART = 300_000
PARTS = range(0, len(DATA), PART)


def multipart(fields: dict[str, str], data: bytes, filename: str = "blob") -> tuple[bytes, str]:
    """A form as the client makes it: its fields, and the file behind them."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--b\r\nContent-Disposition: form-data; name="qqfile"; filename="{filename}"\r\n'
    parts += [head.encode(), b"Content-Type: application/octet-stream\r\n\r\n", data, b"\r\n--b--\r\n"]
    return b"".join(parts), "multipart/form-data; boundary=b"


class Fine:
    """A client with one file."""

    def __init__(self, http: Http, name: str = "", data: bytes = DATA, **headers: str) -> None:
        self.http, self.data, self.headers = http, data, headers
        self.uuid = name or str(uuid.uuid4())

    def part(self, offset: int, *, in_query: bool = False, raw: bool = False, **more: str) -> Answer:
        piece = self.data[offset : offset + PART]
        fields = {
            "qqpartindex": str(offset // PART),
            "qqpartbyteoffset": str(offset),
            "qqchunksize": str(len(piece)),
            "qqtotalparts": str(len(PARTS)),
            "qqtotalfilesize": str(len(self.data)),
            "qqfilename": "Ä disk.img",
            "qquuid": self.uuid,
            **more,
        }
        query = "&".join(f"{name}={value.replace(' ', '%20').replace('Ä', '%C3%84')}" for name, value in fields.items())
        if raw:
            return self.http("POST", f"/fine/?{query}", piece, Content_Type="application/octet-stream", **self.headers)
        content, kind = multipart({} if in_query else fields, piece)
        return self.http(
            "POST", f"/fine/?{query}" if in_query else "/fine/", content, Content_Type=kind, **self.headers
        )

    def simple(self, **more: str) -> Answer:
        fields = {"qquuid": self.uuid, "qqfilename": "a.bin", "qqtotalfilesize": str(len(self.data)), **more}
        content, kind = multipart(fields, self.data, "a.bin")
        return self.http("POST", "/fine/", content, Content_Type=kind, **self.headers)

    def done(self, path: str = "/fine/?done") -> Answer:
        body = f"qquuid={self.uuid}&qqfilename=x&qqtotalfilesize={len(self.data)}&qqtotalparts={len(PARTS)}".encode()
        return self.http("POST", path, body, Content_Type="application/x-www-form-urlencoded", **self.headers)

    def all(self) -> Answer:
        answers = [self.part(offset) for offset in PARTS]
        assert [answer.status for answer in answers] == [200] * len(PARTS), answers[-1].body
        return answers[-1]


@pytest.fixture(scope="module")
def fine_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("fine"), dialects="pulp,fine", workers=2) as server:
        yield server


@pytest.fixture
def http(fine_server: ServerProcess) -> Iterator[Http]:
    with Http(fine_server.port) as connection:
        yield connection


def content_of(http: Http, answer: Answer, data: bytes = DATA) -> bytes:
    assert answer.json["success"] is True
    assert answer.json["sha256"] == sha256(data)
    return http("GET", f"{answer.json['artifact']}download/").body


@pytest.mark.parametrize("way", [{}, {"in_query": True}, {"raw": True}], ids=["form", "query", "raw"])
def test_the_last_part_makes_the_file(http: Http, way: dict[str, bool]) -> None:
    data = os.urandom(len(DATA))  # its own: of content that is there already the first name is kept
    fine = Fine(http, data=data)
    order = list(PARTS)
    random.Random(len(way)).shuffle(order)
    for offset in order[:-1]:
        assert fine.part(offset, **way).json == {"success": True}  # type: ignore[arg-type]
    last = fine.part(order[-1], **way)  # type: ignore[arg-type]
    assert content_of(http, last, data) == data
    assert fine.part(order[0], **way).json == last.json, "after the end the same again succeeds"  # type: ignore[arg-type]
    artifact = http("GET", last.json["artifact"]).json
    assert artifact["filename"] == "Ä disk.img"


def test_parts_at_once_and_three_times(fine_server: ServerProcess, http: Http) -> None:
    fine = Fine(http)
    offsets = [*PARTS] * 3
    random.Random(5).shuffle(offsets)

    def send(offset: int) -> None:
        with Http(fine_server.port) as connection:
            while True:
                answer = Fine(connection, fine.uuid).part(offset)
                if answer.status == 200:
                    return
                assert answer.status == 409  # a twin of it is being received: the client tries again
                assert "preventRetry" not in answer.json
                assert "reset" not in answer.json

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, offsets))
    done = fine.done()
    assert content_of(http, done) == DATA
    assert http("GET", f"{API}artifacts/?sha256={sha256(DATA)}").json["count"] == 1


@pytest.mark.parametrize("path", ["/fine/?done", "/fine/done"])
def test_the_success_endpoint(http: Http, path: str) -> None:
    fine = Fine(http)
    assert fine.done(path).json["reset"] is True
    assert fine.part(0).status == 200
    early = fine.done(path)
    assert (early.status, early.json["success"], early.json["reset"]) == (404, False, True)
    fine.all()
    done = fine.done(path)
    assert (done.status, fine.done(path).json) == (200, done.json)


def test_a_file_in_one_request(http: Http) -> None:
    fine = Fine(http)
    assert content_of(http, fine.simple()) == DATA
    short = Fine(http, data=DATA[:20]).simple(qqtotalfilesize="5000")
    assert (short.status, short.json["success"]) == (400, False)


def test_a_client_that_goes_on_with_what_is_forgotten_starts_over(http: Http) -> None:
    answer = Fine(http).part(PART, qqresume="true")
    assert (answer.status, answer.json["reset"]) == (404, True)
    fine = Fine(http)
    assert fine.part(0).status == 200
    assert fine.part(PART, qqresume="true").status == 200
    assert fine.part(0, qqtotalfilesize=str(len(DATA) + 1)).json["reset"] is True


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("by_post", [True, False])
def test_deletion(http: Http, whole: bool, by_post: bool) -> None:
    fine = Fine(http)
    artifact = fine.all().json["artifact"] if whole else None
    if not whole:
        fine.part(0)
    body = f"qquuid={fine.uuid}&_method=DELETE".encode()
    if by_post:
        answer = http("POST", "/fine/", body, Content_Type="application/x-www-form-urlencoded")
    else:
        answer = http("DELETE", f"/fine//{fine.uuid}?")
    assert (answer.status, answer.json) == (200, {"success": True})
    if artifact:
        assert http("GET", artifact).status == 404
    assert http("DELETE", f"/fine/{fine.uuid}").status == 404


def test_the_list_of_a_session(http: Http) -> None:
    fine = Fine(http)
    fine.all()
    listed = http("GET", "/fine/?qqtimestamp=1").json
    assert {"name": "Ä disk.img", "uuid": fine.uuid, "size": len(DATA)} in listed


@pytest.mark.parametrize("name", [".", "..", "../../x", "x" * 201, "a\0b", ""])
def test_hostile_names_of_files(http: Http, name: str) -> None:
    """Elsewhere the name was a path, and a dot deleted the parts of all users."""
    answer = Fine(http, data=DATA[:10]).simple(qquuid=name)
    assert answer.status == (200 if name in (".", "..", "../../x") else 400)
    other = Fine(http)
    other.part(0)
    http("POST", "/fine/?done", {"qquuid": name, "qqtotalparts": 0})
    assert other.part(PART).status == 200


@pytest.mark.parametrize(
    "change",
    [
        {"qqpartbyteoffset": "-1"},
        {"qqchunksize": "0"},
        {"qqchunksize": "99"},
        {"qqtotalfilesize": "1e9"},
        {"qqtotalfilesize": str(2**63)},
        {"qqpartbyteoffset": str(len(DATA))},
    ],
)
def test_parts_that_do_not_fit(http: Http, change: dict[str, str]) -> None:
    answer = Fine(http).part(0, **change)  # type: ignore[arg-type]
    assert answer.status in (400, 413)
    assert (answer.json["success"], answer.json["preventRetry"]) == (False, True)
    assert answer.json["error"]


def test_owners(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, dialects="fine,pulp", auth="token", quota=1_500_000) as server:
        alice, bob = (f"Bearer {make_token(server, name)}" for name in ("alice", "bob"))
        with Http(server.port) as http:
            refused = Fine(http).part(0)
            assert (refused.status, refused.json["preventRetry"]) == (401, True)
            hers = Fine(http, Authorization=alice)
            his = Fine(http, hers.uuid, Authorization=bob)
            assert hers.part(0).status == 200
            assert his.done().json["reset"] is True, "the same name is another file of another owner"
            assert http("DELETE", f"/fine/{hers.uuid}", Authorization=bob).status == 404
            hers.all()
            assert http("GET", "/fine/", Authorization=bob).json == []
            full = Fine(http, Authorization=alice).part(0)
            assert (full.status, full.json["preventRetry"]) == (413, True)


def test_killed_between_parts(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, dialects="fine,pulp") as server:
        with Http(server.port) as http:
            fine = Fine(http)
            assert fine.part(0).status == 200
        with Http(server.port) as http, suppress(OSError, HTTPException):
            os.kill(server.pid, signal.SIGKILL)
            Fine(http, fine.uuid).part(PART)
        server.kill()
        server.start()
        with Http(server.port) as http:
            again = Fine(http, fine.uuid)
            for offset in PARTS[1:]:
                assert again.part(offset, qqresume="true").status == 200
            assert content_of(http, again.done()) == DATA
