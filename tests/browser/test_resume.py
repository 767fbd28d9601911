"""Nothing that arrived is sent again: after a pause, a closed tab, a lost network, a killed server, another program."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from partwise.core.digests import format_digest_field
from tests.browser.conftest import ARGUMENTS, MIB, Opener, UploadPage, chromium, write_file
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256

SIZE = 24 * MIB
#: What goes over the wire beside the bytes of files: requests, and chunks in flight that a break made void.
SLACK = 7 * MIB


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    """The contents of disk.img."""
    return write_file(tmp_path / "disk.img", SIZE)


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``partwise …``, ended when the block is left."""
    line = [sys.executable, "-m", "partwise.cli", *arguments]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def profile(browser: Browser, proxy: Proxy, tmp_path: Path) -> Iterator[Callable[[], UploadPage]]:
    """Starts a browser of its own that keeps its profile in a folder, always the same, and opens the page."""
    contexts: list[BrowserContext] = []

    def start() -> UploadPage:
        folder = tmp_path / "profile"
        context = browser.browser_type.launch_persistent_context(folder, executable_path=chromium(), args=ARGUMENTS)
        contexts.append(context)
        web = UploadPage(context.pages[0])
        web.page.goto(proxy.url)
        return web

    yield start
    for context in contexts:
        context.close()


def hold_half_way(web: UploadPage, proxy: Proxy, tmp_path: Path) -> None:
    """Begin to upload disk.img, and stand still in the middle."""
    proxy.hold_after(SIZE // 2)
    web.choose(tmp_path / "disk.img")
    proxy.wait_until_held()


def received(server: ServerProcess) -> int:
    """Bytes that the server has of its one upload."""
    with Http(server.port) as http:
        return int(http("GET", f"{API}uploads/").json["results"][0]["received"])


def test_pause_and_resume(web: UploadPage, proxy: Proxy, data: bytes, tmp_path: Path) -> None:
    hold_half_way(web, proxy, tmp_path)
    web.page.get_by_role("button", name="Pause disk.img").click()
    web.await_state("disk.img", "paused")
    proxy.release()
    expect(web.page.locator("li[data-state=paused]")).to_contain_text("Paused")
    before = proxy.passed
    web.page.get_by_role("button", name="Resume disk.img").click()
    web.await_digest("disk.img", sha256(data))
    assert proxy.passed - before < SIZE // 2 + SLACK


def test_a_closed_tab_goes_on_with_the_same_file(
    open_page: Opener, server: ServerProcess, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    first = open_page()
    hold_half_way(first, proxy, tmp_path)
    first.page.close()
    proxy.release()
    web = open_page()
    row = web.unfinished("disk.img")
    expect(row).to_contain_text("of 25.2 MB")
    there, before = received(server), proxy.passed
    row.locator("input[type=file]").set_input_files(str(tmp_path / "disk.img"))
    web.await_digest("disk.img", sha256(data))
    assert there >= 4 * MIB
    assert proxy.passed - before < SIZE - there + 2 * MIB
    expect(row).to_have_count(0)


def test_the_browser_is_ended_and_started_again(
    profile: Callable[[], UploadPage], server: ServerProcess, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    first = profile()
    hold_half_way(first, proxy, tmp_path)
    first.page.context.close()
    proxy.cut()
    proxy.release()
    web = profile()
    row = web.unfinished("disk.img")
    expect(row).to_contain_text("of 25.2 MB")
    there, before = received(server), proxy.passed
    row.locator("input[type=file]").set_input_files(str(tmp_path / "disk.img"))
    web.await_digest("disk.img", sha256(data))
    assert there >= 4 * MIB
    assert proxy.passed - before < SIZE - there + 2 * MIB


def slow(connection: int, piece: bytes) -> bytes:
    """400 kB/s for each connection."""
    time.sleep(len(piece) / 4e5)
    return piece


def test_two_tabs_do_not_send_the_same_twice(
    open_page: Opener, server: ServerProcess, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    first = open_page()
    second = open_page(first.page.context)
    proxy.mangle = slow
    first.choose(tmp_path / "disk.img")
    second.unfinished("disk.img").locator("input[type=file]").set_input_files(str(tmp_path / "disk.img"))
    expect(second.transfer("disk.img")).to_contain_text("Being sent in another tab")
    first.await_digest("disk.img", sha256(data), 40)
    second.await_digest("disk.img", sha256(data), 40)
    with Http(server.port) as http:
        assert http("GET", f"{API}artifacts/").json["count"] == 1
    assert proxy.passed < SIZE + 2 * MIB


def test_the_second_tab_takes_over_when_the_first_is_closed(
    open_page: Opener, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    first = open_page()
    second = open_page(first.page.context)
    proxy.mangle = slow
    first.choose(tmp_path / "disk.img")
    second.unfinished("disk.img").locator("input[type=file]").set_input_files(str(tmp_path / "disk.img"))
    expect(second.transfer("disk.img")).to_contain_text("Being sent in another tab")
    first.page.close()
    proxy.mangle = lambda connection, piece: piece
    second.await_digest("disk.img", sha256(data), 40)


def test_a_file_that_is_dropped_again_is_recognised(
    open_page: Opener, proxy: Proxy, server: ServerProcess, data: bytes, tmp_path: Path
) -> None:
    first = open_page()
    hold_half_way(first, proxy, tmp_path)
    first.page.close()
    proxy.release()
    web = open_page()
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(data))
    with Http(server.port) as http:
        assert http("GET", f"{API}uploads/").json["count"] == 1


def test_another_file_of_the_same_size_is_refused_or_sent_anew(
    open_page: Opener, proxy: Proxy, server: ServerProcess, data: bytes, tmp_path: Path
) -> None:
    first = open_page()
    hold_half_way(first, proxy, tmp_path)
    first.page.close()
    proxy.release()
    web = open_page()
    (tmp_path / "small.bin").write_bytes(b"small")
    row = web.unfinished("disk.img")
    row.locator("input[type=file]").set_input_files(str(tmp_path / "small.bin"))
    expect(row.get_by_role("alert")).to_contain_text("small.bin has 5 bytes")
    other = write_file(tmp_path / "disk.img", SIZE)
    row.locator("input[type=file]").set_input_files(str(tmp_path / "disk.img"))
    web.await_state("disk.img", "failed")
    expect(web.transfer("disk.img")).to_contain_text("This is another file")
    # The same name and size by the way of a new file: it is seen to be another, and gets an upload of its own.
    again = open_page()
    again.choose(tmp_path / "disk.img")
    again.await_digest("disk.img", sha256(other))
    with Http(server.port) as http:
        states = sorted(upload["state"] for upload in http("GET", f"{API}uploads/").json["results"])
    assert states == ["completed", "open"]


def test_the_server_is_killed_and_comes_back(
    web: UploadPage, server: ServerProcess, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    hold_half_way(web, proxy, tmp_path)
    server.kill()
    proxy.release()
    expect(web.page.get_by_text("The server does not answer.")).to_be_visible()
    server.start()
    web.await_digest("disk.img", sha256(data))
    expect(web.page.get_by_text("The server does not answer.")).to_be_hidden()


def test_connections_are_cut(web: UploadPage, proxy: Proxy, data: bytes, tmp_path: Path) -> None:
    for part in range(1, 4):
        proxy.hold_after(SIZE // 4)
        if part == 1:
            web.choose(tmp_path / "disk.img")
        proxy.wait_until_held()
        proxy.cut()
        proxy.release()
    web.await_digest("disk.img", sha256(data), 40)


def test_the_network_goes_and_comes_back(web: UploadPage, proxy: Proxy, data: bytes, tmp_path: Path) -> None:
    hold_half_way(web, proxy, tmp_path)
    web.page.context.set_offline(True)
    proxy.release()
    expect(web.page.get_by_text("No network.")).to_be_visible()
    expect(web.page.get_by_role("heading", name="1 file is waiting")).to_be_visible()
    expect(web.page.locator("li[data-state=going]")).to_contain_text("Waiting for the network")
    web.page.context.set_offline(False)
    web.await_digest("disk.img", sha256(data))


def test_damage_on_the_way_is_noticed_and_mended(web: UploadPage, proxy: Proxy, data: bytes, tmp_path: Path) -> None:
    left = {"damage": 2}

    def damage(connection: int, piece: bytes) -> bytes:
        # A full piece without a head in it is from the middle of a chunk.
        if left["damage"] and len(piece) == 65536 and b"HTTP/1.1" not in piece:
            left["damage"] -= 1
            return bytes([piece[0] ^ 1]) + piece[1:]
        return piece

    proxy.mangle = damage
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(data))
    assert left["damage"] == 0


def test_begun_elsewhere_without_digests_and_finished_here(
    web: UploadPage, server: ServerProcess, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    with Http(server.port) as http:
        href = http.create(SIZE, filename="disk.img")
        for offset in (0, 8 * MIB):
            assert http.put(href, offset, data[offset : offset + 4 * MIB]).status == 200
    row = web.unfinished("disk.img")
    before = proxy.passed
    row.locator("input[type=file]").set_input_files(str(tmp_path / "disk.img"))
    web.await_digest("disk.img", sha256(data))
    assert proxy.passed - before < SIZE - 8 * MIB + 2 * MIB


@pytest.mark.parametrize("digests", [True, False])
def test_a_bad_chunk_from_elsewhere_is_found_and_replaced(
    web: UploadPage, server: ServerProcess, data: bytes, tmp_path: Path, digests: bool
) -> None:
    wrong = bytearray(data[: 12 * MIB])
    wrong[4 * MIB] ^= 1  # in a chunk that is not among those looked at first
    with Http(server.port) as http:
        href = http.create(SIZE, filename="disk.img")
        for offset in range(0, 12 * MIB, MIB):
            piece = bytes(wrong[offset : offset + MIB])
            headers = {"Content_Digest": format_digest_field(sha256(piece))} if digests else {}
            assert http.put(href, offset, piece, **headers).status == 200
    web.unfinished("disk.img").locator("input[type=file]").set_input_files(str(tmp_path / "disk.img"))
    web.await_digest("disk.img", sha256(data))


def test_begun_on_the_command_line_and_finished_here(
    web: UploadPage, server: ServerProcess, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    proxy.hold_after(SIZE // 2)
    with command("upload", str(tmp_path / "disk.img"), "--server", proxy.url) as upload:
        proxy.wait_until_held()
        upload.kill()
    proxy.cut()
    proxy.release()
    row = web.unfinished("disk.img")
    there, before = received(server), proxy.passed
    assert there > 0
    row.locator("input[type=file]").set_input_files(str(tmp_path / "disk.img"))
    web.await_digest("disk.img", sha256(data))
    assert proxy.passed - before < SIZE - there + 2 * MIB


def test_begun_here_and_finished_on_the_command_line(
    web: UploadPage, server: ServerProcess, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    hold_half_way(web, proxy, tmp_path)
    web.page.get_by_role("button", name="Pause disk.img").click()
    proxy.release()
    web.await_state("disk.img", "paused")
    with Http(server.port) as http:
        identity = http("GET", f"{API}uploads/").json["results"][0]["pulp_href"].split("/")[-2]
    name = str(tmp_path / "disk.img")
    with command("upload", name, "--server", server.url, "--upload", identity, "--json", "--quiet") as upload:
        said = json.loads(upload.communicate(timeout=60)[0])
    assert said["sha256"] == sha256(data)
    assert said["chunks_skipped"] > 0
    # The page, asked to go on, finds that all is done.
    web.page.get_by_role("button", name="Resume disk.img").click()
    web.await_digest("disk.img", sha256(data))


def test_cancel_deletes_what_arrived(
    web: UploadPage, server: ServerProcess, proxy: Proxy, data: bytes, tmp_path: Path
) -> None:
    hold_half_way(web, proxy, tmp_path)
    web.page.get_by_role("button", name="Cancel disk.img").click()
    proxy.release()
    web.page.get_by_role("dialog").get_by_role("button", name="Cancel the upload").click()
    expect(web.page.get_by_role("listitem")).to_have_count(0)
    with Http(server.port) as http:
        deadline = time.monotonic() + 10
        while http("GET", f"{API}uploads/").json["count"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
