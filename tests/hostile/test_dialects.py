"""Attacks on every protocol: each is refused with a sentence, changes nothing, and shows nothing of other users."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import socket
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.hostile import attacks, bodies
from tests.hostile.attacks import (
    APPEND,
    BODY,
    FORM,
    HER_ARTIFACT,
    HER_FILE,
    HERS,
    MINE,
    OFFSET,
    SESSIONS,
    Attack,
    fine,
    form,
    part,
)
from tests.support.engines import new_data_folder
from tests.support.folders import fast_folder
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token

GROUPS = {
    group.__name__: group
    for group in (
        attacks.numbers,
        attacks.repeated,
        attacks.each_protocol,
        attacks.others,
        attacks.bounds,
        attacks.names,
        attacks.box,
        attacks.tus,
        attacks.resumable,
        attacks.methods,
        bodies.forms,
        bodies.json_texts,
    )
}


@dataclass(frozen=True)
class World:
    """A server, someone who attacks, and someone who has things there."""

    server: ServerProcess
    mallory: str
    alice: str
    #: Ids of what Alice has, by what stands for them.
    ids: dict[str, str]


def content(seed: int) -> bytes:
    return random.Random(seed).randbytes(5000)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        data = new_data_folder(Path(folder) / "data")
        dialects = "pulp,tus,drf,fine,box,resumable"
        with ServerProcess(
            data, dialects=dialects, auth="token", max_upload_size="1GiB", max_open_uploads=10_000
        ) as server:
            mallory, alice = (f"Bearer {make_token(server, name)}" for name in ("mallory", "alice"))
            with Http(server.port) as http:
                fields = {"Authorization": alice}
                href = http("POST", f"{API}uploads/", {"size": 20}, **fields).json["pulp_href"]
                assert http.put(href, 0, BODY, **fields).status == 200
                stored = http("POST", f"{API}uploads/", {"size": len(content(1))}, **fields).json["pulp_href"]
                assert http.put(stored, 0, content(1), **fields).status == 200
                digest = sha256(content(1))
                artifact = http("PUT", f"{stored}commit", {"sha256": digest}, **fields).json["artifact"].split("/")[-2]
                body = fine({}, uuid_="hers")
                assert http("POST", "/fine/", body, Content_Type=FORM.partition(": ")[2], **fields).status == 200
            ids = {HERS: href.split("/")[-2], HER_ARTIFACT: artifact, HER_FILE: str(uuid.UUID(artifact).int)}
            yield World(server, mallory, alice, ids)


def everything(http: Http, alice: str) -> object:
    """What another user has, as she is told it."""
    fields = {"Authorization": alice}
    uploads = http("GET", f"{API}uploads/?limit=100", **fields).json
    return uploads, http("GET", f"{API}artifacts/?limit=100", **fields).json


def first_answer(port: int, head: bytes, body: bytes) -> tuple[int, str, bytes]:
    """Status, Content-Type and body of the first answer on a connection of its own; an early one ends the sending."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before its end; the answer is there
            connection.sendall(head + body)
        response = HTTPResponse(connection, method=head.partition(b" ")[0].decode("latin-1"))
        response.begin()
        return response.status, response.getheader("Content-Type", ""), response.read()


def request_of(attack: Attack, ids: dict[str, str], who: str) -> tuple[bytes, bytes]:
    line, fields = attack.line, attack.fields
    for name, id_ in ids.items():
        line, fields = line.replace(name, id_), fields.replace(name, id_)
    length = [f"Content-Length: {len(attack.body)}"] if attack.sized else []
    lines = [f"{line} HTTP/1.1", "Host: localhost", f"Authorization: {who}", *length]
    head = "\r\n".join(lines).encode() + b"\r\n"
    if fields:
        # Latin-1 where that holds it, as most clients do; else UTF-8, as the others do.
        text = fields.replace("\n", "\r\n") + "\r\n"
        head += text.encode() if any(ord(letter) > 255 for letter in text) else text.encode("latin-1")
    return head + b"\r\n", attack.body


def sentence(kind: str, body: bytes) -> str:
    """What a refusal says, by whichever member its protocol has for it."""
    assert "json" in kind, (kind, body[:200])
    said = json.loads(body)
    return str(said.get("detail") or said.get("error") or said.get("message"))


def fault_of(world: World, http: Http, attack: Attack) -> str:
    """What is wrong with the answer to an attack, or with what it left behind; nothing if all is well."""
    mine = {"Authorization": world.mallory}
    href = ""
    if MINE in attack.line + attack.fields:
        href = http("POST", f"{API}uploads/", {"size": 10}, **mine).json["pulp_href"]
    head, body = request_of(attack, world.ids | {MINE: href.split("/")[-2] if href else ""}, world.mallory)
    status, kind, said = first_answer(world.server.port, head, body)
    if status not in attack.allowed:
        return f"{status} {said[:300]!r}"
    if status >= 400 and said:
        text = sentence(kind, said)
        if not re.search(r"[A-Za-z]{3}", text) or re.search(r"Traceback|Error\b|Exception|codec|object at 0x", text):
            return f"no sentence: {text}"
    if href:
        shown = http("GET", href, **mine).json
        if status >= 400 and (shown["state"] != "open" or shown["received"] > attack.kept):
            return f"it was refused, and is {shown['state']} with {shown['received']} bytes"
        http("DELETE", href, **mine)
    return ""


@pytest.mark.parametrize("group", GROUPS)
def test_attacks_change_nothing(world: World, group: str) -> None:
    with Http(world.server.port) as http:
        before = everything(http, world.alice)
        faults = {name: fault for name, attack in GROUPS[group]() if (fault := fault_of(world, http, attack))}
        assert not faults
        assert everything(http, world.alice) == before
        assert http("GET", "/readyz").status == 200


#: How each protocol sends all bytes of an upload.
WRITES = {
    "drf": ("PUT", "/drf/{id}/", ("Content-Range",)),
    "box": ("PUT", SESSIONS + "/{id}", ("Content-Range", "Digest")),
    "tus": ("PATCH", "/tus/{id}", ()),
    "resumable": ("PATCH", "/resumable/{id}", ()),
}


def writing(who: str, protocol: str, id_: str, data: bytes) -> tuple[str, str, bytes, dict[str, str]]:
    """A request with all bytes of an upload: method, path, body, header fields."""
    method, path, names = WRITES[protocol]
    fields = {"Authorization": who}
    if "Content-Range" in names:
        fields["Content-Range"] = f"bytes 0-{len(data) - 1}/{len(data)}"
    if "Digest" in names:
        fields["Digest"] = f"sha={base64.b64encode(hashlib.sha1(data).digest()).decode()}"
    text = {"tus": OFFSET, "resumable": f"{APPEND}\nUpload-Complete: ?0", "drf": FORM}.get(protocol, "")
    fields |= dict(line.split(": ") for line in text.splitlines())
    if protocol in ("tus", "resumable"):
        fields["Upload-Offset"] = "0"
    body = form(part("filename", b"a"), part("file", data, filename="f")) if protocol == "drf" else data
    return method, path.format(id=id_), body, fields | {"Content-Length": str(len(body))}


@pytest.mark.parametrize("protocol", WRITES)
def test_one_part_four_times_at_once_with_other_bytes(world: World, protocol: str) -> None:
    """One of them is the file, whole; never a mixture."""
    variants = [random.Random(f"{protocol}{number}").randbytes(300_000) for number in range(4)]
    mine = {"Authorization": world.mallory}
    with Http(world.server.port) as http:
        href = http("POST", f"{API}uploads/", {"size": len(variants[0])}, **mine).json["pulp_href"]
        id_ = href.split("/")[-2]

        def send(data: bytes) -> int:
            with Http(world.server.port) as own:
                method, path, body, fields = writing(world.mallory, protocol, id_, data)
                return own(method, path, body, **fields).status

        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(send, variants))
        assert all(status in {200, 201, 204} or 400 <= status < 500 or status == 503 for status in statuses), statuses
        shown = http("GET", href, **mine).json
        if shown["state"] == "open" and shown["received"] < shown["size"]:
            # Each was superseded by the next, and the last found another's bytes before it.
            assert http("DELETE", href, **mine).status == 204
            return
        committed = {http("PUT", f"{href}commit", {"sha256": sha256(data)}, **mine).status for data in variants}
        assert committed == {200, 400}, "exactly one of the variants is the file"
        assert http("GET", href, **mine).json["sha256"] in {sha256(data) for data in variants}


@pytest.mark.parametrize("protocol", WRITES)
def test_deletion_while_bytes_come(world: World, protocol: str) -> None:
    """The upload is gone, its writer is told so, and no file comes of it."""
    data = random.Random(protocol).randbytes(400_000)
    mine = {"Authorization": world.mallory}
    with Http(world.server.port) as http:
        href = http("POST", f"{API}uploads/", {"size": len(data)}, **mine).json["pulp_href"]
        method, path, body, fields = writing(world.mallory, protocol, href.split("/")[-2], data)

        def halves() -> Iterator[bytes]:
            yield body[: len(body) // 2]
            assert http("DELETE", href, **mine).status == 204
            yield body[len(body) // 2 :]

        with Http(world.server.port) as own, suppress(BrokenPipeError, ConnectionResetError):
            status = own(method, path, halves(), **fields).status
            # Box's SDKs send again after 503, and then learn that the upload is gone.
            assert status in {400, 404, 409} or (protocol, status) == ("box", 503)
        assert http("GET", href, **mine).status == 404
        assert http("GET", f"{API}artifacts/?sha256={sha256(data)}", **mine).json["count"] == 0


def test_names_of_two_users_are_two_files(world: World) -> None:
    """Both call their file the same; neither sees, ends or deletes the other's."""
    name = "shared-" + sha256(b"a name")[:8]
    with Http(world.server.port) as http:
        for who, first in ((world.alice, b"0"), (world.mallory, b"1")):
            body = fine({"qquuid": name, "qqpartbyteoffset": "0"}).replace(BODY, first * 10)
            sent = http("POST", "/fine/", body, Content_Type=FORM.partition(": ")[2], Authorization=who)
            assert (sent.status, "artifact" in sent.json) == (200, False)
        assert http("DELETE", f"/fine/{name}", Authorization=world.mallory).status == 200
        assert http("DELETE", f"/fine/{name}", Authorization=world.mallory).status == 404
        assert http("DELETE", f"/fine/{name}", Authorization=world.alice).status == 200
