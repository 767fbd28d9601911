"""The page in Firefox, whose files, sockets and workers behave in their own way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import MIB, write_file
from tests.browser.firefox import Tab, firefox
from tests.support.nginx import NGINX, free_port, guide_site, nginx
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.until import wait_until

SIZE = 24 * MIB


@pytest.fixture(scope="module")
def one_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with firefox(tmp_path_factory.mktemp("firefox") / "profile") as made:
        yield made


@pytest.fixture
def tab(one_tab: Tab, proxy: Proxy) -> Iterator[Tab]:
    """The module's browser, on a page of a new origin."""
    one_tab.complaints.clear()
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


def test_a_file_goes_in(tab: Tab, server: ServerProcess, tmp_path: Path) -> None:
    data = write_file(tmp_path / "disk.img", SIZE)
    tab.choose(tmp_path / "disk.img")
    assert tab.digest() == sha256(data)
    tab.wait_for("All uploaded")
    assert stored(server) == [sha256(data)]
    assert [complaint for complaint in tab.complaints if "partwise" in complaint or "Error" in complaint] == []


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


def test_a_file_that_is_replaced_meanwhile_becomes_no_mixture(
    tab: Tab, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    """Firefox lets it be read, without a word."""
    file = tmp_path / "disk.img"
    old = hold_half_way(tab, proxy, file)
    new = os.urandom(SIZE)
    with file.open("r+b") as opened:
        opened.write(new)
    proxy.release()
    wait_until(lambda: tab.evaluate("Boolean(document.querySelector('li[data-state=done], li[data-state=failed]'))"))
    assert sha256(old) not in stored(server)
    assert set(stored(server)) <= {sha256(new)}
    if stored(server):
        assert tab.digest() == sha256(new)


def test_a_file_that_is_cut_off_meanwhile_is_told(
    tab: Tab, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    hold_half_way(tab, proxy, tmp_path / "disk.img")
    os.truncate(tmp_path / "disk.img", SIZE // 3)
    proxy.release()
    tab.wait_for("The file can no longer be read. It was changed, moved or deleted", "li[data-state=failed]")
    assert stored(server) == []


def test_connections_that_end_without_an_answer_are_tried_again(tab: Tab, proxy: Proxy, tmp_path: Path) -> None:
    """To Firefox each is an answer with the status 0."""
    data = write_file(tmp_path / "disk.img", SIZE)
    ended: list[bytes] = []

    def end(piece: bytes) -> bytes | None:
        if not piece.startswith(b"PUT") or len(ended) >= 4:
            return None
        ended.append(piece)
        return b""

    proxy.instead = end
    tab.choose(tmp_path / "disk.img")
    assert tab.digest() == sha256(data)
    assert len(ended) == 4


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_a_server_that_is_killed_behind_nginx(tmp_path: Path) -> None:
    data = write_file(tmp_path / "disk.img", SIZE)
    port = free_port()
    folder = tmp_path / "nginx"
    folder.mkdir()
    with (
        ServerProcess(tmp_path / "data", chunk_size=MIB) as server,
        Proxy(server.port) as proxy,
        nginx(folder, port, guide_site(proxy.port, f"listen 127.0.0.1:{port}")),
        firefox(tmp_path / "profile") as tab,
    ):
        tab.open(f"http://127.0.0.1:{port}/")
        proxy.hold_after(SIZE // 2)
        tab.choose(tmp_path / "disk.img")
        proxy.wait_until_held()
        server.kill()
        proxy.cut()
        proxy.release()
        tab.wait_for("The server does not answer.")
        server.start()
        assert tab.digest() == sha256(data)
        assert stored(server) == [sha256(data)]


def test_where_cookies_are_blocked(proxy: Proxy, tmp_path: Path) -> None:
    """Storage and locks are refused then."""
    data = write_file(tmp_path / "disk.img", SIZE)
    with firefox(tmp_path / "profile", **{"network.cookie.cookieBehavior": 2}) as tab:
        tab.open(proxy.url)
        tab.choose(tmp_path / "disk.img")
        assert tab.digest() == sha256(data)
