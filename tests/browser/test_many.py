"""Many files at once: what is done with all of them takes one step, and one question."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MIB, Opener, UploadPage, html, sign_in, write_file
from tests.browser.test_access import AXE, NARROW, failings
from tests.browser.test_upload import slow
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token


def count(server: ServerProcess, kind: str, query: str = "") -> int:
    """How many the server has."""
    with Http(server.port) as http:
        return int(http("GET", f"{API}{kind}/{query}").json["count"])


def press(web: UploadPage, name: str) -> None:
    """Press the button that is called exactly so."""
    web.page.get_by_role("button", name=name, exact=True).click()


def agree(web: UploadPage, name: str) -> None:
    """Answer the question that is asked."""
    web.page.get_by_role("dialog").get_by_role("button", name=name, exact=True).click()
    expect(web.page.get_by_role("dialog")).to_be_hidden()


def three(folder: Path, size: int) -> list[Path]:
    """New files."""
    files = [folder / f"file-{number}.bin" for number in range(3)]
    for file in files:
        write_file(file, size)
    return files


def test_what_failed_is_tried_again_together(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.instead = lambda piece: html(403, "Forbidden") if piece.startswith((b"PUT", b"POST")) else None
    web.choose(*three(tmp_path, MIB + 1))
    expect(web.page.locator("li[data-state=failed]")).to_have_count(3)
    proxy.instead = lambda piece: None
    press(web, "Retry all")
    expect(web.page.locator("li[data-state=done]")).to_have_count(3)
    assert count(server, "artifacts") == 3


def test_what_is_over_is_taken_off_together(web: UploadPage, proxy: Proxy, tmp_path: Path) -> None:
    files = three(tmp_path, MIB + 1)
    web.choose(files[0])
    web.await_state("file-0.bin", "done")
    proxy.instead = lambda piece: html(403, "Forbidden") if piece.startswith((b"PUT", b"POST")) else None
    web.choose(*files[1:])
    expect(web.page.locator("li[data-state=failed]")).to_have_count(2)
    press(web, "Clear all")
    expect(web.page.locator("li[data-state]")).to_have_count(0)


def test_all_are_cancelled_with_one_answer(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.mangle = slow
    web.choose(*three(tmp_path, 16 * MIB))
    expect(web.page.locator("li[data-phase=sending]")).to_have_count(3)
    press(web, "Cancel all")
    dialog = web.page.get_by_role("dialog", name="Cancel all uploads?")
    expect(dialog).to_contain_text("3 uploads stop")
    agree(web, "Cancel all")
    expect(web.page.locator("li[data-state]")).to_have_count(0)
    assert count(server, "uploads", "?state=open") == 0


def test_several_files_are_deleted_with_one_answer(web: UploadPage, server: ServerProcess) -> None:
    with Http(server.port) as http:
        for number in range(4):
            http.store(os.urandom(1000), filename=f"old-{number}.bin")
    expect(web.file("old-3.bin")).to_be_visible()
    press(web, "Select")
    for number in (0, 2):
        web.page.get_by_label(f"Select old-{number}.bin").check()
    press(web, "Delete 2 files")
    expect(web.page.get_by_role("dialog", name="Delete 2 files?")).to_contain_text("2.00 KB")
    agree(web, "Delete")
    expect(web.file("old-0.bin")).to_have_count(0)
    expect(web.file("old-1.bin")).to_be_visible()
    press(web, "Select")
    press(web, "Select all 2")
    press(web, "Delete 2 files")
    agree(web, "Delete")
    expect(web.page.get_by_text("What you upload appears here.")).to_be_visible()
    assert count(server, "artifacts") == 0


def test_what_cannot_be_deleted_is_told_and_the_others_go(web: UploadPage, server: ServerProcess, proxy: Proxy) -> None:
    with Http(server.port) as http:
        for number in range(3):
            http.store(os.urandom(1000), filename=f"old-{number}.bin")
    expect(web.file("old-2.bin")).to_be_visible()
    refused: list[bytes] = []

    def refuse(piece: bytes) -> bytes | None:
        if refused or not piece.startswith(b"DELETE"):
            return None
        refused.append(piece)
        return html(403, "Forbidden")

    proxy.instead = refuse
    press(web, "Select")
    press(web, "Select all 3")
    press(web, "Delete 3 files")
    dialog = web.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_contain_text("answered 403")
    agree(web, "Keep")
    expect(web.page.get_by_role("button", name="Delete 1 file", exact=True)).to_be_visible()
    assert count(server, "artifacts") == 1


@pytest.mark.skipif(not AXE.exists(), reason="needs web/node_modules (make web-check)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_many_unfinished_ones_push_nothing_away(
    open_page: Opener, server: ServerProcess, proxy: Proxy, tmp_path: Path, scheme: str
) -> None:
    with Http(server.port) as http:
        for number in range(12):
            http.create(5 * MIB, filename=f"half-{number}.bin")
            http.store(os.urandom(1000), filename=f"whole-{number}.bin")
    web = open_page(bypass_csp=True, color_scheme=scheme, viewport=NARROW, reduced_motion="reduce")
    rows = web.page.get_by_role("region", name="Unfinished").get_by_role("listitem")
    expect(rows).to_have_count(5)
    press(web, "Select")
    web.page.get_by_label("Select whole-3.bin").check()
    assert failings(web) == []
    press(web, "Show all 12")
    expect(rows).to_have_count(12)
    for part in web.page.locator("section, li, button, .facts, footer, code").all():
        box = part.bounding_box()
        assert box is None or box["x"] + box["width"] <= NARROW["width"] + 0.5, part.inner_text()
    press(web, "Delete all")
    expect(web.page.get_by_role("dialog")).to_contain_text("Delete 12 unfinished uploads?")
    assert failings(web) == []
    agree(web, "Delete all")
    expect(rows).to_have_count(0)
    assert count(server, "uploads", "?state=open") == 0


def test_links_and_commands_can_be_copied(open_page: Opener, server: ServerProcess, proxy: Proxy) -> None:
    with Http(server.port) as http:
        artifact = http.store(b"kept", filename="kept.bin")["artifact"]
        href = http.create(5 * MIB, filename="it's half.bin")
    web = open_page(permissions=["clipboard-read", "clipboard-write"])
    identifier = href.rstrip("/").rpartition("/")[2]
    for button, text in (
        ("Copy the link to kept.bin", f"{proxy.url}{artifact}download/"),
        ("Copy the command", f"partwise upload FILE -s {proxy.url}"),
        (
            "Copy the command that continues it's half.bin",
            f"partwise upload 'it'\\''s half.bin' --upload {identifier} -s {proxy.url}",
        ),
    ):
        press(web, button)
        expect(web.page.get_by_role("button", name=button, exact=True).get_by_role("status")).to_have_text("Copied")
        assert web.page.evaluate("() => navigator.clipboard.readText()") == text


class Requests:
    """Counts requests that change something, by their first line; for `Proxy.instead`."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def __call__(self, piece: bytes) -> None:
        """See the beginning of a request."""
        line = piece.partition(b"\r\n")[0]
        if line.startswith((b"POST ", b"PUT ")):
            self.seen.append(line)


def test_small_files_take_one_request_each(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    files = {f"folder/{number}.bin": os.urandom(number * 700) for number in range(40)}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    proxy.instead = requests = Requests()
    web.page.locator("#choose-folder").set_input_files(str(tmp_path / "folder"))
    expect(web.page.get_by_role("heading", name="All uploaded")).to_be_visible()
    assert len(requests.seen) == len(files)
    with Http(server.port) as http:
        stored = {each["filename"]: each["sha256"] for each in http("GET", f"{API}artifacts/").json["results"]}
    assert stored == {name: sha256(data) for name, data in files.items()}


def test_a_small_file_that_does_not_get_through_goes_in_parts(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    data = write_file(tmp_path / "notes.md", 300_000)
    proxy.instead = lambda piece: (
        html(413, "Too large") if piece.startswith(b"POST") and b"/artifacts/" in piece else None
    )
    web.choose(tmp_path / "notes.md")
    web.await_digest("notes.md", sha256(data))
    assert count(server, "uploads") == 1


def test_a_small_file_whose_connection_ends_is_sent_again_in_one_request(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    data = write_file(tmp_path / "notes.md", 20_000)
    ended: list[bytes] = []

    def end(piece: bytes) -> bytes | None:
        if ended or not piece.startswith(b"POST"):
            return None
        ended.append(piece)
        return b""

    proxy.instead = end
    web.choose(tmp_path / "notes.md")
    web.await_digest("notes.md", sha256(data))
    assert len(ended) == 1
    assert count(server, "uploads") == 0, "it went in parts"


def test_a_small_file_that_is_damaged_on_the_way_is_mended(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    data = write_file(tmp_path / "notes.md", 20_000)
    at = data[9000:9010]
    damaged: list[int] = []

    def damage(connection: int, piece: bytes) -> bytes:
        if damaged or at not in piece:
            return piece
        damaged.append(connection)
        return piece.replace(at, bytes(10))

    proxy.mangle = damage
    web.choose(tmp_path / "notes.md")
    web.await_digest("notes.md", sha256(data))
    assert len(damaged) == 1
    with Http(server.port) as http:
        assert [each["sha256"] for each in http("GET", f"{API}artifacts/").json["results"]] == [sha256(data)]


@pytest.mark.parametrize("size", [1000, 100_000, 18 * MIB])
def test_what_is_there_already_is_not_sent_again(
    open_page: Opener, server: ServerProcess, proxy: Proxy, tmp_path: Path, size: int
) -> None:
    """Of one user. Of a file beyond 16 MiB the same name and size tell the page to look."""
    data = write_file(tmp_path / "disk.img", size)
    with Http(server.port) as http:
        http.store(data, filename="disk.img")
    web = open_page()
    proxy.instead = requests = Requests()
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(data))
    if size > 64 * 1024:
        expect(web.transfer("disk.img")).to_contain_text("already on the server")
        assert requests.seen == []
    assert count(server, "artifacts") == 1


@pytest.mark.parametrize("state", ["finished", "other file"])
def test_an_old_list_of_unfinished_uploads_does_not_have_a_file_sent_again(
    open_page: Opener, server: ServerProcess, proxy: Proxy, tmp_path: Path, state: str
) -> None:
    """The upload on the list was finished since, or is of another file of the same size."""
    data = write_file(tmp_path / "disk.img", 100_000)
    with Http(server.port) as http:
        if state == "other file":
            http.store(data, filename="disk.img")
        href = http.create(len(data), filename="disk.img" if state == "finished" else "other.img")
        web = open_page()
        expect(web.unfinished("disk.img" if state == "finished" else "other.img")).to_be_visible()
        if state == "finished":
            http.put(href, 0, data)
            http.commit(href, data)
    proxy.instead = requests = Requests()
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(data))
    expect(web.transfer("disk.img")).to_contain_text("already on the server")
    assert requests.seen == []


@pytest.mark.parametrize("begun", [False, True], ids=["in one request", "as an upload"])
def test_another_name_of_the_same_content_is_told(
    open_page: Opener, server: ServerProcess, tmp_path: Path, begun: bool
) -> None:
    data = write_file(tmp_path / "copy.img", 5000)
    with Http(server.port) as http:
        http.store(data, filename="first.img")
        if begun:
            http.put(http.create(len(data), filename="copy.img"), 0, data[:1000])
    web = open_page()
    web.choose(tmp_path / "copy.img")
    expect(web.transfer("copy.img")).to_contain_text("already on the server as first.img")


def test_other_users_files_do_not_count(open_page: Opener, tmp_path: Path) -> None:
    data = write_file(tmp_path / "disk.img", 100_000)
    with ServerProcess(tmp_path / "tokens", auth="token") as server:
        tokens = {"ann": make_token(server, "ann"), "root": make_token(server, "root", "--admin")}
        for token in tokens.values():
            web = open_page(url=server.url)
            sign_in(web, token)
            web.choose(tmp_path / "disk.img")
            web.await_digest("disk.img", sha256(data))
            expect(web.transfer("disk.img")).not_to_contain_text("already")
        with Http(server.port) as http:
            found = http("GET", f"{API}artifacts/", Authorization=f"Bearer {tokens['root']}").json["results"]
        assert {artifact["user"] for artifact in found} == {"ann", "root"}


def test_limits_are_named_before_anything_is_refused(open_page: Opener, tmp_path: Path) -> None:
    write_file(tmp_path / "large.img", 3 * MIB)
    with (
        ServerProcess(tmp_path / "limited", max_upload_size=2 * MIB, quota=10 * MIB) as server,
        Proxy(server.port) as proxy,
    ):
        proxy.instead = requests = Requests()
        web = open_page(url=proxy.url)
        expect(web.page.get_by_text("Files of up to 2.10 MB. Your quota is 10.5 MB.")).to_be_visible()
        web.choose(tmp_path / "large.img")
        row = web.transfer("large.img")
        expect(row).to_contain_text("It has 3.15 MB, and the limit is 2.10 MB.")
        expect(row.get_by_role("button", name="Try again")).to_have_count(0)
        assert requests.seen == []
