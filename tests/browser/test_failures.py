"""What goes wrong is said in words that help, and nothing that is not the server is taken for it."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Browser, Dialog, expect

from tests.browser.conftest import MIB, Opener, UploadPage, html, write_file
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256

SIZE = 12 * MIB


def hold_half_way(web: UploadPage, proxy: Proxy, file: Path) -> bytes:
    """Begin to upload a new ``file``, and stand still in the middle; its contents."""
    data = write_file(file, SIZE)
    proxy.hold_after(SIZE // 2)
    web.choose(file)
    proxy.wait_until_held()
    return data


def test_a_networks_own_page_is_not_taken_for_the_server(web: UploadPage, proxy: Proxy, tmp_path: Path) -> None:
    data = hold_half_way(web, proxy, tmp_path / "disk.img")
    proxy.instead = lambda piece: html(200, "Welcome to the hotel")
    proxy.release()
    proxy.cut()
    expect(web.page.get_by_text("The server does not answer.")).to_be_visible()
    proxy.instead = lambda piece: None
    web.await_digest("disk.img", sha256(data))


def test_a_chunk_is_not_sent_because_something_says_ok(web: UploadPage, proxy: Proxy, tmp_path: Path) -> None:
    data = write_file(tmp_path / "disk.img", SIZE)
    swallowed: list[bytes] = []
    commits: list[bytes] = []

    def swallow(piece: bytes) -> bytes | None:
        if b"/commit " in piece:
            commits.append(piece)
        if not piece.startswith(b"PUT") or len(swallowed) >= 2:
            return None
        swallowed.append(piece)
        return html(200, "OK")

    proxy.instead = swallow
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(data))
    assert len(swallowed) == 2
    assert len(commits) == 1, "the page thought that it was through"


def test_a_proxy_that_lost_the_server(web: UploadPage, proxy: Proxy, tmp_path: Path) -> None:
    data = write_file(tmp_path / "disk.img", SIZE)
    refused: list[bytes] = []

    def refuse(piece: bytes) -> bytes | None:
        if not piece.startswith((b"PUT", b"POST")) or len(refused) >= 4:
            return None
        refused.append(piece)
        return html(502, "Bad Gateway")

    proxy.instead = refuse
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(data), 40)
    assert len(refused) == 4


def test_a_proxys_404_is_not_the_end_of_an_upload(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    data = hold_half_way(web, proxy, tmp_path / "disk.img")
    proxy.instead = lambda piece: html(404, "Not Found") if piece.startswith(b"PUT") else None
    proxy.release()
    web.await_state("disk.img", "failed")
    row = web.transfer("disk.img")
    expect(row).to_contain_text("A proxy or firewall answered 404 in its place.")
    proxy.instead = lambda piece: None
    row.get_by_role("button", name="Try again").click()
    web.await_digest("disk.img", sha256(data))
    with Http(server.port) as http:
        assert http("GET", f"{API}uploads/").json["count"] == 1


def test_an_upload_that_is_gone_is_begun_anew(
    web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    data = hold_half_way(web, proxy, tmp_path / "disk.img")
    web.page.get_by_role("button", name="Pause disk.img").click()
    proxy.release()
    with Http(server.port) as http:
        http("DELETE", http("GET", f"{API}uploads/").json["results"][0]["pulp_href"])
    web.page.get_by_role("button", name="Resume disk.img").click()
    web.await_state("disk.img", "failed")
    row = web.transfer("disk.img")
    expect(row).to_contain_text("The upload is gone from the server. It expired or was deleted.")
    row.get_by_role("button", name="Start over").click()
    web.await_digest("disk.img", sha256(data))


def test_a_quota_in_words_and_tried_again(open_page: Opener, tmp_path: Path) -> None:
    data = write_file(tmp_path / "big.bin", MIB)
    with ServerProcess(tmp_path / "small", quota=MIB) as server, Http(server.port) as http:
        http.store(b"in the way", filename="old.bin")
        web = open_page(url=server.url)
        web.choose(tmp_path / "big.bin")
        web.await_state("big.bin", "failed")
        expect(web.page.get_by_role("heading", name="1 file could not be uploaded")).to_be_visible()
        row = web.transfer("big.bin")
        expect(row).to_contain_text(
            "Your quota has no room for this file. Your quota is 1.05 MB. Delete files or unfinished uploads below"
        )
        web.page.get_by_role("button", name="Delete old.bin").click()
        web.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        expect(web.file("old.bin")).to_have_count(0)
        row.get_by_role("button", name="Try again").click()
        web.await_digest("big.bin", sha256(data))


def test_a_full_disk_in_words(open_page: Opener, tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(bytes(MIB))
    free = os.statvfs(tmp_path)
    floor = free.f_bavail * free.f_frsize * 2
    with ServerProcess(tmp_path / "full", free_space_floor=floor) as server:
        web = open_page(url=server.url)
        web.choose(tmp_path / "big.bin")
        web.await_state("big.bin", "failed")
        expect(web.transfer("big.bin")).to_contain_text("disk is full. Nothing that arrived is lost.")
        expect(web.transfer("big.bin").get_by_role("button", name="Try again")).to_be_visible()


def test_a_file_that_changes_on_the_way(web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path) -> None:
    hold_half_way(web, proxy, tmp_path / "disk.img")
    other = write_file(tmp_path / "disk.img", SIZE)
    os.utime(tmp_path / "disk.img", (1, 1))
    proxy.release()
    web.await_state("disk.img", "failed")
    row = web.transfer("disk.img")
    expect(row).to_contain_text("The file can no longer be read. It was changed, moved or deleted")
    with Http(server.port) as http:
        assert http("GET", f"{API}artifacts/").json["count"] == 0
    # What has arrived is of the file as it was, so the upload cannot go on with what it is now.
    row.locator("input[type=file]").set_input_files(str(tmp_path / "disk.img"))
    expect(web.transfer("disk.img")).to_contain_text("This is another file.")
    again = web.page.get_by_role("button", name="Take off this list: disk.img")
    again.click()
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(other))


def test_what_cannot_be_deleted_is_said(web: UploadPage, server: ServerProcess) -> None:
    with Http(server.port) as http:
        http.store(b"stays", filename="stays.bin")
    expect(web.file("stays.bin")).to_be_visible()
    web.page.context.set_offline(True)
    web.page.get_by_role("button", name="Delete stays.bin").click()
    dialog = web.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    web.page.context.set_offline(False)
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog).to_be_hidden()
    expect(web.file("stays.bin")).to_have_count(0)


def test_leaving_the_page_asks_first_while_something_is_on_its_way(
    open_page: Opener, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    web, asked = open_page(), []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    web.page.on("dialog", stay)
    data = hold_half_way(web, proxy, tmp_path / "disk.img")
    web.page.close(run_before_unload=True)
    web.page.wait_for_event("dialog") if not asked else None
    proxy.release()
    web.await_digest("disk.img", sha256(data))
    assert asked == ["beforeunload"]
    web.page.close(run_before_unload=True)
    web.page.wait_for_event("close")


def test_times_are_the_servers(open_page: Opener, server: ServerProcess) -> None:
    with Http(server.port) as http:
        http.store(b"new", filename="new.bin")
        http.create(5, filename="half.bin")
    web = open_page(url="about:blank")
    web.page.clock.set_system_time("2031-05-05T05:05:05Z")
    web.page.goto(server.url)
    expect(web.file("new.bin")).to_contain_text("just now")
    expect(web.unfinished("half.bin")).to_contain_text("expires in 7 days")


def test_bytes_that_the_server_lost_are_sent_again(web: UploadPage, proxy: Proxy, tmp_path: Path) -> None:
    data = write_file(tmp_path / "disk.img", SIZE)
    refused: list[bytes] = []

    def lose(piece: bytes) -> bytes | None:
        if not piece.startswith(b"PUT") or b"/commit " not in piece or refused:
            return None
        refused.append(piece)
        body = b'{"type": "/docs/errors#bytes-lost", "status": 500, "detail": "Some bytes cannot be read back."}'
        head = f"HTTP/1.1 500 Lost\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    proxy.instead = lose
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(data))
    assert len(refused) == 1


def test_a_storage_that_is_away_is_waited_for(web: UploadPage, proxy: Proxy, tmp_path: Path) -> None:
    data = write_file(tmp_path / "disk.img", SIZE)
    refused: list[bytes] = []

    def refuse(piece: bytes) -> bytes | None:
        if not piece.startswith(b"PUT") or len(refused) >= 4:
            return None
        refused.append(piece)
        body = b'{"type": "/docs/errors#storage-failed", "status": 503, "detail": "The object store failed to write."}'
        head = f"HTTP/1.1 503 Away\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    proxy.instead = refuse
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(data), 40)
    assert len(refused) == 4


#: Makes the file as a program leaves it that changes its first byte after some reads: Firefox lets that be read.
CHANGING = """(() => {
  const slice = File.prototype.slice;
  let reads = 0;
  File.prototype.slice = function (start, end) {
    reads += 1;
    const piece = slice.call(this, start, end);
    if (start !== 0 || reads <= %d) return piece;
    return new Blob([new Uint8Array([%s]), slice.call(this, 1, end)]);
  };
})()"""


def artifacts(server: ServerProcess) -> int:
    with Http(server.port) as http:
        return int(http("GET", f"{API}artifacts/").json["count"])


def test_a_file_that_changes_meanwhile_becomes_no_mixture(
    browser: Browser, open_page: Opener, server: ServerProcess, tmp_path: Path
) -> None:
    """The first part is sent as it was, the others after the change: the first one is sent again."""
    data = bytearray(write_file(tmp_path / "disk.img", SIZE))
    data[0] ^= 1
    context = browser.new_context()
    context.add_init_script(CHANGING % (2, data[0]))
    web = open_page(context)
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(bytes(data)))
    context.close()


def test_a_file_that_never_rests_is_not_published(
    browser: Browser, open_page: Opener, server: ServerProcess, tmp_path: Path
) -> None:
    write_file(tmp_path / "disk.img", SIZE)
    before = artifacts(server)
    context = browser.new_context()
    context.add_init_script(CHANGING % (0, "reads"))
    web = open_page(context)
    web.choose(tmp_path / "disk.img")
    row = web.transfer("disk.img")
    expect(row.get_by_text("The file keeps changing")).to_be_visible()
    expect(row.get_by_role("button", name="Try again")).to_be_visible()
    assert artifacts(server) == before
    context.close()
