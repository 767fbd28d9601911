"""Other projects' clients against partwise inside a host application, with tickets and with the host's own keys."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import ARGUMENTS, UploadPage, chromium
from tests.clients.conftest import NPM, Program, write_file
from tests.embed.conftest import EXAMPLES, SignedIn, hosted, signed_in
from tests.support.server import Http, sha256

pytestmark = pytest.mark.clients

SIZE, CHUNK = 3_000_001, 400_000
KEY = {"x-api-key": "key-of-ann"}
FILES = "/files/pulp/api/v3/"


def test_tus_js_client_sends_a_file_with_a_ticket(node: Path, tmp_path: Path) -> None:
    file, data = write_file(tmp_path, SIZE)
    with hosted(EXAMPLES / "starlette", "app", tmp_path / "host") as port, Http(port) as http:
        made = http("POST", "/uploads", {"size": SIZE, "name": "a.bin", "tus": True}, X_API_Key=KEY["x-api-key"]).json
        options = {
            "file": str(file),
            "uploadUrl": f"http://127.0.0.1:{port}{made['tus']}",
            "headers": {"Authorization": f"Bearer {made['ticket']}"},
            "chunkSize": CHUNK,
        }
        with Program(node, NPM / "tus_upload.mjs", json.dumps(options)) as program:
            program.until("done")
        shown = http("GET", f"{FILES}uploads/{made['upload']}/", X_API_Key=KEY["x-api-key"]).json
        assert (shown["state"], shown["sha256"], shown["user"]) == ("completed", sha256(data), "ann")


def test_tus_js_client_creates_below_the_hosts_path(node: Path, tmp_path: Path) -> None:
    file, data = write_file(tmp_path, SIZE)
    with hosted(EXAMPLES / "starlette", "app", tmp_path / "host", "hypercorn") as port, Http(port) as http:
        endpoint = f"http://127.0.0.1:{port}/files/tus/"
        options = {"file": str(file), "endpoint": endpoint, "headers": KEY, "chunkSize": CHUNK, "parallelUploads": 2}
        with Program(node, NPM / "tus_upload.mjs", json.dumps(options)) as program:
            assert program.until("done")["url"].startswith(endpoint)
        listed = http("GET", f"{FILES}artifacts/?sha256={sha256(data)}", X_API_Key=KEY["x-api-key"]).json
        assert listed["count"] == 1


@pytest.fixture(scope="module", params=["fastapi", "django"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignedIn]:
    """A host whose user is signed in by a cookie of its own."""
    with signed_in(request.param, tmp_path_factory.mktemp("host") / "data") as user:
        yield user


def test_pulp_cli_below_the_hosts_path(host: SignedIn, python_clients: Path, tmp_path: Path) -> None:
    file, data = write_file(tmp_path, SIZE)
    places = {"XDG_CACHE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    command: list[str | Path] = [python_clients / "pulp", "--base-url", host.url, "--api-root", "/files/pulp/"]
    command += ["--header", f"Cookie:{host.field}", "artifact", "upload", "--file", str(file), "--chunk-size", "1MB"]
    done = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    artifact = json.loads(done.stdout)
    assert artifact["sha256"] == sha256(data)
    assert artifact["pulp_href"].startswith(FILES)
    with Http(host.port) as http:
        assert http("GET", artifact["pulp_href"]).status == 401
        assert http("GET", artifact["pulp_href"], Cookie=host.field).json["user"] == "ann"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless browser that calls nobody."""
    if chromium() is None:
        pytest.skip("needs chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)


@pytest.fixture
def page(browser: Browser, host: SignedIn) -> Iterator[Page]:
    """A page of the signed-in user, without the policy that forbids tests to run code in it."""
    context = browser.new_context(bypass_csp=True)
    name, value = host.cookie
    context.add_cookies([{"name": name, "value": value, "url": host.url}])
    yield context.new_page()
    context.close()


_UPPY = """async ([name, size, chunkSize]) => {
    const data = new Blob([Uint8Array.from({length: size}, (_, place) => (place * 7) % 251)]);
    const uppy = new Uppy().use(UppyTus, {endpoint: "/files/tus/", chunkSize});
    uppy.addFile({name, type: "text/plain", data});
    const {successful, failed} = await uppy.upload();
    return {urls: successful.map((file) => file.uploadURL), failed: failed.map((file) => file.error)};
}"""


@pytest.fixture(scope="module")
def uppy_bundle(node: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uppy and its tus plugin as one script for a browser."""
    bundle = tmp_path_factory.mktemp("bundle") / "uppy.js"
    esbuild = NPM / "node_modules" / "esbuild" / "bin" / "esbuild"
    command: list[str | Path] = [
        node,
        esbuild,
        NPM / "uppy_browser.mjs",
        "--bundle",
        "--format=iife",
        f"--outfile={bundle}",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return bundle


def test_uppy_in_a_browser(host: SignedIn, page: Page, uppy_bundle: Path) -> None:
    page.goto(f"{host.url}/files/docs/errors")
    page.add_script_tag(path=uppy_bundle)
    done = page.evaluate(_UPPY, ["a.bin", SIZE, CHUNK])
    assert (done["failed"], len(done["urls"])) == ([], 1)
    assert done["urls"][0].startswith("/files/tus/")
    digest = sha256(bytes(place * 7 % 251 for place in range(SIZE)))
    with Http(host.port) as http:
        [artifact] = http("GET", f"{FILES}artifacts/?sha256={digest}", Cookie=host.field).json["results"]
    assert (artifact["filename"], artifact["size"], artifact["user"]) == ("a.bin", SIZE, "ann")


def test_the_page_below_the_hosts_path(host: SignedIn, page: Page, tmp_path: Path) -> None:
    file, data = write_file(tmp_path, SIZE, "disk.img")
    web = UploadPage(page)
    page.goto(f"{host.url}/files/")
    web.choose(file)
    web.await_digest("disk.img", sha256(data))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download disk.img").first.click()
    assert Path(download.value.path()).read_bytes() == data
    page.context.clear_cookies()
    page.reload()
    expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
    assert web.complaints == []
