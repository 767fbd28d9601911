"""tus-js-client's own end-to-end specs, as its package brings them, in a real browser on a page of another origin.

They are written for a server of the client's project; nothing in them is changed but its address.
"""

from __future__ import annotations

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.conftest import chromium
from tests.clients.conftest import NPM
from tests.support.server import ServerProcess

pytestmark = [
    pytest.mark.clients,
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="needs chromium (apt-get install chromium)"),
]

#: The address in the specs, as a string and as a regular expression.
THEIRS = ("https://tusd.tusdemo.net/files/", r"^https:\/\/tusd\.tusdemo\.net\/files\/")

PAGE = """<!doctype html><meta charset="utf-8"><title>specs</title>
<script src="jasmine.js"></script>
<script>
  const jasmine = jasmineRequire.core(jasmineRequire);
  const env = jasmine.getEnv({ suppressLoadErrors: true });
  Object.assign(window, jasmineRequire.interface(jasmine, env), { jasmine });
  env.configure({ random: false, specFilter: (spec) => spec.getFullName().startsWith("tus end-to-end ") });
  window.results = [];
  env.addReporter({
    specDone(spec) { if (spec.status !== "excluded") window.results.push(spec); },
    jasmineDone(run) { window.outcome = run.overallStatus; },
  });
</script>
<script src="specs.js"></script>
<script>env.execute();</script>
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files, without a word."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(node: Path, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """The folder and the origin of a site on loopback."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{listener.server_port}"
        listener.shutdown()
        thread.join()


def test_end_to_end(site: tuple[Path, str], tmp_path: Path) -> None:
    folder, origin = site
    with ServerProcess(tmp_path / "data", cors_origins=origin) as server:
        ours = f"{server.url}/tus/"
        specs = (NPM / "node_modules/tus-js-client/dist/browser-test-bundle.js").read_text()
        for old, new in zip(THEIRS, (ours, "^" + ours.replace("/", r"\/").replace(".", r"\.")), strict=True):
            assert old in specs
            specs = specs.replace(old, new)
        (folder / "specs.js").write_text(specs)
        jasmine = NPM / "node_modules/jasmine-core/lib/jasmine-core/jasmine.js"
        (folder / "jasmine.js").write_bytes(jasmine.read_bytes())
        (folder / "index.html").write_text(PAGE)
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
            page = browser.new_page()
            page.goto(f"{origin}/index.html")
            page.wait_for_function("window.outcome !== undefined", timeout=60_000)
            results = page.evaluate("window.results")
            browser.close()
    assert [(spec["status"], spec["failedExpectations"]) for spec in results] == [("passed", [])] * 2
