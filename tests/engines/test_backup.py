"""Back-up and restore as the guide tells it, while clients go on uploading: what was acknowledged before is there."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from partwise.core.ranges import ByteRange
from partwise.storage.s3.address import S3Address
from partwise.storage.s3.store import S3Store
from tests.conftest import Engines
from tests.engines.postgres import Postgres
from tests.support.engines import CATALOG
from tests.support.server import API, Http, ServerProcess, sha256

CHUNK = 50_000


@dataclass
class Clients:
    """Some who upload file after file, and what they were told."""

    port: int
    #: Files that were committed, by digest.
    stored: dict[str, bytes] = field(default_factory=dict)
    #: An upload that stays open, and its file, of which the first chunk was acknowledged.
    href: str = ""
    half: bytes = b""
    _ended: threading.Event = field(default_factory=threading.Event)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def begin(self) -> None:
        self.half = random.Random(0).randbytes(2 * CHUNK)
        with Http(self.port) as http:
            self.href = http.create(len(self.half))
            assert http.put(self.href, 0, self.half[:CHUNK]).status == 200

    def upload(self, seed: int) -> None:
        rng = random.Random(seed)
        with Http(self.port) as http:
            while not self._ended.is_set():
                data = rng.randbytes(rng.randrange(1, 4 * CHUNK))
                href = http.create(len(data))
                for offset in range(0, len(data), CHUNK):
                    assert http.put(href, offset, data[offset : offset + CHUNK]).status == 200
                assert http.commit(href, data).status == 200
                with self._news:
                    self.stored[sha256(data)] = data
                    self._news.notify_all()

    def wait_for(self, more: int) -> dict[str, bytes]:
        """Until so many more files are stored; all of them."""
        with self._news:
            goal = len(self.stored) + more
            assert self._news.wait_for(lambda: len(self.stored) >= goal, 60)
            return dict(self.stored)

    def end(self) -> None:
        self._ended.set()


@contextmanager
def busy(server: ServerProcess) -> Iterator[Clients]:
    """Clients at work."""
    clients = Clients(server.port)
    clients.begin()
    threads = [threading.Thread(target=clients.upload, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.end()
        for thread in threads:
            thread.join()


def check(server: ServerProcess, *options: str, code: int = 0) -> list[dict[str, str]]:
    """``partwise check`` beside a server or before it starts; what it found."""
    command = [sys.executable, "-m", "partwise.cli", "check", "--json", *options, "--data", str(server.data)]
    environment = os.environ | server.settings
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def is_restored(server: ServerProcess, clients: Clients, before: dict[str, bytes]) -> None:
    """All that was stored before the back-up is there, all that is there is right, and work goes on."""
    with Http(server.port) as http:
        listed = http("GET", f"{API}artifacts/?limit=1000").json["results"]
        assert before.keys() <= {artifact["sha256"] for artifact in listed}
        for artifact in listed:
            assert http("GET", f"{artifact['pulp_href']}download/").body == clients.stored[artifact["sha256"]]
        shown = http("GET", clients.href).json
        assert shown["chunks"] == [{"offset": 0, "size": CHUNK}]
        assert http.put(clients.href, CHUNK, clients.half[CHUNK:]).status == 200
        assert http.commit(clients.href, clients.half).status == 200
        http.store(b"and more")


def test_a_folder_is_copied_under_a_running_server(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with ServerProcess(tmp_path / "data") as server, busy(server) as clients:
        before = clients.wait_for(5)
        # The records first: whatever they name is in the files that are copied after.
        copy.mkdir(mode=0o700)
        with closing(sqlite3.connect(server.data / CATALOG)) as database:
            database.execute("VACUUM INTO ?", [str(copy / CATALOG)])
        clients.wait_for(3)
        for name in ("artifacts", "staging"):
            # As `cp -a` does; files that go meanwhile are told of, and are no matter.
            subprocess.run(["cp", "-a", str(server.data / name), str(copy)], check=False, capture_output=True)
        clients.wait_for(1)
    shutil.rmtree(tmp_path / "data")

    restored = ServerProcess(copy)
    # Files that the records do not know yet, and uploads that were committed in between, are left over.
    check(restored, "--repair")
    assert [found for found in check(restored) if "kind" in found] == []
    with restored:
        is_restored(restored, clients, before)


@pytest.mark.engines
def test_a_database_and_a_bucket_are_copied_under_running_servers(
    tmp_path: Path, postgres_server: Postgres, object_engines: Engines
) -> None:
    ours: dict[str, Any] = dict(object_engines())
    copy: dict[str, Any] = object_engines() | {"catalog": postgres_server.url(postgres_server.create())}
    with ServerProcess(tmp_path, **ours) as server, busy(server) as clients:
        before = clients.wait_for(5)
        dump = tmp_path / "partwise.dump"
        pg(postgres_server, "pg_dump", "--format=custom", f"--file={dump}", ours["catalog"])
        clients.wait_for(3)
        with closing(bucket_of(ours)) as source, closing(bucket_of(copy)) as target:
            copy_objects(source, target)
        clients.wait_for(1)

    pg(postgres_server, "pg_restore", "--exit-on-error", f"--dbname={copy['catalog']}", str(dump))
    restored = ServerProcess(tmp_path, **copy)
    assert [found for found in check(restored) if "kind" in found] == []
    with restored:
        is_restored(restored, clients, before)


def pg(server: Postgres, program: str, *arguments: str) -> None:
    done = subprocess.run([str(server.programs / program), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def bucket_of(settings: dict[str, Any]) -> S3Store:
    return S3Store(S3Address.parse(settings["storage"]))


def copy_objects(source: S3Store, target: S3Store) -> None:
    """As ``aws s3 sync`` and its like do."""
    for listed in source.list():
        put = target.put(listed.key, listed.size)
        for block in source.read([(listed.key, ByteRange(0, listed.size))]):
            put.write(memoryview(block))
        put.finish()
    source.close()
    target.close()
