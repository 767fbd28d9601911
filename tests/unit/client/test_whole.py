"""Small files in one request."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from partwise.client.errors import AnswerError, CannotReachServer, ClientError, FileChanged
from partwise.client.retry import Patience, persist
from partwise.client.source import LocalFile, Memory
from partwise.client.whole import MOST_BYTES, fits, send_whole
from partwise.http.forms import parse_small_form

DATA = b"some bytes\r\n--of a file"
DIGEST = hashlib.sha256(DATA).hexdigest()
MADE = {"pulp_href": "/pulp/api/v3/artifacts/1/", "sha256": DIGEST, "size": len(DATA), "filename": "a.txt"}


class Server:
    """Gives its answers one after the other, and the last one again and again."""

    def __init__(self, *answers: dict[str, Any] | ClientError) -> None:
        self.answers = list(answers)
        self.bodies: list[tuple[bytes, str]] = []

    def post(self, body: bytes, content_type: str, again: Callable[[ClientError], bool]) -> dict[str, Any]:
        def attempt() -> dict[str, Any]:
            self.bodies.append((body, content_type))
            answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
            if isinstance(answer, ClientError):
                raise answer
            return answer

        patience = Patience(10, clock=lambda: float(len(self.bodies)))
        return persist(attempt, patience, _Hasty(), again=again)


class _Hasty(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        return False


def cut() -> CannotReachServer:
    return CannotReachServer("The connection was cut.")


def refused(status: int) -> AnswerError:
    return AnswerError(status, "No.", {})


def test_the_form_has_the_file_and_its_digest() -> None:
    server = Server(MADE)
    artifact = send_whole(Memory(memoryview(DATA)), "ä b.txt", server.post)
    assert artifact is not None
    assert artifact.sha256 == DIGEST
    [(body, content_type)] = server.bodies
    form = parse_small_form(content_type, body)
    assert (form.file, form.filename, form.media_type) == (DATA, "ä b.txt", "text/plain")
    assert form.fields == {"sha256": DIGEST}


@pytest.mark.parametrize("first", [[cut()], [refused(503)], [refused(429), cut(), refused(502)]], ids=str)
def test_it_is_sent_again_after_what_passes(first: list[ClientError]) -> None:
    server = Server(*first, MADE)
    assert send_whole(Memory(memoryview(DATA)), "a.txt", server.post) is not None
    assert len(server.bodies) == len(first) + 1


@pytest.mark.parametrize(
    "answer, requests",
    [
        (cut(), 2),
        (refused(500), 1),
        (refused(404), 1),
        (refused(413), 1),
        ({"pulp_href": "/", "sha256": "0" * 64, "size": len(DATA)}, 1),
        ({"welcome": "Sign in to this network"}, 1),
    ],
    ids=str,
)
def test_what_does_not_get_through_goes_in_parts(answer: dict[str, Any] | ClientError, requests: int) -> None:
    server = Server(answer)
    assert send_whole(Memory(memoryview(DATA)), "a.txt", server.post) is None
    assert len(server.bodies) == requests


def test_a_busy_server_is_asked_until_the_patience_is_used_up() -> None:
    server = Server(refused(503))
    assert send_whole(Memory(memoryview(DATA)), "a.txt", server.post) is None
    assert len(server.bodies) > 2


def test_a_server_that_cannot_be_found_is_told_at_once() -> None:
    server = Server(CannotReachServer("No such host.", before_request=True, unknown_host=True))
    with pytest.raises(CannotReachServer, match="No such host"):
        send_whole(Memory(memoryview(DATA)), "a.txt", server.post)
    assert len(server.bodies) == 1


def test_a_file_that_changes_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(DATA)
    server = Server(MADE)
    with LocalFile(path) as file:
        path.write_bytes(DATA + b"more")
        with pytest.raises(FileChanged):
            send_whole(file, "f", server.post)
    assert server.bodies == []


@pytest.mark.parametrize(
    "name, size, does",
    [
        ("f.bin", 0, True),
        ("ü (1).bin", MOST_BYTES, True),
        ("f.bin", MOST_BYTES + 1, False),
        ("", 1, False),
        *((f"a{bad}b", 1, False) for bad in '"\\%\n\0\x7f\udcff'),
    ],
)
def test_which_files_are_sent_so(name: str, size: int, does: bool) -> None:
    assert fits(name, size) is does
