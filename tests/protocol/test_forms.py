"""Forms of every kind, sent in pieces to a real server: past the event loop (a length is given) and by messages."""

from __future__ import annotations

import socket
from contextlib import closing, suppress

import pytest
from hypothesis import HealthCheck, given, settings

from tests.protocol.test_data_path import Wire
from tests.support.forms import CONTENT_TYPE, Form, cuts, forms, pieces
from tests.support.server import Http, ServerProcess, sha256


def _send(wire: Wire, href: str, form: Form, sizes: list[int], chunked: bool) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(form.content)}"
    lines = [
        f"PUT {href} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Range: bytes 0-{len(form.file) - 1}/{len(form.file)}",
        framing,
    ]
    wire.send("\r\n".join([*lines, "", ""]).encode())
    for piece in pieces(form.content, sizes, most=100):
        wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    if chunked:
        wire.send(b"0\r\n\r\n")


@pytest.mark.parametrize("chunked", [False, True], ids=["socket", "messages"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=forms().filter(lambda form: len(form.file) > 0), sizes=cuts())
def test_a_form_is_taken_or_refused_as_a_whole(
    server: ServerProcess, http: Http, chunked: bool, form: Form, sizes: list[int]
) -> None:
    href = http.create(len(form.file))
    with closing(Wire(server.port)) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            _send(wire, href, form, sizes, chunked)
        except OSError:  # refused, and closed, before all of it was sent
            assert not form.right
        if form.right:
            answer = wire.answer()
            assert answer.status == 200, answer.body
    shown = http("GET", f"{href}?digests=true").json
    if form.right:
        assert shown["chunks"] == [{"offset": 0, "size": len(form.file), "sha256": sha256(form.file)}]
    else:
        assert shown["chunks"] == []
    assert http("DELETE", href).status == 204


@pytest.mark.parametrize("chunked", [False, True], ids=["socket", "messages"])
@pytest.mark.parametrize("off", [-1, 1, 1 << 40])
@pytest.mark.parametrize("size", [10, 300_000, 2_500_000])
def test_a_wrong_length_of_a_part_is_a_bad_request(
    server: ServerProcess, http: Http, chunked: bool, off: int, size: int
) -> None:
    file = b"x" * size
    head = f'Content-Disposition: form-data; name="file"; filename="f"\r\nContent-Length: {size + off}\r\n\r\n'
    boundary = CONTENT_TYPE.partition("boundary=")[2]
    content = f"--{boundary}\r\n{head}".encode() + file + f"\r\n--{boundary}--\r\n".encode()
    href = http.create(size)
    with closing(Wire(server.port)) as wire:
        with suppress(OSError):  # the answer may have come already
            _send(wire, href, Form(content, file, {}, right=False), [65_536], chunked)
        answer = wire.answer()
    assert answer.problem == (400, "bad-body")
    assert "Content-Length" in answer.json["detail"]
    assert http("GET", href).json["chunks"] == []
