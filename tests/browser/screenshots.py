"""Makes the pictures of ``docs/web.md``: ``python -m tests.browser.screenshots`` from the project's root.

Each shows a state that a real server and a real browser are in; nothing is painted. Install ``fonts-inter`` first.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import MIB, chromium
from tests.support.proxy import Proxy
from tests.support.server import Http, ServerProcess

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDE = {"width": 1000, "height": 760}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


def write(folder: Path, name: str, size: int) -> str:
    """A file of random bytes; its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return str(path)


def slowed(connection: int, data: bytes) -> bytes:
    """About 3 MB/s for each connection."""
    time.sleep(len(data) / 3e6)
    return data


@contextmanager
def opened(browser: Browser, url: str, name: str, **options: object) -> Iterator[Page]:
    """A page, of which a picture is taken at the end."""
    context = browser.new_context(**{"viewport": WIDE, "device_scale_factor": 1.5} | options)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    yield page
    page.mouse.move(2, 2)
    page.screenshot(path=IMAGES / f"web-{name}.png")
    context.close()


def wait_for(page: Page, name: str, percent: int) -> None:
    """Until a file is so far."""
    bar = page.get_by_role("progressbar", name=name)
    while int(bar.get_attribute("aria-valuenow") or 0) < percent:
        page.wait_for_timeout(100)


def fill(server: ServerProcess) -> None:
    """Some files, and an upload that was begun elsewhere."""
    with Http(server.port) as http:
        for name, size in (("Annual report 2025.pdf", 4_200_000), ("interview-raw.wav", 18_350_000)):
            http.store(os.urandom(size), filename=name)
        href = http.create(52 * MIB, filename="survey-north.tif")
        for offset in range(0, 31 * MIB, MIB):
            http.put(href, offset, os.urandom(MIB))


def take(browser: Browser, folder: Path) -> None:
    """All pictures."""
    with ServerProcess(folder / "empty", chunk_size=MIB) as server, opened(browser, server.url, "empty") as page:
        expect(page.get_by_text("What you upload appears here.")).to_be_visible()
    with ServerProcess(folder / "data", chunk_size=4 * MIB, quota=700 * MIB) as server, Proxy(server.port) as proxy:
        fill(server)
        with opened(browser, proxy.url, "unfinished") as page:
            expect(page.get_by_text("survey-north.tif")).to_be_visible()
        proxy.mangle = slowed
        files = [
            write(folder, "ubuntu-server.iso", 160 * MIB),
            write(folder, "field recordings/day one.flac", 30 * MIB),
            write(folder, "notes.md", 9_000),
            write(folder, "dataset.parquet", 64 * MIB),
        ]
        for name, options in (
            ("uploading", {}),
            ("uploading-dark", {"color_scheme": "dark"}),
            ("uploading-narrow", PHONE),
        ):
            with opened(browser, proxy.url, name, **options) as page:
                page.locator("#choose-files").set_input_files(files[:1])
                page.locator("#choose-folder").set_input_files(str(folder / "field recordings"))
                page.locator("#choose-files").set_input_files(files[2:])
                expect(page.locator("li[data-state=done]").filter(has_text="notes.md")).to_be_visible(timeout=60_000)
                wait_for(page, "ubuntu-server.iso", 55)
            clear(server)
        with opened(browser, proxy.url, "paused") as page:
            page.locator("#choose-files").set_input_files(files[:2])
            wait_for(page, "ubuntu-server.iso", 40)
            page.get_by_role("button", name="Pause ubuntu-server.iso").click()
            page.wait_for_timeout(500)
        clear(server)
        with opened(browser, proxy.url, "error") as page:
            page.locator("#choose-files").set_input_files([*files[2:3], write(folder, "backup.tar", 720 * MIB)])
            expect(page.locator("li[data-state=failed]")).to_be_visible()
            expect(page.locator("li[data-state=done]").filter(has_text="notes.md")).to_be_visible(timeout=60_000)
        with opened(browser, proxy.url, "waiting") as page:
            page.locator("#choose-files").set_input_files(files[:1])
            wait_for(page, "ubuntu-server.iso", 30)
            server.kill()
            expect(page.get_by_text("The server does not answer.")).to_be_visible()
            page.wait_for_timeout(500)
            server.start()
        proxy.mangle = lambda connection, data: data
        for name, options in (
            ("finished", {}),
            ("finished-narrow-dark", PHONE | {"color_scheme": "dark"}),
        ):
            clear(server)
            with opened(browser, proxy.url, name, **options) as page:
                page.locator("#choose-files").set_input_files([files[0], files[2]])
                expect(page.locator("li[data-state=done]")).to_have_count(2, timeout=30_000)
                page.wait_for_timeout(1000)
        with opened(browser, proxy.url, "already") as page:
            page.locator("#choose-files").set_input_files(write(folder, "renamed.iso", 12 * MIB))
            expect(page.locator("li[data-state=done]")).to_be_visible(timeout=30_000)
            copy = folder / "same content.iso"
            copy.write_bytes((folder / "renamed.iso").read_bytes())
            page.locator("#choose-files").set_input_files([files[0], str(copy)])
            expect(page.get_by_text("already on the server")).to_have_count(2, timeout=30_000)
        with opened(browser, proxy.url, "selecting") as page:
            page.get_by_role("button", name="Select", exact=True).click()
            page.get_by_role("checkbox").nth(1).check()
        with opened(browser, proxy.url, "confirm") as page:
            page.get_by_role("button", name="Delete Annual report 2025.pdf").click()
    with (
        ServerProcess(folder / "tokens", auth="token") as server,
        opened(browser, server.url, "sign-in", viewport={"width": 1000, "height": 560}) as page,
    ):
        page.get_by_label("Token").fill("partwise_" + "x" * 43)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_be_visible()


def clear(server: ServerProcess) -> None:
    """Take away what the page has sent, so that pictures do not depend on each other."""
    with Http(server.port) as http:
        for upload in http("GET", "/pulp/api/v3/uploads/?state=open").json["results"]:
            if upload["filename"] != "survey-north.tif":
                http("DELETE", upload["pulp_href"])
        for artifact in http("GET", "/pulp/api/v3/artifacts/").json["results"]:
            if artifact["filename"] not in {"Annual report 2025.pdf", "interview-raw.wav"}:
                http("DELETE", artifact["pulp_href"])


def main() -> None:
    """Take them all."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    arguments = ["--disable-background-networking", *(["--no-sandbox"] if os.getuid() == 0 else [])]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        take(browser, Path(folder))


if __name__ == "__main__":
    main()
