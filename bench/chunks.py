"""One file in very many chunks of 1,048,575 bytes, as Katello sends it: through one server, on files or on engines.

Run as ``python -m bench.chunks CHUNKS [--size BYTES] [--objects]``. It prints what each stage takes, the memory of the
server, and with ``--objects`` what becomes of the many objects behind the scenes; ``--no-merging`` leaves before that.
Disk: twice the file with ``--objects``, once without merging.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from threading import local
from typing import Any

from bench.engines import forget, peak, request
from bench.servers import Partwise, partwise
from partwise.catalog import migrate
from tests.engines.postgres import Postgres, postgres
from tests.engines.seaweed import CREDENTIALS, seaweed
from tests.support.engines import open_objects

CONNECTIONS = 8
#: Contents of chunks: chunk n has that of n modulo so many, with its number in front.
_CONTENTS = 16
#: Bytes that each content repeats, so that 50,000 of them fit on a disk whose file system compresses (see TMPDIR).
_BLOCK = 4096


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.chunks", description=__doc__)
    parser.add_argument("chunks", type=int)
    parser.add_argument("--size", type=int, default=1_048_575, help="bytes of a chunk (default: Katello's)")
    parser.add_argument("--objects", action="store_true", help="PostgreSQL and an object store instead of files")
    parser.add_argument("--no-merging", action="store_true", help="do not wait until one object was made of all")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(_engines(stack)) if options.objects else None
        settings = database[1] if database else {}
        server = stack.enter_context(partwise(folder / "data", max_chunks=10**6, **settings))
        digest = _upload(server, options.chunks, options.size)
        if database and not options.no_merging:
            _merging(*database[0], digest)
            print(f"memory after merging      {peak(server)} MiB")
            artifact = json.loads(request(server, "GET", "/pulp/api/v3/artifacts/")[1])["results"][0]["pulp_href"]
            print(f"download of the object    {_timed(lambda: _download(server, artifact, digest)):.2f} s")
            print(f"deletion of the old ones  {_timed(lambda: asyncio.run(_tidy(settings))):.2f} s")


@contextmanager
def _engines(stack: ExitStack) -> Iterator[tuple[tuple[Postgres, str], dict[str, Any]]]:
    os.environ.update(CREDENTIALS)
    database = stack.enter_context(postgres(Path(tempfile.mkdtemp(prefix="pg-"))))
    store = stack.enter_context(seaweed(Path(tempfile.mkdtemp(prefix="weed-"))))
    name = database.create()
    migrate(database.url(name))
    yield (database, name), {"catalog": database.url(name), "storage": store.url("bench")}


def _content(number: int, contents: list[bytes]) -> bytes:
    return number.to_bytes(8, "big") + contents[number % _CONTENTS]


def _upload(server: Partwise, count: int, size: int) -> str:
    contents = [(os.urandom(_BLOCK) * -(-size // _BLOCK))[: size - 8] for _ in range(_CONTENTS)]
    whole = sha256()
    answer, _ = request(server, "POST", "/pulp/api/v3/uploads/", json.dumps({"size": size * count}), _JSON)
    href, own = str(answer.headers["Location"]), local()

    def put(number: int) -> None:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        span = f"bytes {number * size}-{(number + 1) * size - 1}/*"
        headers = {"Content-Range": span, "Content-Type": "application/octet-stream"}
        own.connection.request("PUT", href, _content(number, contents), headers)
        got = own.connection.getresponse()
        if got.status != 200:
            raise RuntimeError(f"{got.status} {got.read()!r}")
        got.read()

    tenth = max(1, count // 10)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for first in range(0, count, tenth):
            numbers = range(first, min(count, first + tenth))
            seconds = _timed(lambda numbers=numbers: list(pool.map(put, numbers)))  # type: ignore[misc]
            print(
                f"chunks {numbers[0]:6} to {numbers[-1]:6}  {len(numbers) / seconds:6.0f} chunks/s   {peak(server)} MiB"
            )
    for number in range(count):
        whole.update(_content(number, contents))
    print(f"list of chunks            {_timed(lambda: request(server, 'GET', href)):.2f} s   {peak(server)} MiB")
    body = json.dumps({"sha256": whole.hexdigest()})
    print(f"commit                    {_timed(lambda: _commit(server, href, body)):.2f} s   {peak(server)} MiB")
    artifact = json.loads(request(server, "GET", href)[1])["artifact"]
    print(f"download                  {_timed(lambda: _download(server, artifact, whole.hexdigest())):.2f} s")
    print(f"deletion of the upload    {_timed(lambda: forget(server, href)):.2f} s   {peak(server)} MiB")
    return whole.hexdigest()


_JSON = {"Content-Type": "application/json"}


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _commit(server: Partwise, href: str, body: str) -> None:
    while request(server, "PUT", f"{href}commit", body, _JSON)[0].status == 202:
        pass


def _download(server: Partwise, artifact: str, digest: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    connection.request("GET", f"{artifact}download/")
    answer, found = connection.getresponse(), sha256()
    while block := answer.read(1 << 20):
        found.update(block)
    connection.close()
    if found.hexdigest() != digest:
        raise RuntimeError("other bytes came back")


def _merging(database: Postgres, name: str, digest: str) -> None:
    """Wait until the server has made one object of all."""
    start = time.perf_counter()
    while database.execute(f"SELECT count(*) FROM segments WHERE sha256 = '{digest}'", name) != 1:
        time.sleep(1)
    print(f"one object of all, after  {time.perf_counter() - start:.0f} s")


async def _tidy(urls: dict[str, Any]) -> None:
    """Delete what was merged, as a server does an hour later."""
    _, storage, catalog = open_objects(urls, later=timedelta(hours=2))
    await catalog.start()
    try:
        print(f"objects deleted           {await storage.house.delete_garbage()}")
        left = await asyncio.to_thread(lambda: len(list(storage.store.list())))
        print(f"objects left              {left}")
    finally:
        await storage.stop()
        await catalog.stop()


if __name__ == "__main__":
    main()
