"""A store that answers strangely, at each call of an upload's life in turn: nothing recorded is ever removed.

A proxy before a real store answers one request by itself, as a wrong route, a login page, a replica that lags or a
broken line would. Whoever asked is told 503, and goes on; in the end the file is whole.
"""

from __future__ import annotations

import http.client
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest

from tests.conftest import Engines
from tests.engines.seaweed import Seaweed
from tests.support.proxy import Proxy
from tests.support.server import Answer, Http, ServerProcess
from tests.support.until import DEADLINE_SECONDS, wait_until

pytestmark = [pytest.mark.engines, pytest.mark.slow]

CHUNK = 50_000
DATA = os.urandom(3 * CHUNK)
#: Every so manieth call meets a fault; 1 takes some minutes.
STEP = int(os.environ.get("PARTWISE_STORE_FAULT_STEP", "5"))
_REQUEST = re.compile(rb"(GET|PUT|POST|HEAD|DELETE) \S+ HTTP/1\.1\r\n")
_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d+)\r\n", re.IGNORECASE)


def _answer(head: str, body: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {head}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode() + body


def _cut(request: bytes) -> bytes:
    """An answer that looks right, and ends after some of its bytes."""
    span = _RANGE.search(request)
    size = int(span[2]) - int(span[1]) + 1 if span else 1000
    status = "206 Partial Content" if span else "200 OK"
    return _answer(f'{status}\r\nETag: "0123"', b"x" * (size // 2), size)


#: What is answered in the store's place.
FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "404": lambda _: _answer("404 Not Found", b"<html>no such page</html>"),
    "404-as-the-store": lambda _: _answer(
        "404 Not Found\r\nContent-Type: application/xml", b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"
    ),
    "403": lambda _: _answer("403 Forbidden", b"<html>sign in</html>"),
    "301": lambda _: _answer("301 Moved Permanently\r\nLocation: http://127.0.0.1:1/elsewhere"),
    "500": lambda _: _answer("500 Internal Server Error"),
    "html": lambda _: _answer("200 OK\r\nContent-Type: text/html", b"<html>welcome to this network</html>"),
    "cut": _cut,
    "closed": lambda _: b"",
}


class Saboteur:
    """Answers the ``nth`` request from now on in the store's place. What retries by itself meets the fault again."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.seen = 0

    def arm(self, fault: Callable[[bytes], bytes], nth: int, times: int) -> None:
        self.seen = 0

        def instead(piece: bytes) -> bytes | None:
            if not _REQUEST.match(piece):
                return None
            self.seen += 1
            return fault(piece) if nth <= self.seen < nth + times else None

        self._proxy.instead = instead

    def disarm(self) -> None:
        self._proxy.instead = lambda _: None


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, object_engines: Engines, seaweed_server: Seaweed
) -> Iterator[tuple[ServerProcess, Saboteur]]:
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(seaweed_server.port))
        settings: dict[str, Any] = dict(object_engines())
        settings["storage"] = settings["storage"].replace(seaweed_server.endpoint, proxy.url)
        server = stack.enter_context(ServerProcess(tmp_path_factory.mktemp("faulty"), **settings))
        yield server, Saboteur(proxy)


class Life:
    """An upload from its creation to its download, by a client that goes on after each 503."""

    def __init__(self, connection: Http) -> None:
        self.http = connection
        self.refused = 0

    def insist(self, call: Callable[[], Answer], *good: int) -> Answer:
        found: list[Answer] = []

        def done() -> bool:
            try:
                answer = call()
            except http.client.HTTPException:  # a body that breaks off: its head was sent before anybody knew
                self.refused += 1
                return False
            if answer.status in good:
                found.append(answer)
                return True
            assert answer.problem[0] == 503, answer.body
            self.refused += 1
            return False

        wait_until(done, "it goes on after a fault", seconds=DEADLINE_SECONDS)
        return found[0]

    def has(self, href: str, *offsets: int) -> None:
        shown = self.insist(lambda: self.http("GET", href), 200).json["chunks"]
        assert {chunk["offset"] for chunk in shown} >= set(offsets), "what was acknowledged is kept"

    def run(self) -> None:
        href = self.http.create(len(DATA))

        def put(offset: int, data: bytes) -> Callable[[], Answer]:
            return lambda: self.http.put(href, offset, data, len(DATA))

        sent: list[int] = []
        for offset in (CHUNK, 0, 2 * CHUNK):
            self.insist(put(offset, DATA[offset : offset + CHUNK]), 200)
            sent.append(offset)
            self.has(href, *sent)
        self.insist(put(0, bytes(CHUNK)), 200)  # another chunk in its place, and the right one again
        self.has(href, *sent)
        self.insist(put(0, DATA[:CHUNK]), 200)
        self.insist(lambda: self.http("GET", f"{href}?digests=true"), 200)

        def commit() -> Answer:
            answer = self.http.commit(href, DATA)
            if answer.status != 200:
                # A commit that failed leaves all chunks; one that goes on has not lost them either.
                self.has(href, *sent)
            return answer

        while (done := self.insist(commit, 200, 202)).status != 200:
            pass
        artifact = done.json["artifact"]
        got = self.insist(lambda: self.http("GET", f"{artifact}download/"), 200)
        assert got.body == DATA
        assert self.insist(lambda: self.http("DELETE", href), 204).status == 204
        got = self.insist(lambda: self.http("GET", f"{artifact}download/"), 200)
        assert got.body == DATA
        assert self.http("DELETE", artifact).status == 204


@pytest.mark.parametrize("fault", FAULTS)
def test_at_each_call(site: tuple[ServerProcess, Saboteur], fault: str) -> None:
    """One life for each call that meets the fault, or for some of them: each fault begins at another one."""
    server, saboteur = site
    first = 1 if STEP == 1 else 1 + list(FAULTS).index(fault) % STEP
    met = 0
    try:
        with Http(server.port) as connection:
            for nth in count(first, STEP):
                # Some calls are repeated by the server: every other time the fault lasts for longer than that.
                saboteur.arm(FAULTS[fault], nth, 1 if met % 2 == 0 else 12)
                Life(connection).run()
                if saboteur.seen < nth:
                    break
                met += 1
    finally:
        saboteur.disarm()
    assert met >= 10 // STEP, f"only {met} calls met the fault"
