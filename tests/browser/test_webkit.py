"""The page in WebKitGTK, whose files, drops and workers behave in their own way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import MIB, write_file
from tests.browser.webkit import Tab, webkit
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.until import wait_until

SIZE = 12 * MIB


@pytest.fixture(scope="module")
def one_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with webkit(tmp_path_factory.mktemp("webkit") / "home") as made:
        yield made


@pytest.fixture
def tab(one_tab: Tab, proxy: Proxy) -> Iterator[Tab]:
    """The module's browser, on a page of a new origin."""
    one_tab.open(proxy.url)
    yield one_tab
    one_tab.open("about:blank")


def hold_half_way(tab: Tab, proxy: Proxy, file: Path) -> bytes:
    """Begin to upload a new ``file``, and stand still in the middle; its contents."""
    data = write_file(file, SIZE)
    proxy.hold_after(SIZE // 2)
    tab.choose(file)
    proxy.wait_until_held()
    return data


def stored(server: ServerProcess) -> list[str]:
    """The digests of all artifacts."""
    with Http(server.port) as http:
        return [artifact["sha256"] for artifact in http("GET", f"{API}artifacts/").json["results"]]


def test_files_go_in(tab: Tab, server: ServerProcess, tmp_path: Path) -> None:
    large, small = write_file(tmp_path / "disk.img", SIZE), write_file(tmp_path / "notes.md", 1000)
    tab.choose(tmp_path / "disk.img", tmp_path / "notes.md")
    tab.wait_for("All uploaded")
    assert sorted(stored(server)) == sorted([sha256(large), sha256(small)])
    tab.click("Copy the SHA-256 of notes.md")
    tab.wait_for("Copied")
    tab.choose(tmp_path / "disk.img")
    tab.wait_for("already on the server")


def test_a_closed_page_goes_on_with_the_same_file(tab: Tab, proxy: Proxy, tmp_path: Path) -> None:
    data = hold_half_way(tab, proxy, tmp_path / "disk.img")
    proxy.release()
    tab.open("about:blank")
    before = proxy.passed
    tab.open(proxy.url)
    tab.wait_for("disk.img", ".unfinished")
    tab.choose(tmp_path / "disk.img", field=".unfinished input[type=file]")
    assert tab.digest() == sha256(data)
    assert proxy.passed - before < SIZE


def test_pause_and_resume(tab: Tab, proxy: Proxy, tmp_path: Path) -> None:
    data = hold_half_way(tab, proxy, tmp_path / "disk.img")
    tab.click("Pause disk.img")
    tab.wait_for("Paused")
    proxy.release()
    tab.click("Resume disk.img")
    assert tab.digest() == sha256(data)


def test_a_file_that_is_replaced_meanwhile_becomes_no_mixture(
    tab: Tab, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    file = tmp_path / "disk.img"
    old = hold_half_way(tab, proxy, file)
    new = os.urandom(SIZE)
    with file.open("r+b") as opened:
        opened.write(new)
    proxy.release()
    # WebKit may stop in a request whose file has changed. The page ends that after 60 s without a byte, and goes on.
    over = "Boolean(document.querySelector('li[data-state=done], li[data-state=failed]'))"
    wait_until(lambda: tab.evaluate(over), "the end of the upload", seconds=180)
    assert sha256(old) not in stored(server)
    assert set(stored(server)) <= {sha256(new)}


def test_connections_that_are_cut_are_made_again(tab: Tab, proxy: Proxy, tmp_path: Path) -> None:
    data = hold_half_way(tab, proxy, tmp_path / "disk.img")
    proxy.cut()
    proxy.release()
    assert tab.digest() == sha256(data)


def test_a_drop_of_names_alone_does_not_replace_the_page(tab: Tab, proxy: Proxy) -> None:
    """Dropped files come as their names only, and what nobody prevents is opened in place of the page."""
    carried = (
        "(() => { const data = new DataTransfer(); data.setData('text/uri-list', 'file:///etc/hosts'); return data })()"
    )
    for kind in ("dragenter", "dragover", "drop"):
        event = f"new DragEvent('{kind}', {{bubbles: true, cancelable: true, dataTransfer: {carried}}})"
        passed = tab.evaluate(f"document.querySelector('.rows, section').dispatchEvent({event})")
        assert passed == (kind == "dragenter"), kind
    tab.wait_for("This browser does not hand over files that are dropped.")
    assert tab.url.startswith(proxy.url)
