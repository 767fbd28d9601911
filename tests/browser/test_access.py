"""The page by keyboard, with a screen reader's eyes, on a narrow screen, and under its policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Error, expect

from tests.browser.conftest import MIB, Opener, UploadPage, html, sign_in, write_file
from tests.support.proxy import Proxy
from tests.support.server import Http, ServerProcess

AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
NARROW = {"width": 320, "height": 640}


def failings(web: UploadPage) -> list[str]:
    """What axe finds wrong with the page as it is."""
    web.page.add_script_tag(path=AXE)
    found: dict[str, Any] = web.page.evaluate("() => axe.run(document)")
    return [f"{rule['id']}: {node['html'][:120]}" for rule in found["violations"] for node in rule["nodes"]]


@pytest.mark.skipif(not AXE.exists(), reason="needs web/node_modules (make web-check)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anyone_out(
    open_page: Opener, server: ServerProcess, proxy: Proxy, tmp_path: Path, scheme: str
) -> None:
    with Http(server.port) as http:
        http.store(b"x" * 5000, filename="old.bin")
        http.put(http.create(3 * MIB, filename="half.bin"), 0, bytes(MIB))
    # Without the page's policy, since the check itself is script from elsewhere.
    web = open_page(bypass_csp=True, color_scheme=scheme, reduced_motion="reduce")
    expect(web.unfinished("half.bin")).to_be_visible()
    assert failings(web) == []
    write_file(tmp_path / "disk.img", 12 * MIB)
    write_file(tmp_path / "small.bin", 100)
    web.choose(tmp_path / "small.bin")
    web.await_state("small.bin", "done")
    proxy.hold_after(4 * MIB)
    web.choose(tmp_path / "disk.img")
    proxy.wait_until_held()
    assert failings(web) == []
    web.page.get_by_role("button", name="Cancel disk.img").click()
    expect(web.page.get_by_role("dialog")).to_be_visible()
    assert failings(web) == []
    web.page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    web.page.context.set_offline(True)
    proxy.release()
    expect(web.page.get_by_text("No network.")).to_be_visible()
    assert failings(web) == []
    proxy.instead = lambda piece: html(404, "Not Found") if piece.startswith(b"PUT") else None
    web.page.context.set_offline(False)
    web.await_state("disk.img", "failed")
    assert failings(web) == []
    proxy.instead = lambda piece: None


@pytest.mark.skipif(not AXE.exists(), reason="needs web/node_modules (make web-check)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anyone_from_signing_in(open_page: Opener, tmp_path: Path, scheme: str) -> None:
    with ServerProcess(tmp_path / "tokens", auth="token") as server:
        web = open_page(url=server.url, bypass_csp=True, color_scheme=scheme)
        sign_in(web, "partwise_" + "x" * 43)
        expect(web.page.get_by_role("alert")).to_be_visible()
        assert failings(web) == []


def test_by_keyboard_alone(web: UploadPage, server: ServerProcess) -> None:
    with Http(server.port) as http:
        http.store(b"old", filename="old.bin")
    expect(web.file("old.bin")).to_be_visible()
    seen = []
    for _ in range(7):
        web.page.keyboard.press("Tab")
        focused = web.page.locator(":focus")
        seen.append(focused.get_attribute("aria-label") or focused.get_attribute("placeholder") or focused.inner_text())
    assert seen == [
        "Choose files",
        "Choose a folder",
        "Search by name",
        "Copy the SHA-256 of old.bin",
        "Copy the link to old.bin",
        "Download old.bin",
        "Delete old.bin",
    ]
    web.page.keyboard.press("Enter")
    dialog = web.page.get_by_role("dialog", name="Delete this file?")
    expect(dialog).to_be_visible()
    web.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(web.page.get_by_role("button", name="Delete old.bin")).to_be_focused()
    web.page.keyboard.press("Enter")
    expect(dialog.get_by_role("button", name="Keep")).to_be_focused()
    web.page.keyboard.press("Tab")
    web.page.keyboard.press("Enter")
    expect(web.file("old.bin")).to_have_count(0)
    expect(web.page.get_by_role("heading", name="Files", exact=True)).to_be_focused()


def test_a_finished_upload_is_said_aloud(web: UploadPage, tmp_path: Path) -> None:
    write_file(tmp_path / "song.flac", 100)
    web.choose(tmp_path / "song.flac")
    expect(web.page.locator("[aria-live=polite]")).to_contain_text("song.flac is uploaded and verified.")


def test_nothing_sticks_out_of_a_narrow_screen(open_page: Opener, tmp_path: Path) -> None:
    web = open_page(viewport=NARROW)
    name = "a-very-long-name-without-any-place-to-break-it-" * 3 + ".tar.gz"
    write_file(tmp_path / name, 5000)
    web.choose(tmp_path / name)
    web.await_state(name, "done")
    expect(web.file(name)).to_be_visible()
    for part in web.page.locator("section, li, button, .facts").all():
        box = part.bounding_box()
        assert box is None or box["x"] + box["width"] <= NARROW["width"] + 0.5, part.inner_text()


@pytest.mark.parametrize("width", [320, 360, 400, 1000])
def test_nothing_of_a_digest_is_cut_off(open_page: Opener, server: ServerProcess, width: int) -> None:
    """Neither its text nor the ring of its button: what lies in the margin of the facts is not shown."""
    with Http(server.port) as http:
        http.store(b"x" * 5000, filename="old.bin")
    web = open_page(viewport={"width": width, "height": 640})
    name = web.file("old.bin").locator(".name").bounding_box()
    assert name is not None
    for part, ring in ((".digest-name", 0), (".digest code", 0), (".digest button", 4)):
        box = web.file("old.bin").locator(part).bounding_box()
        assert box is not None
        assert box["x"] - ring >= name["x"] - 0.5, part


def test_the_policy_holds(web: UploadPage) -> None:
    with pytest.raises(Error, match="TrustedHTML"):
        web.page.evaluate("() => { document.body.innerHTML = '<b>markup</b>' }")
    web.complaints.clear()
