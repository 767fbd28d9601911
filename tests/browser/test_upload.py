"""Files go in through the page, and come out as they went in."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MIB, Opener, UploadPage, write_file
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256


def test_a_file_in_sixteen_chunks(web: UploadPage, server: ServerProcess, proxy: Proxy, tmp_path: Path) -> None:
    data = write_file(tmp_path / "disk.img", 16 * MIB)
    several = {"most": 0}
    begun: set[int] = set()

    def watch(connection: int, piece: bytes) -> bytes:
        if piece.startswith(b"PUT") and b"content-range" in piece.lower():
            begun.add(connection)
            several["most"] = len(begun)
        return piece

    proxy.mangle = watch
    web.choose(tmp_path / "disk.img")
    web.await_digest("disk.img", sha256(data))
    assert several["most"] >= 2, "the chunks went over one connection"
    expect(web.file("disk.img")).to_contain_text("16.8 MB")
    with Http(server.port) as http:
        upload = http("GET", f"{API}uploads/").json["results"][0]
        chunks = http("GET", f"{upload['pulp_href']}?digests=recorded").json["chunks"]
        assert len(chunks) == 16
        assert all(chunk["sha256"] for chunk in chunks)
        assert http("GET", f"{upload['artifact']}download/").body == data


@pytest.mark.slow
def test_one_gibibyte_in_sixteen_chunks(open_page: Opener, tmp_path: Path) -> None:
    path, digest = tmp_path / "large.img", hashlib.sha256()
    with path.open("wb") as file:
        block = os.urandom(64 * MIB)
        for number in range(16):
            block = number.to_bytes(8) + block[8:]
            file.write(block)
            digest.update(block)
    with ServerProcess(tmp_path / "large", chunk_size=64 * MIB, parallel=16) as server:
        web = open_page(url=server.url)
        web.choose(path)
        web.await_digest("large.img", digest.hexdigest(), 90)
        with Http(server.port) as http:
            upload = http("GET", f"{API}uploads/").json["results"][0]
            assert len(http("GET", upload["pulp_href"]).json["chunks"]) >= 16  # a slow connection gets smaller ones


def test_several_files_and_a_folder(web: UploadPage, server: ServerProcess, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / "deep").mkdir(parents=True)
    write_file(folder / "one.bin", 3 * MIB)
    write_file(folder / "deep" / "two.bin", 10)
    (tmp_path / "empty.txt").touch()
    web.choose(tmp_path / "empty.txt")
    web.page.locator("#choose-folder").set_input_files(str(folder))
    expect(web.page.locator("li[data-state=done]")).to_have_count(3)
    expect(web.page.get_by_role("heading", name="All uploaded")).to_be_visible()
    with Http(server.port) as http:
        names = {artifact["filename"] for artifact in http("GET", f"{API}artifacts/").json["results"]}
    assert names == {"empty.txt", "project/one.bin", "project/deep/two.bin"}
    web.page.get_by_role("button", name="Clear finished").click()
    expect(web.page.locator("li[data-state=done]")).to_have_count(0)


def test_dropped_files(open_page: Opener) -> None:
    web = open_page(bypass_csp=True)  # the test makes its drop with script, which the page's policy forbids
    transfer = web.page.evaluate_handle(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(["dropped"], "dropped.txt"));
            return transfer;
        }"""
    )
    web.page.locator("body").dispatch_event("dragenter", {"dataTransfer": transfer})
    expect(web.page.get_by_role("heading", name="Let go to upload")).to_be_visible()
    web.page.locator("body").dispatch_event("drop", {"dataTransfer": transfer})
    web.await_digest("dropped.txt", sha256(b"dropped"))


def test_download_and_copy_and_delete(open_page: Opener, server: ServerProcess, tmp_path: Path) -> None:
    data = write_file(tmp_path / "report.pdf", 100_000)
    web = open_page(permissions=["clipboard-read", "clipboard-write"])
    web.choose(tmp_path / "report.pdf")
    web.await_state("report.pdf", "done")
    row = web.file("report.pdf")
    with web.page.expect_download() as download:
        row.get_by_role("link", name="Download report.pdf").click()
    assert download.value.suggested_filename == "report.pdf"
    assert Path(download.value.path()).read_bytes() == data
    row.get_by_role("button", name="Copy the SHA-256 of report.pdf").click()
    expect(row.get_by_text("Copied")).to_be_visible()
    search = web.page.get_by_role("searchbox")
    search.focus()
    web.page.keyboard.press("Control+V")
    expect(search).to_have_value(sha256(data))
    search.fill("")
    row.get_by_role("button", name="Delete report.pdf").click()
    dialog = web.page.get_by_role("dialog", name="Delete this file?")
    dialog.get_by_role("button", name="Keep").click()
    expect(row).to_be_visible()
    row.get_by_role("button", name="Delete report.pdf").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    with Http(server.port) as http:
        assert http("GET", f"{API}artifacts/").json["count"] == 0


def test_the_list_follows_the_server_and_can_be_searched(web: UploadPage, server: ServerProcess) -> None:
    with Http(server.port) as http:
        http.store(b"elsewhere", filename="from-elsewhere.bin")
        http.store(b"other", filename="other.bin")
        expect(web.file("from-elsewhere.bin")).to_be_visible()
        web.page.get_by_role("searchbox", name="Search by name").fill("else")
        expect(web.file("other.bin")).to_have_count(0)
        expect(web.file("from-elsewhere.bin")).to_be_visible()
        web.page.get_by_role("searchbox").fill("nothing like it")
        expect(web.page.get_by_text("name has “nothing like it” in it")).to_be_visible()


HOSTILE = [
    "<img src=x onerror=alert(1)>.iso",
    "\"><script>alert('1')</script>.iso".replace("/", "\u2044"),
    "photo\u202egpj.exe",
    "line\nbreak\tand\x07bell.iso",
    "  spaces  .iso",
    "%2e%2e%2fetc%2fpasswd",
    "c:\\windows\\system32.dll",
    "{{7*7}}${7*7}.iso",
    "ﷺ" * 60 + ".iso",
    "🧩 parts'n\"quotes`.iso",
]


def test_hostile_names_are_only_text(open_page: Opener, server: ServerProcess, tmp_path: Path) -> None:
    web = open_page()
    web.page.on("dialog", lambda dialog: web.complaints.append(f"a name ran: {dialog.message}"))
    files = []
    for name in HOSTILE:
        path = tmp_path / name
        path.write_bytes(name.encode())
        files.append(path)
    web.choose(*files)
    expect(web.page.locator("li[data-state=done]")).to_have_count(len(HOSTILE))
    expect(web.page.locator("main img, main script")).to_have_count(0)
    shown = web.page.locator("li[data-state=done] .name").all_text_contents()
    assert "<img src=x onerror=alert(1)>.iso" in shown
    assert "photo▯gpj.exe" in shown
    assert "line␣break␣and␣bell.iso" in shown
    with Http(server.port) as http:
        stored = http("GET", f"{API}artifacts/").json["results"]
    assert {artifact["filename"] for artifact in stored} == set(HOSTILE)
    assert all(artifact["sha256"] == sha256(artifact["filename"].encode()) for artifact in stored)
