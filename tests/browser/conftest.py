"""A real browser on the real page of a real server, over a proxy that can hold, cut and slow.

Playwright drives the machine's own chromium. What the page's policy forbids also binds the tests: they
look through locators and never evaluate script in the page, unless they ask for a context without the policy.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.browser.firefox import FIREFOX
from tests.browser.webkit import WEBKIT
from tests.support.folders import make_data_folder
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess
from tests.support.until import wait_until

MIB = 1024 * 1024

#: Nobody is called; root needs the browser to do without its sandbox.
ARGUMENTS = [
    "--disable-background-networking",
    "--disable-component-update",
    *(["--no-sandbox"] if os.getuid() == 0 else []),
]

#: The page is tested while other programs are busy.
expect.set_options(timeout=20_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is marked, and skipped where there is no browser for it."""
    here = Path(__file__).parent
    engines = {
        "test_firefox.py": ("firefox-esr", FIREFOX),
        "test_webkit.py": ("webkit2gtk-driver xvfb", WEBKIT),
    }
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            package, found = engines.get(item.path.name, ("chromium", chromium()))
            if found is None:
                item.add_marker(pytest.mark.skip(reason=f"needs {package} (apt-get install {package})"))


def chromium() -> str | None:
    """The machine's browser."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


# For each module: Playwright's loop must have ended before other folders' tests run loops of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless browser that calls nobody."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with small chunks."""
    data = make_data_folder(tmp_path_factory.mktemp("server") / "data")
    with ServerProcess(data, chunk_size=MIB) as process:
        yield process


@pytest.fixture
def server(one_server: ServerProcess) -> Iterator[ServerProcess]:
    """The module's server, emptied after each test."""
    yield one_server
    with Http(one_server.port) as http:

        def emptied() -> bool:
            """A commit that is under way refuses to be deleted, and becomes an artifact."""
            found = [
                item["pulp_href"]
                for kind in ("uploads", "artifacts")
                for item in http("GET", f"{API}{kind}/?limit=1000").json["results"]
            ]
            for href in found:
                http("DELETE", href)
            return not found

        wait_until(emptied, "an empty server")


@pytest.fixture
def proxy(server: ServerProcess) -> Iterator[Proxy]:
    """What the browser reaches the server through."""
    with Proxy(server.port) as made:
        yield made


class UploadPage:
    """The page as a person finds things on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        #: What the browser complained about: any entry fails the test, unless the test clears it.
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self._hear(message.type, message.text))

    def _hear(self, kind: str, text: str) -> None:
        # The browser reports each answer that is no 2xx, and each connection that breaks: those are what is tested.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def choose(self, *files: Path) -> None:
        """Choose files with the button of the drop zone."""
        self.page.locator("#choose-files").set_input_files([str(file) for file in files])

    def transfer(self, name: str) -> Locator:
        """The row of a file on its way."""
        return self.page.get_by_role("region", name="pload").get_by_role("listitem").filter(has_text=name)

    def unfinished(self, name: str) -> Locator:
        """The row of an upload that waits on the server."""
        return self.page.get_by_role("region", name="Unfinished").get_by_role("listitem").filter(has_text=name)

    def file(self, name: str) -> Locator:
        """The row of a file on the server."""
        return self.page.get_by_role("region", name="Files", exact=True).get_by_role("listitem").filter(has_text=name)

    def progress(self, row: Locator) -> int:
        """Percent."""
        return int(row.get_by_role("progressbar").get_attribute("aria-valuenow") or 0)

    def await_state(self, name: str, state: str, timeout: float = 20) -> None:
        """Wait until a file's row says so: going, paused, failed or done."""
        expect(self.page.locator(f"li[data-state={state}]").filter(has_text=name)).to_be_visible(timeout=timeout * 1000)

    def await_digest(self, name: str, sha256: str, timeout: float = 20) -> None:
        """Wait until a file is done, and look at its digest."""
        self.await_state(name, "done", timeout)
        row = self.page.locator("li[data-state=done]").filter(has_text=name)
        expect(row.locator("code")).to_have_attribute("title", sha256)


Opener = Callable[..., UploadPage]


def html(status: int, reason: str) -> bytes:
    """What something that is not the server answers."""
    body = f"<!doctype html><title>{reason}</title><h1>{reason}</h1>".encode()
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n".encode() + body


@pytest.fixture
def open_page(browser: Browser, proxy: Proxy) -> Iterator[Opener]:
    """Opens the page, each time in a browser profile of its own unless ``context`` is given."""
    contexts: list[BrowserContext] = []
    pages: list[UploadPage] = []

    def opener(context: BrowserContext | None = None, url: str = "", **options: object) -> UploadPage:
        if context is None:
            context = browser.new_context(**options)  # type: ignore[arg-type]
            contexts.append(context)
        made = UploadPage(context.new_page())
        pages.append(made)
        made.page.goto(url or proxy.url)
        return made

    yield opener
    for context in contexts:
        context.close()
    assert [complaint for page in pages for complaint in page.complaints] == []


@pytest.fixture
def web(open_page: Opener) -> UploadPage:
    """The page, open."""
    return open_page()


def sign_in(web: UploadPage, token: str) -> None:
    """With the form."""
    web.page.get_by_label("Token").fill(token)
    web.page.get_by_role("button", name="Sign in").click()


def write_file(path: Path, size: int) -> bytes:
    """A file of random bytes."""
    data = os.urandom(size)
    path.write_bytes(data)
    return data
