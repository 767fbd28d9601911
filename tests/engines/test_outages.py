"""The database or the object store goes away in the middle: clients are told, nothing is lost, all goes on by itself.

The database and the store are real ones of these tests' own, which are killed and started again. What a store that is
there refuses is put into its mouth by a proxy.
"""

from __future__ import annotations

import http.client
import os
import random
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from partwise.catalog import migrate
from tests.engines.postgres import Postgres, postgres
from tests.engines.seaweed import CREDENTIALS, Seaweed, seaweed
from tests.support.folders import service_folder
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256

pytestmark = [pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(300)]

CHUNK = 300_007
CHUNKS = 40
DATA = random.Random(3).randbytes(CHUNK * CHUNKS - 11)


@dataclass
class Site:
    """A server on engines that can be taken away, and the proxy before its store."""

    server: ServerProcess
    database: Postgres
    store: Seaweed
    proxy: Proxy


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        # What it acknowledged has to outlive it here.
        database = stack.enter_context(postgres(service_folder("pg-"), synchronous_commit="on"))
        store = stack.enter_context(seaweed(service_folder("weed-")))
        proxy = stack.enter_context(Proxy(store.port))
        catalog = database.url(database.create())
        migrate(catalog)
        storage = store.url("outages").replace(store.endpoint, proxy.url)
        folder = tmp_path_factory.mktemp("outages")
        server = ServerProcess(folder, catalog=catalog, storage=storage, log=folder / "log", log_format="json")
        yield Site(stack.enter_context(server), database, store, proxy)


@dataclass
class Client:
    """Sends the file over four connections, and insists; every answer that is no success must say: later."""

    port: int
    href: str
    acknowledged: set[int] = field(default_factory=set)
    refusals: int = 0
    _news: threading.Condition = field(default_factory=threading.Condition)

    def send(self) -> None:
        offsets = list(range(0, len(DATA), CHUNK))
        random.Random(1).shuffle(offsets)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._put, offsets))

    def _put(self, offset: int) -> None:
        deadline = time.monotonic() + 120
        while True:
            with Http(self.port) as connection:
                answer = connection.put(self.href, offset, DATA[offset : offset + CHUNK], len(DATA))
            with self._news:
                if answer.status == 200:
                    self.acknowledged.add(offset)
                else:
                    assert answer.problem == (503, "storage-failed")
                    assert int(answer.headers["Retry-After"]) > 0
                    self.refusals += 1
                self._news.notify_all()
            if answer.status == 200:
                return
            assert time.monotonic() < deadline, "it does not recover"
            time.sleep(0.1)

    def wait_for(self, condition: Callable[[Client], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: condition(self), 120)


def commit_and_compare(site: Site, href: str) -> None:
    with Http(site.server.port) as connection:
        while (answer := connection.commit(href, DATA)).status in (202, 503):
            time.sleep(0.05)
        assert answer.status == 200, answer.body
        assert connection("GET", f"{answer.json['artifact']}download/").body == DATA


@pytest.mark.parametrize("what", ["database", "store"])
def test_clients_go_on_after_an_outage(site: Site, what: str) -> None:
    port = site.server.port
    with Http(port) as connection:
        client = Client(port, connection.create(len(DATA)))
    sender = ThreadPoolExecutor(1)
    sending = sender.submit(client.send)
    try:
        client.wait_for(lambda client: len(client.acknowledged) > CHUNKS // 4)
        if what == "database":
            site.database.stop()
        else:
            site.store.kill()
        client.wait_for(lambda client: client.refusals > 4)
        with Http(port) as connection:
            assert connection("GET", "/livez").status == 200, "the server itself lives"
            ready = connection("GET", "/readyz")
            assert (ready.status, ready.headers["Retry-After"]) == (503, "1")
            if what == "database":
                for method, path in (("GET", client.href), ("DELETE", client.href), ("POST", f"{API}uploads/")):
                    assert connection(method, path, {"size": 1}).problem == (503, "storage-failed")
            else:
                shown = connection("GET", client.href).json["chunks"]
                assert client.acknowledged <= {chunk["offset"] for chunk in shown}
    finally:
        (site.database if what == "database" else site.store).start()
        sending.result()
        sender.shutdown()
    with Http(port) as connection:
        shown = connection("GET", client.href).json
        assert {chunk["offset"] for chunk in shown["chunks"]} == set(range(0, len(DATA), CHUNK))
        assert connection("GET", "/readyz").status == 200
    commit_and_compare(site, client.href)


@pytest.mark.parametrize("what", ["database", "store"])
def test_a_commit_survives_an_outage(site: Site, what: str) -> None:
    """It is begun, the engine goes away before the file is hashed, and comes back: the same commit ends."""
    engine: Postgres | Seaweed = site.database if what == "database" else site.store
    with Http(site.server.port) as connection:
        href = connection.create(len(DATA))
        assert connection.put(href, CHUNK, DATA[CHUNK:], len(DATA)).status == 200
        assert connection.put(href, 0, DATA[:CHUNK], len(DATA)).status == 200
        task = connection("POST", f"{href}commit/", {"sha256": sha256(DATA)})
        assert task.status == 202
        site.database.stop() if what == "database" else site.store.kill()
        answer = connection("PUT", f"{href}commit", {"sha256": sha256(DATA)})
        # It may have been done before; with the database away nobody can know that.
        assert answer.status in ({503} if what == "database" else {200, 202}), answer.body
        engine.start()
    commit_and_compare(site, href)


def refusal(status: int, code: str) -> bytes:
    """A store's answer to a request of which the body was not read."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    head = f"HTTP/1.1 {status} {http.client.responses[status]}\r\nContent-Type: application/xml\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "status, code",
    [
        (500, "InternalError"),
        (503, "SlowDown"),
        (403, "AccessDenied"),
        (403, "RequestTimeTooSkewed"),
        (404, "NoSuchBucket"),
    ],
)
def test_what_the_store_refuses_is_no_fault_of_the_client(site: Site, status: int, code: str) -> None:
    data = os.urandom(CHUNK)
    with Http(site.server.port) as connection:
        stored = connection.store(data)
        href = connection.create(len(data))
        site.proxy.cut()
        site.proxy.instead = lambda piece: refusal(status, code)
        try:
            refused = connection.put(href, 0, data)
            assert refused.problem == (503, "storage-failed")
            assert f"{status}, {code}" in refused.json["detail"]
            assert connection("GET", f"{stored['artifact']}download/").problem == (503, "storage-failed")
        finally:
            site.proxy.instead = lambda piece: None
        assert connection("GET", href).json["chunks"] == []
        assert connection.put(href, 0, data).status == 200
        assert connection.commit(href, data).status == 200
        assert connection("GET", f"{stored['artifact']}download/").body == data


def test_a_connection_to_the_store_that_breaks_costs_a_retry(site: Site) -> None:
    """In the middle of a chunk nothing is recorded; in the middle of a download the server reads on by itself."""
    data = os.urandom(8 << 20)
    with Http(site.server.port) as connection, ThreadPoolExecutor(1) as pool:
        href = connection.create(len(data))
        site.proxy.hold_after(3 << 20)
        sending = pool.submit(connection.put, href, 0, data)
        site.proxy.wait_until_held()
        site.proxy.cut()
        site.proxy.release()
        assert sending.result().problem == (503, "storage-failed")
        assert connection("GET", href).json["chunks"] == []
        assert connection.put(href, 0, data).status == 200
        artifact = connection.commit(href, data).json["artifact"]
    with urllib.request.urlopen(f"{site.server.url}{artifact}download/") as response:
        got = response.read(1 << 20)
        site.proxy.cut()
        assert got + response.read() == data
