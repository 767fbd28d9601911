"""While the bytes of a final upload are copied: what HEAD tells, who else is served, and what a kill leaves."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from partwise.engine.finish import joined_id
from tests.protocol.tus.sentences import must
from tests.support.engines import new_data_folder
from tests.support.server import API, Answer, Http, ServerProcess, sha256
from tests.support.tus import ROOT, Tus, repr_digest

PIECES = [os.urandom(400_000), os.urandom(300_001)]
DATA = b"".join(PIECES)


class SlowServer(ServerProcess):
    """Copies wait for the file ``go``."""

    program = ("-m", "tests.protocol.tus.slow_copies")


class Joining:
    """A request for a final upload whose bytes do not come yet."""

    def __init__(self, server: ServerProcess, tus: Tus) -> None:
        self.server = server
        self.parts = [tus.create(len(piece), Upload_Concat="partial") for piece in PIECES]
        for part, piece in zip(self.parts, PIECES, strict=True):
            tus.patch(part, 0, piece)
        self.answers: list[Answer] = []
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        #: Its address, which is the same whenever the same parts are joined.
        self.path = ROOT + joined_id("local", [part.removeprefix(ROOT) for part in self.parts])
        until(lambda: (server.data / "begun").exists())

    def _ask(self) -> None:
        with suppress(OSError, HTTPException), Http(self.server.port) as http:
            self.answers.append(ask_for_final(Tus(http), self.parts))

    def go(self) -> None:
        """Let the copies through."""
        (self.server.data / "go").touch()

    def answer(self) -> Answer:
        """What the request is answered with."""
        self._thread.join(30)
        return self.answers[0]

    def end(self) -> None:
        """Wait for the request's end."""
        self.go()
        self._thread.join(30)


def ask_for_final(tus: Tus, parts: list[str]) -> Answer:
    return tus("POST", ROOT, Upload_Concat=f"final;{' '.join(parts)}")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[SlowServer]:
    with SlowServer(new_data_folder(tmp_path / "data")) as server:
        yield server
        (server.data / "go").touch()


@pytest.fixture
def tus(slow: SlowServer) -> Iterator[Tus]:
    with Http(slow.port) as http:
        yield Tus(http)


@pytest.fixture
def joining(slow: SlowServer, tus: Tus) -> Iterator[Joining]:
    made = Joining(slow, tus)
    yield made
    made.end()


@must("concat-head-before", "concat-head-length", "concat-head-after", "concat-head")
def test_head_tells_no_offset_before_all_bytes_are_there(tus: Tus, joining: Joining) -> None:
    head = tus.head(joining.path)
    assert head.status == 200
    assert "Upload-Offset" not in head.headers
    assert head.headers["Upload-Length"] == str(len(DATA))
    assert head.headers["Upload-Concat"] == f"final;{' '.join(joining.parts)}"
    assert [tus.offset(part) for part in joining.parts] == [len(piece) for piece in PIECES]
    joining.go()
    answer = joining.answer()
    assert (answer.status, answer.headers["Location"]) == (201, joining.path)
    head = tus.head(joining.path)
    assert head.headers["Upload-Offset"] == head.headers["Upload-Length"] == str(len(DATA))
    assert head.headers["Repr-Digest"] == repr_digest(DATA)
    assert tus.artifact(DATA) == DATA


@must("concat-no-patch")
def test_nothing_writes_into_it_meanwhile(tus: Tus, joining: Joining) -> None:
    assert tus.patch(joining.path, 0, b"x").status == 403
    assert tus.patch(joining.parts[0], len(PIECES[0]), b"x").status == 413
    assert tus.http.put(f"{API}uploads/{joining.path.removeprefix(ROOT)}/", 0, b"x").status == 409
    assert tus.http("GET", joining.path).problem == (409, "wrong-state")
    joining.go()
    assert joining.answer().status == 201
    assert tus.artifact(DATA) == DATA


def test_others_are_served_meanwhile(tus: Tus, joining: Joining) -> None:
    """Uploads, commits and downloads of both protocols go their way while the kernel copies."""
    data = os.urandom(1_000_000)
    path = tus.create(len(data))
    assert tus.patch(path, 0, data).status == 204
    assert tus.http("GET", path).body == data
    assert tus.http.store(os.urandom(300_000))["state"] == "completed"
    assert not joining.answers
    joining.go()
    assert joining.answer().status == 201


def test_it_is_finished_after_a_kill(tus: Tus, joining: Joining) -> None:
    """The next server goes on by itself, and a client that asks again is told the same upload."""
    joining.server.kill()
    joining.go()
    joining.server.start()
    with Http(joining.server.port) as http:
        after = Tus(http)
        assert ask_for_final(after, joining.parts).headers["Location"] == joining.path
        until(lambda: "Repr-Digest" in after.head(joining.path).headers)
        assert after.artifact(DATA) == DATA
        until(lambda: [after.head(part).status for part in joining.parts] == [404, 404])
    until(lambda: not list((joining.server.data / "staging").iterdir()))


def test_terminated_meanwhile_it_leaves_nothing(tus: Tus, joining: Joining) -> None:
    """Nor are the parts touched: they are still whole."""
    assert tus("DELETE", joining.path).status == 204
    assert tus.head(joining.path).status == 404
    joining.go()
    assert joining.answer().status in {404, 409}
    assert tus.http("GET", f"{API}artifacts/?sha256={sha256(DATA)}").json["count"] == 0
    assert [tus.offset(part) for part in joining.parts] == [len(piece) for piece in PIECES]


def test_a_part_terminated_meanwhile(tus: Tus, joining: Joining) -> None:
    """Either its bytes are in the file already, or the final upload goes: never a file with other bytes."""
    assert tus("DELETE", joining.parts[1]).status == 204
    joining.go()
    answer = joining.answer()
    head = tus.head(joining.path)
    if answer.status == 201:
        assert head.headers["Repr-Digest"] == repr_digest(DATA)
    else:
        assert (answer.status, head.status) == (409, 404)
