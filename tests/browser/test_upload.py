"""Files go in through the page, and come out as they went in."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from playwright.sync_api import FilePayload, expect

from tests.browser.conftest import MIB, Opener, UploadPage, write_file
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.until import wait_until


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


def drop(web: UploadPage, *paths: Path) -> None:
    """Let go of files and folders over the page, as a file manager does."""
    session = web.page.context.new_cdp_session(web.page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 500, "y": 650, "data": data})
    expect(web.page.get_by_role("heading", name="Let go to upload")).to_be_visible()
    session.send("Input.dispatchDragEvent", {"type": "drop", "x": 500, "y": 650, "data": data})


def test_files_and_folders_are_dropped(web: UploadPage, server: ServerProcess, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    (folder / "deep").mkdir(parents=True)
    (folder / "empty folder").mkdir()
    data = write_file(folder / "one.bin", 2 * MIB)
    for number in range(120):  # a browser lists a hundred at a time
        (folder / "deep" / f"{number}.txt").write_text(str(number))
    (tmp_path / "beside.txt").write_text("beside")
    drop(web, folder, tmp_path / "beside.txt")
    expect(web.page.get_by_role("heading", name="All uploaded")).to_be_visible(timeout=60_000)
    with Http(server.port) as http:
        artifacts = http("GET", f"{API}artifacts/?limit=200").json["results"]
    stored = {artifact["filename"]: artifact["sha256"] for artifact in artifacts}
    assert stored["project/one.bin"] == sha256(data)
    assert set(stored) == {"beside.txt", "project/one.bin", *(f"project/deep/{number}.txt" for number in range(120))}
    expect(web.page.locator("[aria-live=polite]")).to_contain_text("files are uploaded and verified.")


def test_a_small_file_does_not_wait_for_a_large_one(web: UploadPage, proxy: Proxy, tmp_path: Path) -> None:
    write_file(tmp_path / "large.bin", 32 * MIB)
    data = write_file(tmp_path / "small.bin", 5000)
    proxy.mangle = slow
    web.choose(tmp_path / "large.bin", tmp_path / "small.bin")
    web.await_digest("small.bin", sha256(data))
    assert web.progress(web.transfer("large.bin")) < 90
    proxy.mangle = lambda connection, piece: piece
    web.await_state("large.bin", "done")


def slow(connection: int, piece: bytes) -> bytes:
    """1 MB/s for each connection."""
    time.sleep(len(piece) / 1e6)
    return piece


def test_how_far_how_fast_and_how_long(web: UploadPage, proxy: Proxy, tmp_path: Path) -> None:
    proxy.mangle = slow
    for name in ("one.bin", "two.bin"):
        write_file(tmp_path / name, 16 * MIB)
    web.choose(tmp_path / "one.bin", tmp_path / "two.bin")
    facts = web.transfer("one.bin").locator(".facts")
    expect(facts).to_have_text(re.compile(r"^\d+ %[\d.]+ .?B of 16\.8 MB[\d.]+ .B/s\d+ s left$"))
    everything = web.page.locator(".summary .facts")
    expect(everything).to_have_text(re.compile(r"^0 of 2 files[\d.]+ .?B of 33\.6 MB[\d.]+ .B/s\d+ s left$"))
    expect(web.page.get_by_role("progressbar", name="All files")).to_be_visible()
    expect(web.page).to_have_title(re.compile(r"^\d+ % \u2013 partwise$"))

    def plausible() -> bool:
        """More than one connection's worth, and no more than all have: once the first burst has passed by."""
        said = re.search(r"([\d.]+) MB/s", everything.inner_text())
        return said is not None and 1 < float(said[1]) < 6

    wait_until(plausible, "the rate settles")
    web.page.get_by_role("button", name="Pause all").click()
    expect(web.page.locator("li[data-state=paused]")).to_have_count(2)
    expect(web.page.get_by_role("heading", name="Paused")).to_be_visible()
    proxy.mangle = lambda connection, piece: piece
    web.page.get_by_role("button", name="Resume all").click()
    expect(web.page.locator("li[data-state=done]")).to_have_count(2)


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


LONG = "\u202e<b>" + "long" * 2500 + "\u2066.iso"


def test_a_name_of_ten_thousand_characters(
    open_page: Opener, server: ServerProcess, proxy: Proxy, tmp_path: Path
) -> None:
    content = os.urandom(6 * MIB)
    file: FilePayload = {"name": LONG, "mimeType": "", "buffer": content}
    first = open_page()
    proxy.hold_after(3 * MIB)
    first.page.locator("#choose-files").set_input_files(file)
    proxy.wait_until_held()
    first.page.close()
    proxy.cut()
    proxy.release()
    # The server knows its end only, and the page knows it again by that.
    web = open_page(viewport={"width": 400, "height": 800})
    web.page.locator("#choose-files").set_input_files(file)
    web.await_digest("longlong", sha256(content))
    expect(web.page.locator("main b")).to_have_count(0)
    with Http(server.port) as http:
        assert http("GET", f"{API}uploads/").json["count"] == 1
        assert http("GET", f"{API}artifacts/").json["results"][0]["filename"] == LONG[-1024:]
    for row in web.page.get_by_role("listitem").all():
        box = row.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 400
        assert box["height"] < 200
