"""A server that wants to know who asks: the page signs in with a token, and shows each person their own things only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MIB, Opener, UploadPage, sign_in, write_file
from tests.support.folders import make_data_folder
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token, partwise_token


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with authentication."""
    data = make_data_folder(tmp_path_factory.mktemp("server") / "data")
    with ServerProcess(data, chunk_size=MIB, auth="token") as process:
        yield process


@pytest.fixture
def server(one_server: ServerProcess) -> ServerProcess:
    """The module's server; each test has users of its own."""
    return one_server


def token_of(server: ServerProcess, name: str, user: str | None = None) -> str:
    """A new token of ``user``, who is called like the token if not given."""
    return make_token(server, name, "--user", user or name)


def test_a_token_opens_the_page(web: UploadPage, server: ServerProcess, tmp_path: Path) -> None:
    token = token_of(server, "ann")
    data = write_file(tmp_path / "report.pdf", 2 * MIB)
    expect(web.page.get_by_label("Token")).to_be_focused()
    expect(web.page.get_by_role("button", name="Choose files")).to_have_count(0)
    sign_in(web, "partwise_" + "x" * 43)
    expect(web.page.get_by_role("alert")).to_contain_text("does not know this token")
    sign_in(web, token)
    expect(web.page.get_by_role("button", name="Choose files")).to_be_visible()
    expect(web.page.get_by_role("banner")).to_contain_text("ann")
    web.choose(tmp_path / "report.pdf")
    web.await_digest("report.pdf", sha256(data))
    with web.page.expect_download() as download:
        web.file("report.pdf").get_by_role("link", name="Download report.pdf").click()
    assert Path(download.value.path()).read_bytes() == data
    assert token not in download.value.url
    assert token not in web.page.url
    web.page.reload()
    expect(web.file("report.pdf")).to_be_visible()
    web.page.get_by_role("button", name="Sign out").click()
    expect(web.page.get_by_label("Token")).to_be_visible()
    expect(web.page.get_by_text("report.pdf")).to_have_count(0)
    expect(web.page.get_by_role("banner")).not_to_contain_text("ann")
    assert web.page.context.cookies() == []


def test_another_person_sees_nothing_of_it(open_page: Opener, server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"secret")
    mine, theirs = open_page(), open_page()
    sign_in(mine, token_of(server, "bea"))
    mine.choose(tmp_path / "secret.bin")
    mine.await_state("secret.bin", "done")
    artifact = mine.file("secret.bin").get_by_role("link").get_attribute("href") or ""
    sign_in(theirs, token_of(server, "cid"))
    expect(theirs.page.get_by_text("What you upload appears here.")).to_be_visible()
    expect(theirs.page.get_by_text("secret.bin")).to_have_count(0)
    assert theirs.page.context.request.get(mine.page.url.rstrip("/") + artifact).status in (401, 404)


def begin_and_revoke(web: UploadPage, server: ServerProcess, proxy: Proxy, name: str, file: Path) -> bytes:
    """``name`` sends a file, and their token is revoked in the middle; the file's bytes."""
    data = write_file(file, 16 * MIB)
    token = token_of(server, name)
    sign_in(web, token)
    expect(web.page.get_by_role("button", name="Choose files")).to_be_visible()
    proxy.hold_after(4 * MIB)
    web.choose(file)
    proxy.wait_until_held()
    partwise_token(server, "revoke", name)
    deadline = time.monotonic() + 20
    with Http(server.port) as http:
        while http("GET", f"{API}status/", Authorization=f"Bearer {token}").status != 401:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    proxy.release()
    expect(web.page.get_by_role("alert")).to_contain_text("does not know this token")
    return data


def test_a_token_that_is_revoked_in_the_middle(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    data = begin_and_revoke(web, server, proxy, "dan", tmp_path / "disk.img")
    expect(web.page.get_by_text("disk.img")).to_be_visible()
    sign_in(web, "partwise_" + "x" * 43)
    expect(web.page.get_by_role("alert")).to_contain_text("does not know this token")
    sign_in(web, token_of(server, "dan-again", "dan"))
    web.await_digest("disk.img", sha256(data))


def test_who_signs_in_after_another_was_refused_sees_nothing_of_theirs(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    """And nothing of theirs is sent in the new one's name, nor lost."""
    old = write_file(tmp_path / "older.txt", 1000)
    sign_in(web, token_of(server, "gil-before", "gil"))
    web.choose(tmp_path / "older.txt")
    web.await_digest("older.txt", sha256(old))
    web.page.get_by_role("button", name="Sign out").click()
    data = begin_and_revoke(web, server, proxy, "gil", tmp_path / "confidential.img")
    token = token_of(server, "hal")
    sign_in(web, token)
    expect(web.page.get_by_text("What you upload appears here.")).to_be_visible()
    for name in ("confidential.img", "older.txt"):
        expect(web.page.get_by_text(name)).to_have_count(0)
    with Http(server.port) as http:
        for kind in ("uploads", "artifacts"):
            assert http("GET", f"{API}{kind}/", Authorization=f"Bearer {token}").json["count"] == 0
    web.page.get_by_role("button", name="Sign out").click()
    sign_in(web, token_of(server, "gil-again", "gil"))
    row = web.unfinished("confidential.img")
    row.locator("input[type=file]").set_input_files(str(tmp_path / "confidential.img"))
    web.await_digest("confidential.img", sha256(data))


def test_signing_in_while_the_server_is_away(web: UploadPage, server: ServerProcess) -> None:
    token = token_of(server, "ida")
    expect(web.page.get_by_label("Token")).to_be_focused()
    server.kill()
    sign_in(web, token)
    expect(web.page.get_by_role("alert")).to_contain_text("The server does not answer")
    server.start()
    web.page.get_by_role("button", name="Sign in").click()
    expect(web.page.get_by_text("What you upload appears here.")).to_be_visible()


def test_who_signs_out_leaves_nothing_to_see(
    open_page: Opener, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    data = write_file(tmp_path / "private.img", 12 * MIB)
    web = open_page()
    token = token_of(server, "eva")
    sign_in(web, token)
    proxy.hold_after(6 * MIB)
    web.choose(tmp_path / "private.img")
    proxy.wait_until_held()
    web.page.get_by_role("button", name="Sign out").click()
    dialog = web.page.get_by_role("dialog", name="Sign out now?")
    dialog.get_by_role("button", name="Keep").click()
    web.await_state("private.img", "going")
    web.page.get_by_role("button", name="Sign out").click()
    dialog.get_by_role("button", name="Sign out").click()
    proxy.release()
    expect(web.page.get_by_label("Token")).to_be_visible()
    expect(web.page.get_by_text("private.img")).to_have_count(0)
    sign_in(web, token_of(server, "finn"))
    expect(web.page.get_by_text("What you upload appears here.")).to_be_visible()
    expect(web.page.get_by_text("private.img")).to_have_count(0)
    web.page.get_by_role("button", name="Sign out").click()
    sign_in(web, token)
    web.unfinished("private.img").locator("input[type=file]").set_input_files(str(tmp_path / "private.img"))
    web.await_digest("private.img", sha256(data))
