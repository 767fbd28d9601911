"""Large files: sixteen chunks at once, a thousand chunks, and nothing in the page that grows with them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from playwright.sync_api import CDPSession, expect

from partwise.core.digests import format_digest_field
from tests.browser.conftest import MIB, Opener, UploadPage, sign_in
from tests.support.nginx import NGINX, free_port, guide_site, nginx, plain_site
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token

KIB = 1024


def write_large(path: Path, size_mib: int) -> str:
    """A file of which no two chunks are the same; its SHA-256."""
    digest, block = hashlib.sha256(), os.urandom(16 * MIB)
    with path.open("wb") as file:
        for number in range(size_mib // 16):
            block = number.to_bytes(8) + block[8:]
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


def chunks_of_only_upload(server: ServerProcess) -> list[dict[str, int]]:
    """What the server recorded."""
    with Http(server.port) as http:
        upload = http("GET", f"{API}uploads/").json["results"][0]
        return list(http("GET", upload["pulp_href"]).json["chunks"])


class Flights:
    """How many chunks' bodies are on their way at the same time; for `Proxy.mangle`."""

    def __init__(self, bytes_per_second: float) -> None:
        #: Of each connection.
        self._rate = bytes_per_second
        self.most = 0
        self._left: dict[int, int] = {}
        self._lock = threading.Lock()

    def __call__(self, connection: int, piece: bytes) -> bytes:
        """See what goes over a connection, which carries one request at a time."""
        with self._lock:
            head, _, body = piece.partition(b"\r\n\r\n")
            if piece.startswith(b"PUT") and (length := re.search(rb"(?i)content-length: (\d+)", head)):
                self._left[connection] = int(length[1]) - len(body)
            elif connection in self._left:
                self._left[connection] -= len(piece)
            self._left = {each: left for each, left in self._left.items() if left > 0}
            self.most = max(self.most, len(self._left))
        time.sleep(len(piece) / self._rate)
        return piece


@pytest.mark.slow
def test_a_large_file_over_http1_goes_over_five_connections(open_page: Opener, tmp_path: Path) -> None:
    digest = write_large(tmp_path / "large.img", 96)
    flights = Flights(20e6)
    with (
        ServerProcess(tmp_path / "large", chunk_size=4 * MIB, parallel=16) as server,
        Proxy(server.port) as proxy,
    ):
        proxy.mangle = flights
        web = open_page(url=proxy.url)
        web.choose(tmp_path / "large.img")
        web.await_digest("large.img", digest, 180)
        # The browser opens six to one server; one stays free for the lists, downloads and the commit.
        assert flights.most == 5


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    curve = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    command = f"openssl req -x509 {curve} -days 2 -subj /CN=127.0.0.1 -out {made} -keyout {key}"
    subprocess.run(command.split(), check=True, capture_output=True)
    return made, key


@pytest.mark.slow
@pytest.mark.skipif(NGINX is None or shutil.which("openssl") is None, reason="needs nginx and openssl")
def test_a_large_file_over_http2_goes_in_sixteen_chunks_at_once(open_page: Opener, tmp_path: Path) -> None:
    digest = write_large(tmp_path / "large.img", 256)
    flights, port = Flights(4e6), free_port()
    made, key = certificate(tmp_path)
    with (
        ServerProcess(tmp_path / "large", chunk_size=4 * MIB, parallel=16, auth="token") as server,
        Proxy(server.port) as proxy,
        nginx(tmp_path, port, guide_site(proxy.port, f"listen 127.0.0.1:{port} ssl http2", (made, key))),
    ):
        proxy.mangle = flights
        web = open_page(url=f"https://127.0.0.1:{port}", ignore_https_errors=True)
        sign_in(web, make_token(server, "ann"))
        web.choose(tmp_path / "large.img")
        web.await_digest("large.img", digest, 180)
        assert flights.most == 16


def test_a_proxy_that_takes_only_small_bodies(open_page: Opener, tmp_path: Path) -> None:
    data = os.urandom(10 * MIB)
    (tmp_path / "disk.img").write_bytes(data)
    port = free_port()
    with (
        ServerProcess(tmp_path / "small", chunk_size=4 * MIB) as server,
        nginx(tmp_path, port, plain_site(server.port, f"listen 127.0.0.1:{port}")),
    ):
        web = open_page(url=f"http://127.0.0.1:{port}")
        web.choose(tmp_path / "disk.img")
        web.await_digest("disk.img", sha256(data))
        assert {chunk["size"] for chunk in chunks_of_only_upload(server)} == {MIB}


@pytest.mark.slow
def test_a_thousand_chunks(web: UploadPage, server: ServerProcess, tmp_path: Path) -> None:
    """As a file of 16 GB has, half of them sent by another program, with as many gaps between them."""
    data = os.urandom(1000 * KIB)
    (tmp_path / "disk.img").write_bytes(data)
    with Http(server.port) as http:
        href = http.create(len(data), filename="disk.img")
        for offset in range(0, len(data), 2 * KIB):
            chunk = data[offset : offset + KIB]
            answer = http.put(href, offset, chunk, Content_Digest=format_digest_field(sha256(chunk)))
            assert answer.status == 200
    session = web.page.context.new_cdp_session(web.page)
    row = web.unfinished("disk.img")
    expect(row).to_be_visible()
    before = used_memory(session)
    row.locator("input[type=file]").set_input_files(str(tmp_path / "disk.img"))
    sending = web.page.locator("li[data-state=going]")
    expect(sending).to_be_visible()
    parts = sending.locator(".bar rect").count()
    web.await_digest("disk.img", sha256(data), 120)
    assert parts < 300, "the page draws each chunk"
    assert used_memory(session) < before + 4 * MIB
    assert len(chunks_of_only_upload(server)) == 1000


@pytest.mark.slow
def test_nothing_grows_with_what_was_sent(open_page: Opener, proxy: Proxy, tmp_path: Path) -> None:
    digest = write_large(tmp_path / "large.img", 256)
    web = open_page()
    session = web.page.context.new_cdp_session(web.page)
    proxy.hold_after(64 * MIB)
    web.choose(tmp_path / "large.img")
    proxy.wait_until_held()
    before = used_memory(session)
    proxy.release()
    web.await_digest("large.img", digest, 90)
    assert used_memory(session) < before + MIB


def used_memory(session: CDPSession) -> int:
    """Bytes of the page's script that are in use."""
    session.send("HeapProfiler.collectGarbage")
    return int(session.send("Runtime.getHeapUsage")["usedSize"])
