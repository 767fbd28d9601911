"""PostgreSQL and an object store: upload through one to three servers, against writing the same pieces with botocore.

Run as ``python -m bench.engines [MIB]``. Both sides send the same pieces over as many connections to the same
SeaweedFS, in turns; the median of the rounds is printed. botocore's ``put_object`` is what boto3 calls for a piece.
"""

from __future__ import annotations

import http.client
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.session import Session

from bench.servers import Partwise, partwise
from partwise.catalog import migrate
from tests.engines.postgres import postgres
from tests.engines.seaweed import BUCKET, CREDENTIALS, Seaweed, seaweed

CHUNK = 16 << 20
CONNECTIONS = 8
ROUNDS = 3


def main() -> None:
    """Measure, and print a table."""
    size = int(sys.argv[1]) << 20 if len(sys.argv) > 1 else 512 << 20
    os.environ.update(CREDENTIALS)
    pieces = [memoryview(os.urandom(CHUNK)) for _ in range(size // CHUNK)]
    digest = sha256(b"".join(pieces)).hexdigest()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = stack.enter_context(postgres(Path(tempfile.mkdtemp(prefix="pg-"))))
        store = stack.enter_context(seaweed(Path(tempfile.mkdtemp(prefix="weed-"))))
        catalog = database.url(database.create())
        migrate(catalog)
        servers = [
            stack.enter_context(partwise(folder / str(number), catalog=catalog, storage=store.url("bench")))
            for number in range(3)
        ]
        direct, through, commits = [], {1: [], 2: [], 3: []}, []  # type: ignore[var-annotated]
        for _ in range(ROUNDS):
            direct.append(_timed(lambda: _put_directly(store, pieces)))
            for count, times in through.items():
                href = _create(servers[0], len(pieces) * CHUNK)
                times.append(_timed(lambda count=count, href=href: _upload(servers[:count], href, pieces)))  # type: ignore[misc]
                commits.append(_timed(lambda href=href: _commit(servers[0], href, digest)))  # type: ignore[misc]
                forget(servers[0], href)
        base = statistics.median(direct)
        mib = size >> 20
        print(f"{mib} MiB in pieces of {CHUNK >> 20} MiB over {CONNECTIONS} connections, median of {ROUNDS}")
        print(f"botocore put_object   {mib / base:6.0f} MiB/s")
        for count, times in through.items():
            median = statistics.median(times)
            print(f"{count} server(s)           {mib / median:6.0f} MiB/s   {base / median:.2f} x")
        print(f"commit after the last byte {statistics.median(commits):.2f} s")
        print("peak memory of a server    " + ", ".join(f"{peak(server)} MiB" for server in servers))


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _put_directly(store: Seaweed, pieces: list[memoryview]) -> None:
    config = Config(s3={"addressing_style": "path"}, max_pool_connections=CONNECTIONS)
    client: Any = Session().create_client("s3", endpoint_url=store.endpoint, region_name="us-east-1", config=config)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        jobs = [
            pool.submit(client.put_object, Bucket=BUCKET, Key=f"direct/{number}", Body=bytes(piece))
            for number, piece in enumerate(pieces)
        ]
        for job in jobs:
            job.result()
    client.close()


def request(
    server: Partwise, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
    try:
        connection.request(method, path, body, headers or {})  # type: ignore[arg-type]
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text!r}")
        return answer, text
    finally:
        connection.close()


def _create(server: Partwise, size: int) -> str:
    answer, _ = request(
        server, "POST", "/pulp/api/v3/uploads/", f'{{"size": {size}}}', {"Content-Type": "application/json"}
    )
    return str(answer.headers["Location"])


def _upload(servers: list[Partwise], href: str, pieces: list[memoryview]) -> None:
    def put(number: int) -> None:
        span = f"bytes {number * CHUNK}-{(number + 1) * CHUNK - 1}/*"
        headers = {"Content-Range": span, "Content-Type": "application/octet-stream"}
        request(servers[number % len(servers)], "PUT", href, pieces[number], headers)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(put, range(len(pieces))))


def _commit(server: Partwise, href: str, digest: str) -> None:
    body, kind = f'{{"sha256": "{digest}"}}', {"Content-Type": "application/json"}
    while request(server, "PUT", f"{href}commit", body, kind)[0].status == 202:
        pass


def forget(server: Partwise, href: str) -> None:
    request(server, "DELETE", href)


def peak(server: Partwise) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) >> 10


if __name__ == "__main__":
    main()
