"""Fine Uploader itself, in a browser, on a page of the server's own origin."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from tests.browser.conftest import ARGUMENTS, chromium
from tests.clients.conftest import NPM
from tests.support.proxy import Proxy
from tests.support.server import API, Http, ServerProcess, sha256
from tests.support.tokens import make_token
from tests.support.until import wait_until

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(chromium() is None, reason="needs chromium (apt-get install chromium)"),
]

PAGE = """<!doctype html><title>Fine Uploader</title><input type="file" id="choose">
<script>%s</script>
<script>
window.events = [];
window.uploader = new qq.FineUploaderBasic({
  request: {endpoint: "/fine/", ...%s},
  chunking: {enabled: true, partSize: 500000, concurrent: {enabled: %s}, success: {endpoint: %s, customHeaders: %s}},
  resume: {enabled: true},
  retry: {enableAuto: true, autoAttemptDelay: 0.2, maxAutoAttempts: 200},
  deleteFile: {enabled: true, endpoint: "/fine/", customHeaders: %s},
  callbacks: {
    onComplete: (id, name, json) => events.push({kind: "complete", id, json}),
    onResume: (id, data) => events.push({kind: "resume", id}),
    onDeleteComplete: (id, xhr, failed) => events.push({kind: "deleted", id, failed}),
    onUploadChunkSuccess: (id, chunk) => events.push({kind: "chunk", id, part: chunk.partIndex}),
  },
});
document.getElementById("choose").onchange = (event) => uploader.addFiles(event.target.files);
</script>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)


@pytest.fixture
def fine_server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", dialects="pulp,fine") as server:
        yield server


@pytest.fixture
def proxy(fine_server: ServerProcess) -> Iterator[Proxy]:
    with Proxy(fine_server.port) as proxy:
        yield proxy


def library() -> str:
    """The client, for a script element."""
    script = (NPM / "node_modules/fine-uploader/fine-uploader/fine-uploader.core.min.js").read_text()
    return script.replace("</script", "<\\/script")


class Uploader:
    """The client on its page."""

    def __init__(
        self,
        page: Page,
        url: str,
        *,
        done: str = "null",
        options: str = "{}",
        concurrent: bool = True,
        token: str | None = None,
    ) -> None:
        """``token``: the Authorization that the end of a file and its deletion have; ``options`` has that of bytes."""
        headers = json.dumps({} if token is None else {"Authorization": token})
        content = PAGE % (library(), options, "true" if concurrent else "false", done, headers, headers)

        def give(route: Route) -> None:
            route.fulfill(content_type="text/html", body=content)

        self.page = page
        page.route("**/fine-page", give)
        page.goto(f"{url}/fine-page")

    def choose(self, file: Path) -> None:
        self.page.set_input_files("#choose", str(file))

    def events(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate("events")
        return [event for event in found if event["kind"] == kind]

    def complete(self) -> dict[str, Any]:
        """What the client was told at its end."""
        self.page.wait_for_function("events.some((event) => event.kind === 'complete')", timeout=60_000)
        return dict(self.events("complete")[0]["json"])


def made(server: ServerProcess, data: bytes) -> bool:
    with Http(server.port) as http:
        found = http("GET", f"{API}artifacts/?sha256={sha256(data)}").json["results"]
        return bool(found) and http("GET", found[0]["file"]).body == data


@pytest.mark.parametrize("done", ["null", '"/fine/?done"'], ids=["no-end", "success-endpoint"])
@pytest.mark.parametrize(
    "options",
    ["{}", "{paramsInBody: false}", "{paramsInBody: false, forceMultipart: false}"],
    ids=["form", "query", "raw"],
)
def test_a_file_in_parts(
    browser: Browser, fine_server: ServerProcess, node: Path, tmp_path: Path, done: str, options: str
) -> None:
    data = os.urandom(4_300_000)
    (tmp_path / "Ä disk.img").write_bytes(data)
    with browser.new_context() as context:
        uploader = Uploader(context.new_page(), fine_server.url, done=done, options=options)
        uploader.choose(tmp_path / "Ä disk.img")
        assert uploader.complete()["success"] is True
        assert made(fine_server, data)
        uploader.page.evaluate("uploader.deleteFile(0)")
        uploader.page.wait_for_function("events.some((event) => event.kind === 'deleted')")
        assert uploader.events("deleted")[0]["failed"] is False
    assert not made(fine_server, data)


def test_a_small_file(browser: Browser, fine_server: ServerProcess, node: Path, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"small")
    with browser.new_context() as context:
        uploader = Uploader(context.new_page(), fine_server.url)
        uploader.choose(tmp_path / "small")
        assert uploader.complete()["sha256"] == sha256(b"small")
    assert made(fine_server, b"small")


def test_the_example_of_the_documentation(
    browser: Browser, fine_server: ServerProcess, node: Path, tmp_path: Path
) -> None:
    text = (Path(__file__).parents[2] / "docs/protocols/fine.md").read_text()
    found = re.search(r"<!-- story:fine -->\n```js\n(.*?)```", text, re.DOTALL)
    assert found
    data = os.urandom(5_000_000)  # of several parts
    (tmp_path / "disk.img").write_bytes(data)
    with browser.new_context() as context:
        page = context.new_page()
        content = (
            f'<!doctype html><input type="file" id="choose"><script>{library()}</script><script>{found[1]}</script>'
        )
        page.route("**/example", lambda route: route.fulfill(content_type="text/html", body=content))
        page.goto(f"{fine_server.url}/example")
        with page.expect_console_message(lambda message: sha256(data) in message.text, timeout=60_000) as said:
            page.set_input_files("#choose", str(tmp_path / "disk.img"))
            page.evaluate("uploader.addFiles(document.getElementById('choose').files)")
        assert f"{API}artifacts/" in said.value.text
    assert made(fine_server, data)


def test_with_a_token_and_another_user(browser: Browser, node: Path, tmp_path: Path) -> None:
    """Both users' pages have a file of the same id; each deletes its own alone."""
    with ServerProcess(tmp_path / "data", dialects="pulp,fine", auth="token") as server, Http(server.port) as http:
        data = os.urandom(1_300_000)
        (tmp_path / "disk.img").write_bytes(data)
        found = f"{API}artifacts/?sha256={sha256(data)}"
        tokens = [f"Bearer {make_token(server, name)}" for name in ("alice", "bob")]
        for token in tokens:
            with browser.new_context() as context:
                options = json.dumps({"customHeaders": {"Authorization": token}})
                uploader = Uploader(context.new_page(), server.url, options=options, done='"/fine/?done"', token=token)
                uploader.choose(tmp_path / "disk.img")
                assert uploader.complete()["sha256"] == sha256(data)
                if token is tokens[1]:
                    uploader.page.evaluate("uploader.deleteFile(0)")
                    uploader.page.wait_for_function("events.some((event) => event.kind === 'deleted')")
                    assert uploader.events("deleted")[0]["failed"] is False
        left = [http("GET", found, Authorization=token).json["count"] for token in tokens]
        assert left == [1, 0]


def test_the_server_is_killed_in_the_middle(
    browser: Browser, fine_server: ServerProcess, proxy: Proxy, node: Path, tmp_path: Path
) -> None:
    data = os.urandom(6_000_000)
    (tmp_path / "disk.img").write_bytes(data)
    with browser.new_context() as context:
        uploader = Uploader(context.new_page(), proxy.url, done='"/fine/?done"')
        proxy.hold_after(3_000_000)
        uploader.choose(tmp_path / "disk.img")
        proxy.wait_until_held()
        os.kill(fine_server.pid, signal.SIGKILL)
        fine_server.kill()
        fine_server.start()
        proxy.release()
        proxy.cut()
        assert uploader.complete()["success"] is True
    assert made(fine_server, data)


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_page_that_is_loaded_again_goes_on(
    browser: Browser, fine_server: ServerProcess, proxy: Proxy, node: Path, tmp_path: Path, forgotten: bool
) -> None:
    """Where the server does not have the upload any more, the client begins anew: else it would leave parts out.

    With concurrent parts an exception of its own stops it there, until the page is loaded once more.
    """
    data = os.urandom(6_000_000)
    (tmp_path / "disk.img").write_bytes(data)
    with browser.new_context() as context:
        first = Uploader(context.new_page(), proxy.url, concurrent=not forgotten)
        proxy.hold_after(3_000_000)
        first.choose(tmp_path / "disk.img")
        proxy.wait_until_held()
        wait_until(lambda: len(first.events("chunk")) >= 2, "some parts are there")
        first.page.close()
        proxy.release()
        if forgotten:
            with Http(fine_server.port) as http:
                for upload in http("GET", f"{API}uploads/").json["results"]:
                    assert http("DELETE", upload["pulp_href"]).status == 204
        second = Uploader(context.new_page(), proxy.url, concurrent=not forgotten)
        second.choose(tmp_path / "disk.img")
        assert second.complete()["success"] is True
        assert second.events("resume")
        parts = {event["part"] for event in second.events("chunk")}
        assert (len(parts) == 12) == forgotten
    assert made(fine_server, data)
