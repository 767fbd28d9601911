"""One upload in all dialects: begun in one, seen in the others, completed in a third; and its artifact everywhere."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from partwise.protocols import DIALECTS
from partwise.protocols.fine.params import upload_id
from tests.support.server import API, Answer, Http, ServerProcess, form, sha256
from tests.support.tus import BYTES, repr_digest

SIZE, HALF = 2000, 1000

TUS = {"Tus_Resumable": "1.0.0"}
SESSIONS = "/box/2.0/files/upload_sessions"


def hashed(algorithm: str, data: bytes) -> bytes:
    return hashlib.new(algorithm, data, usedforsecurity=False).digest()


def last(path: str) -> str:
    """The id that a path ends with."""
    return path.rstrip("/").rpartition("/")[2]


class Speaker:
    """Speaks one dialect about one file. Each method checks that what it asks for was done."""

    def __init__(self, http: Http, data: bytes) -> None:
        self.http, self.data = http, data

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        answer = self.http(method, path, body, **headers)
        assert answer.status < 300, (method, path, answer.status, answer.body)
        return answer

    def begin(self) -> str:
        """Begin the upload with its first half; its id."""
        raise NotImplementedError

    def received(self, id_: str) -> int:
        """What is told of an unfinished upload: how far it has come."""
        raise NotImplementedError

    def send(self, id_: str) -> None:
        """Send the second half."""
        raise NotImplementedError

    def complete(self, id_: str) -> None:
        """Complete the upload, where that takes a request."""

    def content(self, id_: str) -> bytes:
        """The file that the upload has become, asked for by its id."""
        raise NotImplementedError


class Pulp(Speaker):
    def begin(self) -> str:
        href = self.http.create(SIZE)
        assert self.http.put(href, 0, self.data[:HALF], SIZE).status == 200
        return last(href)

    def received(self, id_: str) -> int:
        [listed] = [each for each in self.ask("GET", f"{API}uploads/").json["results"] if id_ in each["pulp_href"]]
        shown = self.ask("GET", f"{API}uploads/{id_}/").json
        assert (shown["state"], shown["size"], listed["state"]) == ("open", SIZE, "open")
        return int(shown["received"])

    def send(self, id_: str) -> None:
        assert self.http.put(f"{API}uploads/{id_}/", HALF, self.data[HALF:], SIZE).status == 200

    def complete(self, id_: str) -> None:
        assert self.http.commit(f"{API}uploads/{id_}/", self.data).status == 200

    def content(self, id_: str) -> bytes:
        shown = self.ask("GET", f"{API}uploads/{id_}/").json
        assert (shown["state"], shown["sha256"]) == ("completed", sha256(self.data))
        [artifact] = self.ask("GET", f"{API}artifacts/?sha256={sha256(self.data)}").json["results"]
        assert artifact["pulp_href"] == shown["artifact"]
        return self.ask("GET", artifact["file"]).body


class Tus(Speaker):
    def begin(self) -> str:
        id_ = last(self.ask("POST", "/tus/", Upload_Length=str(SIZE), **TUS).headers["Location"])
        self._patch(id_, 0, self.data[:HALF])
        return id_

    def _patch(self, id_: str, offset: int, data: bytes) -> None:
        self.ask("PATCH", f"/tus/{id_}", data, Upload_Offset=str(offset), Content_Type=BYTES, **TUS)

    def received(self, id_: str) -> int:
        head = self.ask("HEAD", f"/tus/{id_}", **TUS)
        assert (head.headers["Upload-Length"], "Repr-Digest" in head.headers) == (str(SIZE), False)
        return int(head.headers["Upload-Offset"])

    def send(self, id_: str) -> None:
        self._patch(id_, HALF, self.data[HALF:])

    def content(self, id_: str) -> bytes:
        assert self.ask("HEAD", f"/tus/{id_}", **TUS).headers["Repr-Digest"] == repr_digest(self.data)
        return self.ask("GET", f"/tus/{id_}").body


class Resumable(Speaker):
    def begin(self) -> str:
        created = self.ask("POST", "/resumable/", self.data[:HALF], Upload_Length=str(SIZE), Upload_Complete="?0")
        return last(created.headers["Location"])

    def received(self, id_: str) -> int:
        head = self.ask("HEAD", f"/resumable/{id_}")
        assert (head.headers["Upload-Length"], head.headers["Upload-Complete"]) == (str(SIZE), "?0")
        return int(head.headers["Upload-Offset"])

    def send(self, id_: str) -> None:
        self._append(id_, HALF, self.data[HALF:], "?0")

    def complete(self, id_: str) -> None:
        self._append(id_, SIZE, b"", "?1")

    def _append(self, id_: str, offset: int, data: bytes, complete: str) -> Answer:
        fields = {"Upload_Offset": str(offset), "Content_Type": "application/partial-upload"}
        return self.ask("PATCH", f"/resumable/{id_}", data, Upload_Complete=complete, **fields)

    def content(self, id_: str) -> bytes:
        assert self.ask("HEAD", f"/resumable/{id_}").headers["Upload-Complete"] == "?1"
        return self.ask("GET", self._append(id_, SIZE, b"", "?1").json["file"]).body


class Drf(Speaker):
    def begin(self) -> str:
        return str(self._put("/drf/", 0, self.data[:HALF]).json["id"])

    def _put(self, path: str, offset: int, data: bytes) -> Answer:
        content, kind = form(data, filename="disk.img")
        span = f"bytes {offset}-{offset + len(data) - 1}/{SIZE}"
        return self.ask("PUT", path, content, Content_Type=kind, Content_Range=span)

    def received(self, id_: str) -> int:
        assert id_ in [each["id"] for each in self.ask("GET", "/drf/").json]
        record = self.ask("GET", f"/drf/{id_}/").json
        assert (record["status"], record["file"]) == (1, None)
        return int(record["offset"])

    def send(self, id_: str) -> None:
        self._put(f"/drf/{id_}/", HALF, self.data[HALF:])

    def complete(self, id_: str) -> None:
        self.ask("POST", f"/drf/{id_}/", {"md5": hashed("md5", self.data).hex()})

    def content(self, id_: str) -> bytes:
        record = self.ask("GET", f"/drf/{id_}/").json
        assert (record["status"], record["offset"]) == (2, SIZE)
        return self.ask("GET", "/" + record["file"].partition("//")[2].partition("/")[2]).body


class Fine(Speaker):
    """Fine Uploader names files itself: it sees the uploads that it began."""

    def begin(self) -> str:
        self.uuid = str(uuid.uuid4())
        self._part(0, self.data[:HALF])
        return upload_id("local", self.uuid)

    def _part(self, offset: int, data: bytes) -> None:
        head = {
            "qqpartindex": str(offset // HALF),
            "qqpartbyteoffset": str(offset),
            "qqchunksize": str(len(data)),
            "qqtotalfilesize": str(SIZE),
            "qqfilename": "a",
            "qquuid": self.uuid,
        }
        query = "&".join(f"{name}={value}" for name, value in head.items())
        self.ask("POST", f"/fine/?{query}", data, Content_Type="application/octet-stream")

    def send(self, id_: str) -> None:
        self._part(HALF, self.data[HALF:])

    def content(self, id_: str) -> bytes:
        [listed] = [each for each in self.ask("GET", "/fine/").json if each["uuid"] == self.uuid]
        assert listed["size"] == SIZE
        done = self.ask("POST", "/fine/?done", {"qquuid": self.uuid}).json
        assert done["sha256"] == sha256(self.data)
        return self.ask("GET", f"{done['artifact']}download/").body


class Box(Speaker):
    def begin(self) -> str:
        session = self.ask("POST", SESSIONS, {"folder_id": "0", "file_size": SIZE, "file_name": "a"}).json
        self._part(session["id"], 0, self.data[:HALF])
        return str(session["id"])

    def _part(self, id_: str, offset: int, data: bytes) -> None:
        span = f"bytes {offset}-{offset + len(data) - 1}/{SIZE}"
        self.ask("PUT", f"{SESSIONS}/{id_}", data, Digest=self._digest(data), Content_Range=span)

    @staticmethod
    def _digest(data: bytes) -> str:
        return f"sha={base64.b64encode(hashed('sha1', data)).decode()}"

    def received(self, id_: str) -> int:
        session = self.ask("GET", f"{SESSIONS}/{id_}").json
        assert (session["id"], session["num_parts_processed"]) == (id_, 1)
        return sum(int(part["size"]) for part in self.ask("GET", f"{SESSIONS}/{id_}/parts").json["entries"])

    def send(self, id_: str) -> None:
        self._part(id_, HALF, self.data[HALF:])

    def complete(self, id_: str) -> None:
        self._commit(id_)

    def _commit(self, id_: str) -> dict[str, object]:
        made = self.ask("POST", f"{SESSIONS}/{id_}/commit", {"parts": []}, Digest=self._digest(self.data))
        return dict(made.json["entries"][0])

    def content(self, id_: str) -> bytes:
        file = self._commit(id_)
        assert file["id"] in [each["id"] for each in self.ask("GET", "/box/2.0/folders/0/items").json["entries"]]
        return self.ask("GET", f"/box/dl/{file['id']}").body


SPEAKERS: dict[str, type[Speaker]] = {
    "pulp": Pulp,
    "tus": Tus,
    "resumable": Resumable,
    "drf": Drf,
    "fine": Fine,
    "box": Box,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("all"), dialects=",".join(SPEAKERS), chunk_size=HALF) as server:
        yield server


@pytest.fixture
def speakers(server: ServerProcess) -> Iterator[dict[str, Speaker]]:
    data = os.urandom(SIZE)
    with Http(server.port) as http:
        yield {name: speaker(http, data) for name, speaker in SPEAKERS.items()}


def others(begun: str) -> list[str]:
    """Who can speak of an upload that was begun in a dialect."""
    return [name for name in SPEAKERS if name != "fine" or begun == "fine"]


def test_no_dialect_is_forgotten() -> None:
    assert set(SPEAKERS) == set(DIALECTS)


@pytest.mark.parametrize("begun, ended", [(begun, ended) for begun in SPEAKERS for ended in others(begun)])
def test_an_upload_in_all_dialects(speakers: dict[str, Speaker], begun: str, ended: str) -> None:
    """tus completes its own uploads by themselves; others are completed as the dialect has it that began them."""
    id_ = speakers[begun].begin()
    for name in others(begun):
        if name != "fine":  # which asks for no state
            assert speakers[name].received(id_) == HALF, name
    speakers[ended].send(id_)
    speakers[begun if ended in ("tus", "fine") else ended].complete(id_)
    for name in others(begun):
        assert speakers[name].content(id_) == speakers[name].data, name


def test_every_dialect_at_once(tmp_path: Path) -> None:
    """Whatever is switched on, a path belongs to one of them."""
    with ServerProcess(tmp_path, dialects=",".join(reversed(DIALECTS))) as server, Http(server.port) as http:
        for path in ("/tus/", "/resumable/", "/drf/", "/fine/", "/box/2.0/folders/1", f"{API}uploads/x/"):
            assert http("GET", path).status in (200, 404, 405)
        assert http("GET", "/drf/").json == http("GET", "/fine/").json == []
