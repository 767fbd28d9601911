"""The application is asked before an upload is created, over a signed URL: the same in every dialect."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from partwise.core.errors import HookFailed
from partwise.core.records import Principal
from partwise.engine import creation
from partwise.engine.creation import Creation, ask
from partwise.protocols import DIALECTS
from partwise.server.permission import MOST, PermissionAsker
from partwise.server.settings import Settings
from tests.support.application import Application, Reply, application, new_secret
from tests.support.server import API, Answer, Http, ServerProcess, form, sha256
from tests.support.tokens import make_token
from tests.support.tus import BYTES

SECRET = new_secret()
DATA = b"0123456789"
SIZE = len(DATA)
TUS = {"Tus_Resumable": "1.0.0"}
SHA1 = base64.b64encode(hashlib.sha1(DATA, usedforsecurity=False).digest()).decode()
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()


@dataclass
class Asker:
    """Makes requests of one user."""

    http: Http
    token: str

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return self.http(method, path, body, Authorization=f"Bearer {self.token}", **headers)


@dataclass(frozen=True)
class Way:
    """One way to create an upload."""

    create: Callable[[Asker, Any], Answer]
    #: What the application is told of the file's name and size.
    filename: str | None = "a.bin"
    size: int | None = SIZE
    #: What is done before, whose result ``create`` is given.
    prepare: Callable[[Asker], Any] = lambda _ask: None
    #: Whether the request brings the bytes too, and its answer shows the file.
    is_whole: bool = False
    #: Whether the id of the upload has its user's name, so that no other owner can be named.
    is_named: bool = False
    #: The status of a file that is too large.
    too_large: int = 413


def artifact(ask: Asker, _: Any) -> Answer:
    body, kind = form(DATA)
    return ask("POST", f"{API}artifacts/", body.replace(b'filename="f"', b'filename="a.bin"'), Content_Type=kind)


def large_artifact(ask: Asker, _: Any) -> Answer:
    body, kind = form(DATA * 200_000)
    return ask("POST", f"{API}artifacts/", body.replace(b'filename="f"', b'filename="a.bin"'), Content_Type=kind)


def tus(ask: Asker, _: Any, body: bytes | None = None, **more: str) -> Answer:
    name = base64.b64encode(b"a.bin").decode()
    fields = TUS | more | ({} if body is None else {"Content_Type": BYTES})
    return ask("POST", "/tus/", body, Upload_Length=str(SIZE), Upload_Metadata=f"filename {name}", **fields)


def tus_final(ask: Asker, parts: list[str]) -> Answer:
    name = base64.b64encode(b"a.bin").decode()
    return ask("POST", "/tus/", Upload_Concat=f"final;{' '.join(parts)}", Upload_Metadata=f"filename {name}", **TUS)


def tus_parts(ask: Asker) -> list[str]:
    found = []
    for half in (DATA[:5], DATA[5:]):
        answer = ask("POST", "/tus/", half, Upload_Length="5", Upload_Concat="partial", Content_Type=BYTES, **TUS)
        assert answer.status == 201, answer.body
        found.append(answer.headers["Location"])
    return found


def drf_form(**fields: str) -> dict[str, Any]:
    body, kind = form(DATA, filename="a.bin", **fields)
    return {"body": body, "Content_Type": kind}


def fine(ask: Asker, _: Any) -> Answer:
    query = f"qquuid={uuid.uuid4()}&qqtotalfilesize={SIZE}&qqfilename=a.bin"
    return ask("POST", f"/fine/?{query}", DATA, Content_Type="application/octet-stream")


def box_file(ask: Asker, _: Any) -> Answer:
    attributes = json.dumps({"name": "a.bin", "parent": {"id": "0"}})
    start = f'--B\r\nContent-Disposition: form-data; name="attributes"\r\n\r\n{attributes}\r\n'
    start += '--B\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    body = start.encode() + DATA + b"\r\n--B--\r\n"
    return ask("POST", "/box/2.0/files/content", body, Content_Type="multipart/form-data; boundary=B")


RESUMABLE = {"Upload_Complete": "?1", "Content_Disposition": 'attachment; filename="a.bin"'}
SESSION = {"folder_id": "0", "file_size": SIZE, "file_name": "a.bin"}

WAYS: dict[str, Way] = {
    "pulp": Way(lambda ask, _: ask("POST", f"{API}uploads/", {"size": SIZE, "filename": "a.bin"})),
    "pulp, with a ticket": Way(
        lambda ask, _: ask("POST", f"{API}uploads/", {"size": SIZE, "filename": "a.bin", "ticket": True})
    ),
    "pulp, unknown size": Way(
        lambda ask, _: ask("POST", f"{API}uploads/", {"size": "unknown", "filename": "a.bin"}), size=None
    ),
    "pulp, one request": Way(artifact, is_whole=True),
    "tus": Way(tus),
    "tus, with bytes": Way(lambda ask, _: tus(ask, _, DATA)),
    "tus, final": Way(tus_final, prepare=tus_parts, is_named=True),
    "resumable": Way(
        lambda ask, _: ask("POST", "/resumable/", b"", Upload_Length=str(SIZE), **RESUMABLE | {"Upload_Complete": "?0"})
    ),
    "resumable, whole": Way(lambda ask, _: ask("POST", "/resumable/", DATA, **RESUMABLE), is_whole=True),
    # Its name is a member of the form that may stand behind the file.
    "drf": Way(
        lambda ask, _: ask("PUT", "/drf/", Content_Range=f"bytes 0-9/{SIZE}", **drf_form()),
        filename=None,
        is_whole=True,
    ),
    "drf, whole": Way(
        lambda ask, _: ask("POST", "/drf/", **drf_form(md5=MD5)), filename=None, size=None, is_whole=True
    ),
    "fine": Way(fine, is_whole=True, is_named=True),
    "box": Way(lambda ask, _: ask("POST", "/box/2.0/files/upload_sessions", SESSION), too_large=403),
    "box, whole": Way(box_file, is_whole=True, size=-1, too_large=403),
}


@pytest.fixture(scope="module")
def app() -> Iterator[Application]:
    with application() as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, app: Application) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("asks")
    config = folder / "partwise.toml"
    config.write_text(f'[before_create]\nurl = "{app.url}"\nsecrets = ["{SECRET}"]\n')
    with ServerProcess(folder / "data", config=config, auth="token", dialects=",".join(DIALECTS)) as process:
        yield process


@pytest.fixture(scope="module")
def tokens(shared: ServerProcess) -> dict[str, str]:
    return {"ann": make_token(shared, "ann"), "root": make_token(shared, "root", "--admin")}


@dataclass
class World:
    """One user before a server that asks an application."""

    app: Application
    ann: Asker
    root: Asker
    server: ServerProcess
    known: set[str] = field(default_factory=set)

    def create(self, way: Way, reply: Reply) -> Answer:
        """Prepare with everything allowed, then create with this answer of the application."""
        self.app.reply = lambda _asked: Reply({"allow": True})
        prepared = way.prepare(self.ann)
        for href, each in self._all().items():
            if "state" not in each:  # an artifact, which the same bytes would find again
                assert self.root("DELETE", href).status == 204
        self.known = set(self._all())
        self.app.got.clear()
        self.app.reply = lambda _asked: reply
        return way.create(self.ann, prepared)

    def _all(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for kind in ("uploads", "artifacts"):
            page = self.root("GET", f"{API}{kind}/?limit=1000").json
            found |= {each["pulp_href"]: each for each in page["results"]}
        return found

    def new(self) -> list[dict[str, Any]]:
        """What is there and was not before."""
        return [each for href, each in self._all().items() if href not in self.known]

    def staged(self) -> set[str]:
        return {path.name for path in (self.server.data / "staging").iterdir()}


@pytest.fixture
def world(shared: ServerProcess, app: Application, tokens: dict[str, str]) -> Iterator[World]:
    with Http(shared.port) as http:
        yield World(app, Asker(http, tokens["ann"]), Asker(http, tokens["root"]), shared)


def test_no_dialect_is_forgotten() -> None:
    assert {name.partition(",")[0] for name in WAYS} == set(DIALECTS)


@pytest.mark.parametrize("name", WAYS)
def test_a_denial_reaches_the_user(world: World, name: str) -> None:
    way = WAYS[name]
    sentence = "Your plan has no uploads."
    reply = Reply({"allow": False, "detail": sentence})
    answer = world.create(way, reply)
    assert answer.status == 403, answer.body
    assert sentence in answer.body.decode()
    [asked] = world.app.asked
    assert (asked["type"], asked["data"]["user"], asked["data"]["admin"]) == ("upload.creating", "ann", False)
    assert asked["data"]["filename"] == way.filename
    if way.size != -1:
        assert asked["data"]["size"] == way.size
    assert world.new() == []


@pytest.mark.parametrize("name", WAYS)
def test_an_application_that_fails_lets_nothing_in(world: World, name: str) -> None:
    world.create(Way(lambda ask, _: ask("GET", f"{API}status/")), Reply({"allow": True}))
    staged = world.staged()
    answer = world.create(WAYS[name], Reply({"detail": "<h1>It broke</h1>"}, status=500))
    assert answer.status == 503, answer.body
    assert answer.headers["Retry-After"]
    assert b"It broke" not in answer.body
    assert len(world.app.got) == 1
    assert world.new() == []
    if name != "tus, final":
        assert world.staged() == staged


@pytest.mark.parametrize("name", WAYS)
def test_a_largest_size_holds(world: World, name: str) -> None:
    way = WAYS[name]
    answer = world.create(way, Reply({"allow": True, "largest": SIZE - 1}))
    if way.size is None and not way.is_whole:  # it is held to it as soon as there are more bytes
        href = answer.json["pulp_href"]
        span = f"bytes 0-{SIZE - 1}/*"
        answer = world.ann("PUT", href, DATA, Content_Range=span, Content_Type="application/octet-stream")
        world.known |= {href}
    assert answer.status == way.too_large, answer.body
    assert f"{SIZE - 1} bytes" in answer.body.decode()
    assert world.new() == []


@pytest.mark.parametrize("name", WAYS)
def test_what_the_application_chooses_is_done(world: World, name: str) -> None:
    way = WAYS[name]
    wanted: dict[str, Any] = {"allow": True, "filename": "chosen.bin", "metadata": {"order": "4711"}}
    if not way.is_named:
        wanted["owner"] = "team"
    answer = world.create(way, Reply(wanted))
    assert answer.status in (200, 201), answer.body
    new = world.new()
    assert new
    for each in new:
        assert each["user"] == ("ann" if way.is_named else "team")
        assert each["filename"] == "chosen.bin"
        if "metadata" in each:
            assert each["metadata"] == {"order": "4711"}
    if way.is_whole and name != "drf":
        assert [each for each in new if each.get("sha256") == sha256(DATA)]
    if name == "pulp, with a ticket":
        href, bearer = answer.json["pulp_href"], f"Bearer {answer.json['ticket']}"
        with Http(world.server.port) as http:
            assert http.put(href, 0, DATA, SIZE, Authorization=bearer).status == 200


def test_a_name_in_the_id_needs_its_user(world: World) -> None:
    for name, way in WAYS.items():
        if way.is_named:
            assert world.create(way, Reply({"allow": True, "owner": "team"})).status == 503, name
            assert world.new() == []


def test_a_long_form_is_asked_about_by_its_name_too(world: World) -> None:
    answer = world.create(Way(large_artifact), Reply({"allow": False}))
    assert answer.problem == (403, "denied")
    assert answer.json["detail"] == "The application does not allow this upload."
    assert world.app.asked[0]["data"]["filename"] == "a.bin"


def test_questions_are_signed(world: World) -> None:
    world.create(WAYS["pulp"], Reply({"allow": True}))
    [(fields, body)] = world.app.got
    asked = Webhook(SECRET).verify(body, fields)
    assert asked["id"] == fields["webhook-id"]
    assert asked["data"] == {
        "user": "ann",
        "admin": False,
        "size": SIZE,
        "filename": "a.bin",
        "media_type": None,
        "sha256": None,
        "metadata": {},
        "part": False,
    }


HOSTILE: dict[str, Reply] = {
    "a redirect": Reply(status=302, fields={"Location": "/elsewhere"}),
    "no content": Reply(b"", status=204),
    "created": Reply({"allow": True}, status=201),
    "another type": Reply({"allow": True}, fields={"Content-Type": "text/html"}),
    "HTML": Reply(b"<html>allow: true</html>"),
    "nothing": Reply(b""),
    "no object": Reply([True]),
    "true alone": Reply(True),
    "a word for true": Reply({"allow": "true"}),
    "a number for true": Reply({"allow": 1}),
    "no answer": Reply({"largest": 5}),
    "a misspelt limit": Reply({"allow": True, "larges": 5}),
    "a negative limit": Reply({"allow": True, "largest": -1}),
    "a fraction": Reply({"allow": True, "largest": 1.5}),
    "a huge limit": Reply(b'{"allow": true, "largest": ' + b"9" * 5000 + b"}"),
    "a sentence of a novel's length": Reply({"allow": False, "detail": "x" * 501}),
    "a sentence that is none": Reply({"allow": False, "detail": {"a": 1}}),
    "an empty owner": Reply({"allow": True, "owner": ""}),
    "an owner with a line break": Reply({"allow": True, "owner": "a\nb"}),
    "a name with a NUL": Reply({"allow": True, "filename": "a\0b"}),
    "half of a surrogate pair": Reply(b'{"allow": true, "filename": "\\ud800"}'),
    "a long name": Reply({"allow": True, "filename": "x" * 1025}),
    "numbers for texts": Reply({"allow": True, "metadata": {"a": 1}}),
    "much metadata": Reply({"allow": True, "metadata": {str(number): "" for number in range(33)}}),
    "deep JSON": Reply(b"[" * 60_000),
    "a huge body": Reply(b'{"allow": true' + b" " * MOST + b"}"),
    "no UTF-8": Reply(b'{"allow": true, "owner": "\xff"}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_lets_nothing_in(world: World, name: str) -> None:
    answer = world.create(WAYS["pulp"], HOSTILE[name])
    assert answer.problem == (503, "hook-failed")
    assert len(world.app.got) == 1
    assert world.new() == []


def test_a_denial_says_nothing_that_is_no_sentence(world: World) -> None:
    answer = world.create(WAYS["pulp"], Reply({"allow": False, "detail": "a\r\nSet-Cookie: x"}))
    assert answer.json["detail"] == "The application does not allow this upload."


@pytest.mark.parametrize(
    "begin", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"]
)
async def test_an_answer_that_drips_is_cut(monkeypatch: pytest.MonkeyPatch, begin: bytes) -> None:
    """Each byte comes in time, the whole never: nothing is created, and the thread ends."""
    monkeypatch.setattr(creation, "HOOK_SECONDS", 0.2)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(begin)
                while not over.wait(0.01):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        dripping = pool.submit(drip)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        target = Settings.of(before_create={"url": url, "secrets": [SECRET]}).before_create
        assert target is not None
        asker = PermissionAsker(target)
        engine: Any = type("Context", (), {"before_create": asker})
        with pytest.raises(HookFailed):
            await ask(engine, Principal("ann"), Creation(user="ann", admin=False, size=1))
        await asyncio.to_thread(asker.close)  # waits for the thread
        over.set()
        dripping.result(30)


def test_nobody_there_lets_nothing_in(tmp_path: Path) -> None:
    config = tmp_path / "partwise.toml"
    config.write_text(f'[before_create]\nurl = "http://127.0.0.1:1/"\nsecrets = ["{SECRET}"]\n')
    with ServerProcess(tmp_path / "data", config=config) as server, Http(server.port) as http:
        assert http("POST", f"{API}uploads/", {"size": 1}).problem == (503, "hook-failed")
