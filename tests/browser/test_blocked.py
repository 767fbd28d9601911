"""Parts that a browser, its settings or the network keep from the page: it does without them, or tells of them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import ARGUMENTS, MIB, Opener, UploadPage, chromium, html, write_file
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256

SIZE = 12 * MIB


def is_for_worker(piece: bytes) -> bool:
    return b"/lane.worker-" in piece.partition(b"\r\n")[0]


def test_a_worker_that_does_not_load_is_told_and_tried_again(proxy: Proxy, tmp_path: Path, open_page: Opener) -> None:
    data = write_file(tmp_path / "disk.img", SIZE)
    asked: list[float] = []

    def refuse(piece: bytes) -> bytes | None:
        if not is_for_worker(piece):
            return None
        asked.append(time.monotonic())
        return html(404, "gone")

    proxy.instead = refuse
    page = open_page()
    page.choose(tmp_path / "disk.img")
    row = page.transfer("disk.img")
    expect(row.get_by_text("A part of this page did not load")).to_be_visible()
    # Once for each of the page's workers, and a few times for the orders that need one.
    assert len(asked) <= 24, "a server that is away is asked without a pause"
    proxy.instead = lambda piece: None
    row.get_by_role("button", name="Try again").click()
    page.await_digest("disk.img", sha256(data))


def test_a_worker_that_loads_a_little_later_is_not_worth_a_word(
    proxy: Proxy, tmp_path: Path, open_page: Opener
) -> None:
    data = write_file(tmp_path / "disk.img", SIZE)
    proxy.instead = lambda piece: html(502, "later") if is_for_worker(piece) else None
    page = open_page()
    expect(page.page.get_by_text("What you upload appears here.")).to_be_visible()
    page.choose(tmp_path / "disk.img")
    expect(page.transfer("disk.img")).to_be_visible()
    proxy.instead = lambda piece: None
    page.await_digest("disk.img", sha256(data))


def test_a_page_without_cookies_works(browser: Browser, open_page: Opener, tmp_path: Path) -> None:
    """Where they are blocked, even to ask for the tab's storage fails."""
    context = browser.new_context()
    context.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    web = open_page(context)
    data = write_file(tmp_path / "disk.img", SIZE)
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(data))
    context.close()


def test_a_browser_that_blocks_cookies_blocks_nothing_else(browser: Browser, proxy: Proxy, tmp_path: Path) -> None:
    """Its own setting: storage and locks are refused then."""
    profile = tmp_path / "profile" / "Default"
    profile.mkdir(parents=True)
    settings = {"profile": {"default_content_setting_values": {"cookies": 2}}}
    (profile / "Preferences").write_text(json.dumps(settings))
    data = write_file(tmp_path / "disk.img", SIZE)
    context = browser.browser_type.launch_persistent_context(
        profile.parent, executable_path=chromium(), args=ARGUMENTS, bypass_csp=True
    )
    try:
        web = UploadPage(context.pages[0])
        web.page.goto(proxy.url)
        blocked = web.page.evaluate("() => { try { sessionStorage; return false } catch { return true } }")
        assert blocked, "this browser was to block them"
        web.choose(tmp_path / "disk.img")
        web.await_digest("disk.img", sha256(data))
        assert web.complaints == []
    finally:
        context.close()


def own_404() -> bytes:
    body = b'{"type": "/docs/errors#not-found", "status": 404, "detail": "There is no such upload."}'
    head = f"HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


@pytest.mark.parametrize("method", [b"PUT", b"GET"])
def test_one_404_is_not_the_end_of_an_upload(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path, method: bytes
) -> None:
    """A store that lags, or one server of several, may err for a moment."""
    data = write_file(tmp_path / "disk.img", SIZE)
    refused: list[bytes] = []

    def refuse(piece: bytes) -> bytes | None:
        line = piece.partition(b"\r\n")[0]
        if refused or not line.startswith(method) or b"/uploads/" not in line or line.count(b"/") < 7:
            return None
        refused.append(line)
        return own_404()

    proxy.hold_after(SIZE // 2)
    web.choose(tmp_path / "disk.img")
    proxy.wait_until_held()
    web.page.get_by_role("button", name="Pause disk.img").click()
    proxy.release()
    proxy.instead = refuse
    web.page.get_by_role("button", name="Resume disk.img").click()
    web.await_digest("disk.img", sha256(data))
    assert len(refused) == 1
    with Http(server.port) as http:
        assert http("GET", f"{API}uploads/").json["count"] == 1


def test_a_proxys_404_deletes_nothing(web: UploadPage, server: ServerProcess, proxy: Proxy) -> None:
    with Http(server.port) as http:
        http.store(b"stays", filename="stays.bin")
    expect(web.file("stays.bin")).to_be_visible()
    proxy.instead = lambda piece: html(404, "Not Found") if piece.startswith(b"DELETE") else None
    web.page.get_by_role("button", name="Delete stays.bin").click()
    dialog = web.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_contain_text("A proxy or firewall answered 404 in its place.")
    proxy.instead = lambda piece: None
    dialog.get_by_role("button", name="Delete").click()
    expect(web.file("stays.bin")).to_have_count(0)
